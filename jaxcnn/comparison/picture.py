"""Gradients as pictures: this one, the automatic one and their difference, on one colour scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..drawing import largest as largest_magnitude
from ..drawing import montage, show
from .leaf import LeafComparison
from .places import Index, largest
from .rounding import wide

# Tiles of a leaf of many axes along each side of its picture.
_TILES = 8


@dataclass(frozen=True)
class _Panel:
    """A title, and an array of any rank as one image; NaN between its tiles."""

    title: str
    image: np.ndarray


def picture(leaves: Sequence[LeafComparison], name: str) -> Figure:
    """A matplotlib Figure with one row a leaf."""
    rows = [_panels(leaf) for leaf in leaves]
    shapes = [panels[0].image.shape for panels in rows]
    inches = [3.2 * min(max(height / width, 0.12), 1.0) + 0.7 for height, width in shapes]
    figure = Figure(figsize=(12.0, sum(inches) + 0.5), layout="constrained")
    figure.suptitle(name)
    grid = figure.subplots(len(rows), 3, squeeze=False, height_ratios=inches)
    for leaf, axes, panels in zip(leaves, grid, rows, strict=True):
        _draw(figure, list(axes), leaf, panels)
    return figure


def _draw(figure: Figure, axes: list[Axes], leaf: LeafComparison, panels: list[_Panel]) -> None:
    limit = largest_magnitude(np.concatenate([panel.image.ravel() for panel in panels]))
    for ax, panel in zip(axes, panels, strict=False):
        shown = show(ax, panel.image, signed=True, limit=limit)
        ax.set_title(panel.title, fontsize=9)
        if ax is axes[0]:
            figure.colorbar(shown, ax=axes, fraction=0.02, pad=0.01)
    verdict = "" if leaf.ok else ", WRONG"
    axes[0].set_ylabel(f"{leaf.path} {list(leaf.shape)}{verdict}", fontsize=9)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    if len(panels) == 3 and not leaf.ok:
        # One colour scale hides a small error: the circle says where it is.
        row, column = largest(np.nan_to_num(np.abs(panels[2].image)))
        axes[2].plot(column, row, "o", ms=12, mfc="none", mec="black", mew=1.5)


def _panels(leaf: LeafComparison) -> list[_Panel]:
    """The pictures of one leaf."""
    gradient, other = wide(leaf.gradient), leaf.automatic
    mine, words = "hand-written", "automatic"
    if other is None and leaf.numerical is not None and not np.isnan(leaf.numerical).any():
        mine, other, words = "gradient", leaf.numerical, "central differences"
    if other is None:
        return [_panel("gradient", gradient)]
    other = wide(other)
    if other.shape != gradient.shape:
        pairs = ((mine, gradient), (words, other))
        return [_Panel(f"{title} {list(a.shape)}", _tiles(a)[0]) for title, a in pairs]
    with np.errstate(invalid="ignore"):
        difference = gradient - other
    worst = largest(np.nan_to_num(np.abs(difference), nan=np.inf))
    return [
        _panel(mine, gradient, worst),
        _panel(words, other, worst),
        _panel(f"difference, at most {abs(difference[worst]):.2g}", difference, worst),
    ]


def _panel(title: str, a: np.ndarray, at: Index | None = None) -> _Panel:
    image, note = _tiles(a, at)
    return _Panel(title + note, image)


def _tiles(a: np.ndarray, at: Index | None = None) -> tuple[np.ndarray, str]:
    """An array of any rank as one image that shows index `at`, and what it leaves out.

    Two neighbouring axes, those with the most cells, are a tile; the axes before and after them
    count the tiles down and across.
    """
    if a.ndim < 2:
        return a.reshape(1, -1), ""
    if a.ndim == 2:
        return a, ""
    first = max(range(a.ndim - 1), key=lambda i: (a.shape[i] * a.shape[i + 1], -i))
    order = [*range(first), *range(first + 2, a.ndim)]
    half = max(1, first)
    height, width = a.shape[first : first + 2]
    sides = order[:half], order[half:]
    counts = [math.prod(a.shape[i] for i in side) for side in sides]
    tiles = a.transpose(*order, first, first + 1).reshape(*counts, height, width)
    starts = [
        min(max(0, _number(a.shape, side, at) - _TILES // 2), max(0, n - _TILES))
        for side, n in zip(sides, counts, strict=True)
    ]
    kept = tiles[tuple(slice(start, start + _TILES) for start in starts)]
    n, m = kept.shape[:2]
    image = montage(np.moveaxis(kept.reshape(n * m, height, width), 0, -1), m)
    note = "" if n * m == math.prod(counts) else f" ({n * m} of {math.prod(counts):,} tiles)"
    return image, note


def _number(shape: tuple[int, ...], axes: list[int], at: Index | None) -> int:
    """The number, along these axes taken as one, of the tile that shows index `at`."""
    if at is None or not axes:
        return 0
    return int(np.ravel_multi_index([at[i] for i in axes], [shape[i] for i in axes]))
