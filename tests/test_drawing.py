"""The pictures of the notebooks: numbers in cells, windows around the right pixels."""

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from jaxcnn import drawing


def outlines(axes, colour):
    """The rectangles outlined in a colour, as (top, left, height, width) in cells."""
    wanted = matplotlib.colors.to_rgba(colour)
    found = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_edgecolor() == wanted]
    return [(p.get_y() + 0.5, p.get_x() + 0.5, p.get_height(), p.get_width()) for p in found]


def test_numbers_stand_in_their_cells():
    x = np.array([[1.0, -2.0, 0.0, -0.0], [3.5, 4.0, 5.0, np.nan]])
    figure = drawing.numbers({"x": x, "b": x[0]}, marks={"x": x == 4})
    left, right = figure.axes
    cells = {text.get_position(): text.get_text() for text in left.texts}
    assert cells[(1, 0)] == "-2"
    assert cells[(3, 0)] == "0"
    assert cells[(0, 1)] == "3.5"
    assert cells[(3, 1)] == "nan"
    assert len(cells) == 8
    assert [text.get_text() for text in right.texts] == ["1", "-2", "0", "0"]
    low, high = left.images[0].get_clim()
    assert low == -high < 0
    assert outlines(left, "C2") == [(1, 1, 1, 1)]
    assert not outlines(right, "C2")
    assert (left.get_title(), right.get_title()) == ("x", "b")


@pytest.mark.parametrize(("limit", "ends"), [(None, [0.5, 2]), (1.0, [2, 2])])
def test_numbers_have_a_scale_of_their_own_or_one_for_all(limit, ends):
    figure = drawing.numbers({"a quarter": [0.25], "one": [1.0]}, limit=limit)
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(-end, end) for end in ends]


def test_blocks_outline_the_windows_of_arrays_that_they_divide():
    figure = drawing.numbers({"x": np.zeros((4, 2)), "g": np.zeros((3, 1))}, blocks=(2, 2))
    assert outlines(figure.axes[0], "0.2") == [(0, 0, 2, 2), (2, 0, 2, 2)]
    assert not outlines(figure.axes[1], "0.2")


def test_an_array_of_more_axes_is_refused():
    with pytest.raises(ValueError, match=r"x has shape \(2, 2, 2\): expected a matrix"):
        drawing.numbers({"x": np.zeros((2, 2, 2))})


@pytest.mark.parametrize("pixel", [(2, 3), (0, 5), (4, 0)])
def test_reach_shows_each_window_that_covers_the_pixel(pixel):
    figure = drawing.reach((5, 6), (3, 3), pixel)
    assert len(figure.axes) == 9
    places = []
    for axes, (a, b) in zip(figure.axes, np.ndindex(3, 3), strict=True):
        place = (pixel[0] - a + 1, pixel[1] - b + 1)
        inside = 0 <= place[0] < 5 and 0 <= place[1] < 6
        (window,) = outlines(axes, "C0" if inside else "0.6")
        # The window's cell (a, b) is the pixel.
        assert (window[0] + a, window[1] + b) == pixel
        assert window[2:] == (3, 3)
        first, second = axes.get_title().splitlines()
        assert first == f"w[{a}, {b}]"
        assert second == (f"y[{place[0]}, {place[1]}]" if inside else "no output")
        if inside:
            places.append(place)
            x, y = np.asarray(axes.lines[0].get_data())[:, 0]
            assert (y, x) == place
    # As many outputs as the pixel has a part in.
    ones = np.zeros((5, 6))
    rows = slice(max(0, pixel[0] - 1), pixel[0] + 2)
    ones[rows, max(0, pixel[1] - 1) : pixel[1] + 2] = 1
    assert len(places) == ones.sum()
