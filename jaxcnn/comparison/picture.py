"""Gradients as pictures: this one, the automatic one and their difference, on one colour scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .rounding import wide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .result import LeafComparison

# Tiles of a leaf of many axes along each side of its picture.
_TILES = 8
# Cells between two tiles.
_GAP = 1


def picture(leaves: Sequence[LeafComparison], name: str) -> Any:
    """A matplotlib Figure with one row a leaf."""
    from matplotlib.figure import Figure

    rows = [_row(leaf) for leaf in leaves]
    heights = [min(max(shown[0][1].shape[0] / shown[0][1].shape[1], 0.12), 1.0) for shown in rows]
    inches = [3.2 * h + 0.7 for h in heights]
    figure = Figure(figsize=(12.0, sum(inches) + 0.5), layout="constrained")
    figure.suptitle(name)
    grid = figure.subplots(len(rows), 3, squeeze=False, height_ratios=inches)
    for leaf, axes, shown in zip(leaves, grid, rows, strict=True):
        _draw(figure, list(axes), leaf, shown)
    return figure


def _draw(
    figure: Any, axes: list[Any], leaf: LeafComparison, shown: list[tuple[str, np.ndarray]]
) -> None:
    top = max(float(np.max(np.abs(tiles[np.isfinite(tiles)]), initial=0.0)) for _, tiles in shown)
    image = None
    for ax, (title, tiles) in zip(axes, shown, strict=False):
        image = ax.imshow(
            tiles, cmap="RdBu_r", vmin=-(top or 1.0), vmax=top or 1.0, interpolation="nearest"
        )
        ax.set_title(title, fontsize=9)
        # NaN is where nothing is drawn: the gaps between tiles.
        ax.set_facecolor("0.85")
        ax.set_xticks([])
        ax.set_yticks([])
    verdict = "" if leaf.ok else ", WRONG"
    axes[0].set_ylabel(f"{leaf.path} {list(leaf.shape)}{verdict}", fontsize=9)
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    if len(shown) == 3 and not leaf.ok:
        difference = shown[2][1]
        at = np.nanargmax(np.abs(difference)) if np.isfinite(difference).any() else 0
        row, column = np.unravel_index(at, difference.shape)
        # One colour scale hides a small error: the circle says where it is.
        axes[2].plot(column, row, "o", ms=12, mfc="none", mec="black", mew=1.5)
    figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01)


def _row(leaf: LeafComparison) -> list[tuple[str, np.ndarray]]:
    """The pictures of one leaf, each with its title."""
    gradient, other = wide(leaf.gradient), leaf.automatic
    mine, words = "hand-written", "automatic"
    if other is None and leaf.numerical is not None and not np.isnan(leaf.numerical).any():
        mine, other, words = "gradient", leaf.numerical, "central differences"
    if other is None:
        tiles, note = _tiles(gradient, None)
        return [(f"gradient{note}", tiles)]
    other = wide(other)
    if other.shape != gradient.shape:
        pairs = ((mine, gradient), (words, other))
        return [(f"{title} {list(a.shape)}", _tiles(a, None)[0]) for title, a in pairs]
    with np.errstate(invalid="ignore"):
        difference = gradient - other
    worst = int(np.argmax(np.nan_to_num(np.abs(difference), nan=np.inf)))
    at = tuple(int(i) for i in np.unravel_index(worst, gradient.shape))
    largest = abs(difference[at])
    shown = (
        (mine, gradient),
        (words, other),
        (f"difference, at most {largest:.2g}", difference),
    )
    pictures = [(title, *_tiles(a, at)) for title, a in shown]
    return [(title + note, tiles) for title, tiles, note in pictures]


def _tiles(a: np.ndarray, at: tuple[int, ...] | None) -> tuple[np.ndarray, str]:
    """An array of any rank as one picture that shows index `at`, and what it leaves out.

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
    down = math.prod(a.shape[i] for i in order[:half])
    across = math.prod(a.shape[i] for i in order[half:])
    tiles = a.transpose(*order, first, first + 1).reshape(down, across, height, width)
    row, column = 0, 0
    if at is not None:
        row, column = (
            int(np.ravel_multi_index([at[i] for i in axes], [a.shape[i] for i in axes]))
            if axes
            else 0
            for axes in (order[:half], order[half:])
        )
    row, column = (
        min(max(0, i - _TILES // 2), max(0, n - _TILES)) for i, n in ((row, down), (column, across))
    )
    kept = tiles[row : row + _TILES, column : column + _TILES]
    n, m = kept.shape[:2]
    canvas = np.full((n * (height + _GAP) - _GAP, m * (width + _GAP) - _GAP), np.nan)
    for i in range(n):
        for j in range(m):
            y, x = i * (height + _GAP), j * (width + _GAP)
            canvas[y : y + height, x : x + width] = kept[i, j]
    note = "" if n * m == down * across else f" ({n * m} of {down * across:,} tiles)"
    return canvas, note
