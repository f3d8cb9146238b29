"""The pictures of the notebooks: numbers in cells."""

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
