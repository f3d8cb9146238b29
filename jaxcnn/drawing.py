"""Arrays as pictures: colour scales, montages, numbers in cells, the reach of one pixel.

What the figures of a comparison and of a trained network share, and what the notebooks explain
rules with. Matplotlib is in the `train` extra; `import jaxcnn` leaves this module alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

# Between two maps: a grey that is neither end of a scale nor its middle.
PAPER = "0.72"
_CELL = 0.52  # inches


def montage(maps: np.ndarray, columns: int) -> np.ndarray:
    """Maps `[H, W, C]` as one image, `columns` to a line, a line of NaN between them.

    Examples:
        >>> montage(np.arange(4.0).reshape(1, 1, 4), 2)
        array([[ 0., nan,  1.],
               [nan, nan, nan],
               [ 2., nan,  3.]])
    """
    height, width, count = maps.shape
    rows = math.ceil(count / columns)
    # An odd one out at the end, which no map fills, stays empty.
    canvas = np.full((rows, height + 1, columns, width + 1), np.nan)
    for i in range(count):
        canvas[i // columns, :height, i % columns, :width] = maps[:, :, i]
    return canvas.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def show(axes: Axes, values: np.ndarray, *, signed: bool, limit: float | None = None) -> AxesImage:
    """Draw values `[H, W]`: red above zero and blue below it, or, unsigned, from black up to white.

    Args:
        axes: where to draw.
        values: NaN leaves the paper.
        signed: whether the scale is centred on zero.
        limit: the end of the scale; the largest magnitude if None.
    """
    if limit is None:
        limit = largest(values)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(PAPER)
    axes.set_anchor("W")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(
        values,
        cmap=colours(signed),
        vmin=-limit if signed else 0.0,
        vmax=limit,
        interpolation="nearest",
    )


def scale_beside(axes: Axes, image: AxesImage, *, signed: bool) -> None:
    """Put the colour scale of `image` at its right, as high as the image is."""
    place = axes.inset_axes((1.02, 0, 0.03, 1))
    low, high = image.get_clim()
    ticks = [low, 0, high] if signed else [low, high]
    bar = axes.figure.colorbar(image, cax=place, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(labelsize=8, length=2)


def colours(signed: bool) -> Colormap:
    """The scale for signed values (white at zero), or for values from zero up."""
    return matplotlib.colormaps["RdBu_r" if signed else "gray"]


def largest(values: np.ndarray) -> float:
    """The largest finite magnitude; 1 where there is none, so that a scale has two ends."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def numbers(
    arrays: Mapping[str, Any],
    *,
    blocks: Sequence[int] | None = None,
    marks: Mapping[str, Any] | None = None,
    format: str = "{:.3g}",
    limit: float | None = None,
) -> Figure:
    """Arrays side by side, every number in its cell: red above zero, blue below, white at it.

    Args:
        arrays: matrices or vectors (which become a line) by title.
        blocks: height and width of the windows to outline in an array that they divide.
        marks: by title, a mask of the cells to outline.
        format: of the numbers.
        limit: the end of one scale for all arrays, on which equal numbers look alike; each has a
            scale of its own if None.

    Returns:
        A Matplotlib figure.

    Raises:
        ValueError: an array has more than two axes.
    """
    matrices = {title: _matrix(title, values) for title, values in arrays.items()}
    widths = [m.shape[1] for m in matrices.values()]
    height = max(m.shape[0] for m in matrices.values())
    size = (_CELL * (sum(widths) + 1.2 * len(widths)), _CELL * height + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False, width_ratios=widths)[0]
    for axes, (title, matrix) in zip(panels, matrices.items(), strict=True):
        _grid(axes, matrix.shape)
        axes.set_title(title, fontsize=11)
        # Half of the scale alone, so that black numbers can be read on it.
        end = 2 * (largest(matrix) if limit is None else limit)
        axes.imshow(matrix, cmap=colours(signed=True), vmin=-end, vmax=end)
        for (i, j), value in np.ndenumerate(matrix):
            axes.text(j, i, format.format(value + 0.0), ha="center", va="center", fontsize=10)
        if blocks is not None and all(
            n % k == 0 for n, k in zip(matrix.shape, blocks, strict=True)
        ):
            for i in range(0, matrix.shape[0], blocks[0]):
                for j in range(0, matrix.shape[1], blocks[1]):
                    _outline(axes, i, j, blocks[0], blocks[1], "0.2", 2.0)
        if marks is not None and title in marks:
            for i, j in np.argwhere(_matrix(title, marks[title])):
                _outline(axes, i, j, 1, 1, "C2", 3.0)
    return figure


def reach(shape: Sequence[int], kernel: Sequence[int], pixel: Sequence[int]) -> Figure:
    """The windows in which one pixel of an image takes part, a panel for each tap of the kernel.

    The convolution is of stride 1, padded with zeros for an output as large as its input. In every
    panel the pixel is filled and the window outlined. Its tap, which is the weight that the pixel
    meets, names the panel, and so does the output place that the window makes.

    Args:
        shape: height and width of the image.
        kernel: height and width of the kernel, odd.
        pixel: line and column of the pixel, counted from 0.

    Returns:
        A Matplotlib figure of `kernel` panels in a row.
    """
    taps = list(np.ndindex(*kernel))
    low = [(k - 1) // 2 for k in kernel]
    figure = Figure(figsize=(1.45 * len(taps), 1.75), layout="constrained")
    for axes, tap in zip(figure.subplots(1, len(taps)), taps, strict=True):
        place = [p - a + pad for p, a, pad in zip(pixel, tap, low, strict=True)]
        top, left = (i - pad for i, pad in zip(place, low, strict=True))
        _grid(axes, shape)
        inside = all(0 <= i < n for i, n in zip(place, shape, strict=True))
        axes.add_patch(Rectangle((pixel[1] - 0.5, pixel[0] - 0.5), 1, 1, color="C1"))
        _outline(axes, top, left, kernel[0], kernel[1], "C0" if inside else "0.6", 2.5)
        if inside:
            axes.plot(place[1], place[0], "o", color="C0", ms=5)
        # Room for windows that lean over the border into the padding.
        axes.set_xlim(0.4 - kernel[1], shape[1] - 1.4 + kernel[1])
        axes.set_ylim(shape[0] - 1.4 + kernel[0], 0.4 - kernel[0])
        axes.set_title(
            f"w{list(tap)}\ny{place}" if inside else f"w{list(tap)}\nno output", fontsize=9
        )
    return figure


def _matrix(title: str, values: Any) -> np.ndarray:
    matrix = np.asarray(values)
    if matrix.ndim > 2:
        raise ValueError(f"{title} has shape {matrix.shape}: expected a matrix or a vector")
    return np.atleast_2d(matrix)


def _grid(axes: Axes, shape: Sequence[int]) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    for i, j in np.ndindex(*shape):
        _outline(axes, i, j, 1, 1, "0.8", 0.8)


def _outline(
    axes: Axes, top: float, left: float, height: int, width: int, colour: str, line: float
) -> None:
    corner = (left - 0.5, top - 0.5)
    axes.add_patch(
        Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line, zorder=line)
    )
