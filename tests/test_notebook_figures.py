"""The pictures of notebook 1: their numbers are those of the rules, equal ones look alike."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageSequence

import jaxcnn

_FOLDER = Path(__file__).parent.parent / "notebooks"
_SPEC = importlib.util.spec_from_file_location("notebook_figures", _FOLDER / "figures.py")
assert _SPEC is not None
assert _SPEC.loader is not None
figures = importlib.util.module_from_spec(_SPEC)
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(_FOLDER)  # as a notebook's kernel has it
    _SPEC.loader.exec_module(figures)

X = np.arange(1.0, 10).reshape(3, 3)
W = np.array([[1.0, 2], [3, 4]])
G = np.array([[1.0, 10], [100, 1000]])


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def fills(figure: Figure) -> dict[str, set]:
    """The colours of the filled cells, by the number that stands in the cell."""
    axes = figure.axes[0]
    boxes = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_fill()]
    found: dict[str, set] = {}
    for text in (t for t in axes.texts if t.get_horizontalalignment() == "center"):
        x, y = text.get_position()
        for box in boxes:
            left, top = box.get_xy()
            if left < x < left + 1 and top < y < top + 1:
                found.setdefault(text.get_text(), set()).add(tuple(box.get_facecolor()))
    return found


def test_the_convolution_is_that_of_the_package():
    import jax

    def conv(x, w):
        y = jaxcnn.conv(x[..., None], w[..., None, None], padding="VALID")
        return y[..., 0]

    x, g = np.stack([X, X[::-1]]), np.stack([G, G])
    dx, dw = jax.vjp(conv, x, W)[1](g)
    said = words(figures.conv(x, W, g, pixel=(1, 1), tap=(0, 1)).figure)
    assert f"together\ndx[1, 1] = {dx[0, 1, 1]:g}" in said
    assert any(line.endswith(f"= {dw[0, 1]:g}") and "dw[0, 1]" in line for line in said)
    assert "g[0, 0] w[1, 1] = 1 · 4 = 4" in said


@pytest.mark.parametrize("pixel", [(0, 0), (1, 0)])
def test_at_the_border_there_are_fewer_outputs(pixel):
    figure = figures.conv(np.stack([X, X]), W, np.stack([G, G]), pixel=pixel, tap=(0, 1)).figure
    frames = sum(line.startswith("i = ") for line in words(figure))
    assert frames == (pixel[0] + 1) * (pixel[1] + 1)


def test_a_quarter_of_a_number_looks_like_another_one():
    spread = G.repeat(2, 0).repeat(2, 1)
    by_number = fills(figures.pool(spread, G, G, spread / 4, routed=False))
    # One window's g and its share differ; the three cells of the same number do not.
    assert not by_number["1000"] & by_number["250"]
    assert len(by_number["250"]) == 1


def test_a_single_output_hands_back_the_kernel_where_it_reads():
    dx, turned = np.zeros((2, 3, 3))
    dx[1:, :2], turned[1:, :2] = W, W[::-1, ::-1]
    figure = figures.one_output(W, (1, 0), dx, turned)
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    frames = [box.get_bbox().bounds for box in boxes if not box.get_fill()]
    at = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    for frame, title in zip(frames, ("dx", "dx, w not flipped"), strict=True):
        left, top = at[title][0], at[title][1] + 0.45  # the corner of its cells
        assert frame == pytest.approx((left, top + 1, 2, 2))
    assert "g: 1 at [1, 0]" in at


def test_what_moves_starts_and_ends_whole():
    file = io.BytesIO(
        figures.conv(np.stack([X, X]), W, np.stack([G, G]), (1, 1), (0, 1))._repr_png_()
    )
    with Image.open(file) as moving:
        pictures = [frame.convert("RGB") for frame in ImageSequence.Iterator(moving)]
    frames = [np.asarray(picture.convert("L")) for picture in pictures]
    colours = [np.asarray(picture, int) for picture in pictures]
    assert len(frames) == 6  # the whole, four outputs, the whole
    assert (frames[0] == frames[-1]).all()
    assert all((frame >= frames[0]).mean() > 0.99 for frame in frames)  # veiled is lighter
    assert all((frame != frames[0]).any() for frame in frames[1:-1])
    grey = np.ptp(colours[0], axis=-1) == 0
    assert grey.mean() > 0.5
    for frame in colours:  # a grey that fades takes no output's colour
        assert (np.ptp(frame[grey], axis=-1) <= 2).mean() > 0.999
