"""The pictures of notebook 1: small arrays as cells with their numbers.

A cell's hue says which output (or example, or class) it belongs to, the same in every panel of a
picture. Its strength is its size, on one scale for the whole picture: equal numbers look alike, and
0.25 and 1 do not. Every number is computed from the arrays that a function is given.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from moving import Moving

_HUES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_NONE = -1  # the hue of a cell that has no part in what is shown
_CELL = 0.34  # inches
_TIMES, _MINUS = "\u00d7", "\u2212"


class _Board:
    """A sheet whose unit is one cell; places are (top, left) corners."""

    def __init__(self, height: float, width: float):
        self.figure = Figure(figsize=(_CELL * width, _CELL * height), dpi=100)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(-0.2, width)
        self.axes.set_ylim(height, 0)
        self.axes.set_axis_off()
        self.parts: dict[int, list[tuple[float, ...]]] = defaultdict(list)  # boxes by their hue

    def write(self, top: float, left: float, words: str, size: float = 9, **options: Any) -> None:
        """Words that start at `left`, around the height `top`."""
        options = {"ha": "left", "va": "center", "color": "0.15"} | options
        self.axes.text(left, top, words, fontsize=size, **options)

    def cells(
        self,
        top: float,
        left: float,
        values: Any,
        title: str = "",
        *,
        hues: Any = _NONE,
        largest: float | None = None,
        format: str = "{:g}",
    ) -> None:
        """A matrix; a cell of NaN is grey. No `largest` is one strength for all."""
        values = np.atleast_2d(np.asarray(values, float))
        hues = np.broadcast_to(hues, values.shape)
        for (i, j), value in np.ndenumerate(values):
            strength = 0.45 if largest is None else 0.1 + 0.6 * abs(value) / largest
            plain = hues[i, j] == _NONE or (value == 0 and largest is not None)
            unread = "0.93" if np.isnan(value) else "white"
            fill = unread if plain else _tint(_HUES[hues[i, j]], strength)
            box = Rectangle((left + j, top + i), 1, 1, facecolor=fill, edgecolor="0.75", lw=0.8)
            self.axes.add_patch(box)
            if hues[i, j] != _NONE:
                self.parts[int(hues[i, j])].append((top + i, left + j, 1, 1))
            if not np.isnan(value):
                words = format.format(value + 0.0)
                colour = "0.6" if value == 0 else "0.1"
                size = 9 if len(words) < 4 else 7.9 if len(words) < 5 else 7.4
                self.write(top + i + 0.52, left + j + 0.5, words, size, ha="center", color=colour)
        self.write(top - 0.45, left, title)

    def outline(
        self, top: float, left: float, height: int, width: int, hue: int = _NONE, line: float = 2.4
    ) -> None:
        """A frame around cells."""
        colour = "0.1" if hue == _NONE else _HUES[hue]
        box = Rectangle((left, top), width, height, fill=False, edgecolor=colour, lw=line, zorder=3)
        self.axes.add_patch(box)

    def fade(self, top: float, left: float, height: float, width: float) -> None:
        """Make pale what was drawn there, but for the lines above and below."""
        veil = Rectangle((left, top + 0.03), width, height - 0.06, color="white", alpha=0.6, lw=0)
        veil.set_zorder(9)
        self.axes.add_patch(veil)


def _tint(colour: str, strength: float) -> tuple[float, ...]:
    return tuple(1 - strength * (1 - channel) for channel in to_rgb(colour))


def _at(place: Sequence[int]) -> str:
    return f"[{', '.join(str(int(i)) for i in place)}]"


def conv(
    x: np.ndarray, w: np.ndarray, g: np.ndarray, pixel: tuple[int, int], tap: tuple[int, int]
) -> Moving:
    """What one pixel and one weight of a convolution, VALID, of one channel, take part in.

    Args:
        x: `[2, H, W]`, two examples.
        w: `[K, K]`, which has to fit in x so that there are at most four outputs.
        g: `[2, H - K + 1, W - K + 1]`.
        pixel: of example 0, whose gradient is taken apart.
        tap: of w, whose gradient is taken apart.
    """
    n, k, m = x.shape[1:], w.shape, g.shape[1:]
    hue = np.arange(g[0].size).reshape(m)
    board = _Board(12.8, 28.6)

    board.write(
        0.4, 0, f"dx{_at(pixel)}: the outputs that the pixel takes part in", 10, weight="bold"
    )
    total, left = 0.0, 0.0
    for i in np.ndindex(*m):
        a = (pixel[0] - i[0], pixel[1] - i[1])
        if not all(0 <= at < size for at, size in zip(a, k, strict=True)):
            continue
        under = np.full(n, np.nan)  # the kernel where this output's window lays it
        under[i[0] : i[0] + k[0], i[1] : i[1] + k[1]] = w
        marked = np.full(n, _NONE)
        marked[pixel] = hue[i]
        board.cells(1.9, left, under, f"i = {_at(i)},  a = j {_MINUS} i = {_at(a)}", hues=marked)
        board.outline(1.9 + i[0], left + i[1], *k, hue=hue[i])
        product = g[0][i] * w[a]
        total += product
        words = f"g{_at(i)} w{_at(a)} = {g[0][i]:g} · {w[a]:g} = {product:g}"
        board.write(1.9 + n[0] + 0.5, left, words, 8.2)
        board.parts[int(hue[i])].append((1.0, left - 0.1, n[0] + 1.9, 6.3))
        left += 6.3
    board.write(3.4, left, f"together\ndx{_at(pixel)} = {total:g}", 10)

    top, left = 8.0, 0.0
    board.write(6.5, 0, "the same sum as one window over g", 10, weight="bold")
    around = np.pad(g[0], [(size - 1, size - 1) for size in k])
    hues = np.pad(hue, [(size - 1, size - 1) for size in k], constant_values=_NONE)
    window = np.s_[pixel[0] : pixel[0] + k[0], pixel[1] : pixel[1] + k[1]]
    flipped = w[::-1, ::-1]
    dx = np.array(
        [
            [(around[i : i + k[0], j : j + k[1]] * flipped).sum() for j in range(n[1])]
            for i in range(n[0])
        ]
    )
    board.cells(top, left, around, "g in zeros", hues=hues)
    board.outline(top + pixel[0], left + pixel[1], *k)
    left += around.shape[1] + 0.3
    board.write(top + 2, left, _TIMES)
    board.cells(top + 1, left + 0.6, flipped, "w flipped", hues=hues[window])
    left += 0.6 + k[1] + 0.3
    board.write(top + 2, left, "=")
    board.cells(top + 1, left + 0.7, around[window] * flipped, "products", hues=hues[window])
    left += 0.7 + k[1] + 0.3
    board.write(top + 2, left, "Σ →")
    board.cells(top + 0.5, left + 1.1, dx, "dx")
    board.outline(top + 0.5 + pixel[0], left + 1.1 + pixel[1], 1, 1)

    left = 16.2
    board.write(6.5, left, f"dw{_at(tap)}: every output, in every example", 10, weight="bold")
    sums = []
    for example in range(2):
        marked = np.full(n, _NONE)
        patch = np.s_[tap[0] : tap[0] + m[0], tap[1] : tap[1] + m[1]]
        marked[patch] = hue
        board.cells(top, left, x[example], f"x, example {example}", hues=marked)
        board.outline(top + tap[0], left + tap[1], *m)
        board.write(top + 1.5, left + n[1] + 0.2, _TIMES)
        board.cells(top + 0.5, left + n[1] + 0.8, g[example], "g", hues=hue)
        sums.append((x[example][patch] * g[example]).sum())
        board.write(top + 3.6, left, f"Σ products = {sums[-1]:g}")
        left += 6.3
    words = f"dw{_at(tap)} = {sums[0]:g} + {sums[1]:g} = {sum(sums):g}"
    board.write(top + 4.4, 16.2, words, 10)
    return Moving(board.figure, board.parts)


def one_output(
    w: np.ndarray, place: tuple[int, int], dx: np.ndarray, not_flipped: np.ndarray
) -> Figure:
    """What a single output with g = 1 hands back, by the rule and by one that does not flip.

    Args:
        w: `[K, K]`.
        place: of the output.
        dx: `[H, W]`, by the rule.
        not_flipped: `[H, W]`, by the mistake.
    """
    g = np.zeros([n - k + 1 for n, k in zip(dx.shape, w.shape, strict=True)])
    g[place] = 1
    hue = int(np.ravel_multi_index(place, g.shape))
    board = _Board(4.5, 24)
    middle, left = 2.6, 0.0
    for title, values in {
        f"g: 1 at {_at(place)}": g,
        "w": w,
        "dx": dx,
        "dx, w not flipped": not_flipped,
    }.items():
        top = middle - len(values) / 2
        largest = 1 if values is g else w.max()
        board.cells(top, left, values, title, hues=hue, largest=largest)
        if values.shape == dx.shape:
            board.outline(top + place[0], left + place[1], *w.shape, hue=hue)
        left += values.shape[1] + 3
    return board.figure


def relu(x: np.ndarray, g: np.ndarray) -> Figure:
    """The curve with its slope at every x, and what each slope makes of g."""
    slope = (x > 0).astype(float)
    board = _Board(5.6, 24)
    curve = board.figure.add_axes((0.02, 0.1, 0.3, 0.82))
    line = np.linspace(x.min() - 0.6, x.max() + 0.6, 200)
    curve.plot(line, np.maximum(line, 0), color="0.6", lw=1.5)
    for at, open_ in zip(x, slope, strict=True):
        nudge = np.array([-0.35, 0.35])
        colour = _HUES[2] if open_ else "0.25"
        curve.plot(at + nudge, max(at, 0) + open_ * nudge, color=colour, lw=3)
        inside = "white" if at == 0 else colour  # no derivative there
        curve.plot(at, max(at, 0), "o", color=colour, mfc=inside, ms=5)
    curve.set_xticks(x, [f"{at:g}" for at in x], fontsize=8)
    curve.set_yticks([])
    for side in ("top", "right", "left"):
        curve.spines[side].set_visible(False)
    hues = np.where(slope > 0, 2, _NONE)
    rows = {
        "x": x,
        "y = max(x, 0)": np.maximum(x, 0),
        "slope dy/dx": slope,
        "g": g,
        "dx = slope · g": slope * g,
    }
    for top, (name, values) in enumerate(rows.items()):
        board.write(0.9 + top, 14.6, name, ha="right")
        board.cells(0.4 + top, 15, values, hues=hues)
    return board.figure


def pool(
    x: np.ndarray,
    y: np.ndarray,
    g: np.ndarray,
    dx: np.ndarray,
    *,
    routed: bool,
    ties: Mapping[str, np.ndarray] | None = None,
) -> Figure | Moving:
    """Windows of 2x2, side by side: x, y, g and dx, a hue for each window.

    Args:
        x: `[4, 4]`.
        y: `[2, 2]`, one number for each window, and so is g.
        g: the gradient that each output brings.
        dx: the gradient that each input gets.
        routed: whether to frame the inputs that get any.
        ties: by convention, dx of the last window.
    """
    windows = np.arange(4).reshape(2, 2)
    hues = windows.repeat(2, 0).repeat(2, 1)
    board = _Board(5.4, 17.6 + (0.6 + 3.2 * len(ties) if ties else 0))
    largest = np.abs(g).max()
    for left, title, values, hue in (
        (0, "x", x, hues),
        (5.2, "y", y, windows),
        (8.4, "g", g, windows),
        (11.6, "dx", dx, hues),
    ):
        top = 1.1 if len(values) == 4 else 2.1
        scale = largest if title in ("g", "dx") else None
        shown = np.where(dx != 0, hue, _NONE) if routed and title == "x" else hue
        board.cells(top, left, values, title, hues=shown, largest=scale)
        step = len(values) // 2
        for i, j in np.ndindex(2, 2):
            board.outline(top + step * i, left + step * j, step, step, int(windows[i, j]), 1.8)
        if routed and len(values) == 4:
            for i, j in np.argwhere(dx != 0):
                board.outline(top + i, left + j, 1, 1)
    for number, (name, values) in enumerate((ties or {}).items()):
        left = 17.4 + 3.2 * number
        board.cells(2.1, left, values, f'"{name}"', hues=3, largest=largest)
        board.outline(2.1, left, 2, 2, 3, 1.8)
        board.write(4.6, left, f"got {g[1, 1]:g},\ngave {values.sum():g}")
    if ties:
        board.write(0.6, 17.4, "the window of zeros, by the convention for ties")
    return Moving(board.figure, board.parts) if routed else board.figure


def dense(
    x: np.ndarray, w: np.ndarray, g: np.ndarray, of_dx: tuple[int, int], of_dw: tuple[int, int]
) -> Figure:
    """What one input and one weight of a fully connected layer take part in."""
    board = _Board(5.1, 28)
    top = 1.9

    def row(left: float, panels: Sequence[tuple[str, str, np.ndarray, np.ndarray]]) -> float:
        for sign, title, values, hues in panels:
            board.write(top + 1.5, left, sign)
            left += 0.55 * bool(sign) + 0.15 * len(sign)
            board.cells(top + (3 - len(values)) / 2, left, values, title, hues=hues)
            left += values.shape[1] + 0.35
        return left

    n, j = of_dx
    board.write(0.4, 0, f"dx{_at(of_dx)}: all outputs, of its own example", 10, weight="bold")
    outputs = np.arange(w.shape[1])
    in_g, in_w = np.full(g.shape, _NONE), np.full(w.shape, _NONE)
    in_g[n], in_w[j] = outputs, outputs
    products = (g[n] * w[j])[None]
    left = row(
        0,
        [("", "g", g, in_g), (_TIMES, "w", w, in_w), ("=", "products", products, outputs[None])],
    )
    board.write(top + 1.5, left, f"Σ = {products.sum():g}")

    j, k = of_dw
    left = 14
    board.write(0.4, left, f"dw{_at(of_dw)}: one output, in every example", 10, weight="bold")
    examples = np.arange(len(x))
    in_x, in_g = np.full(x.shape, _NONE), np.full(g.shape, _NONE)
    in_x[:, j], in_g[:, k] = examples, examples
    products = (x[:, j] * g[:, k])[:, None]
    left = row(
        left,
        [
            ("", "x", x, in_x),
            (_TIMES, "g", g, in_g),
            ("=", "products", products, examples[:, None]),
        ],
    )
    board.write(top + 1.5, left + 0.6, f"Σ = {products.sum():g}")
    return board.figure


def cross_entropy(p: np.ndarray, y: np.ndarray, j: int) -> Figure:
    """What one logit takes part in: every probability, and through each the loss."""
    classes = len(p)
    board = _Board(6.4, 29)
    jacobian = np.diag(p) - np.outer(p, p)
    cases = np.where(np.eye(classes) > 0, 1, 0)
    of_p = -y / p
    board.write(
        0.4, 0, f"dz[{j}]: the logit moves every p[k], and each p[k] moves J", 10, weight="bold"
    )
    wide = "{:.3g}"

    def line(top: float, left: float, name: str, values: np.ndarray, hues: Any) -> None:
        board.write(top + 0.5, left - 0.2, name, ha="right")
        board.cells(top, left, values, hues=hues, format=wide)

    line(1.6, 2.4, "p", p, _NONE)
    line(2.8, 2.4, "y", y, _NONE)
    board.write(4.4, 0.6, f"S = Σ y = {y.sum():g}")
    line(1.6, 11.4, f"dJ/dp[k] = {_MINUS}y[k] / p[k]", of_p, 2)
    for row in range(classes):
        name = f"dp[k]/dz[{row}]"
        line(3.0 + row, 11.4, name, jacobian[row], cases[row])
        if row != j:
            board.fade(3.0 + row, 8.2, 1, 3.2 + classes)
    board.outline(3.0 + j, 11.4, 1, classes)
    board.outline(1.6, 11.4, 1, classes)
    left = 11.4 + classes + 0.5
    board.write(1.6 + 0.5, left, "the two framed rows, multiplied cell by cell")
    products = of_p * jacobian[j]
    board.write(3.5 + j, left, "=")
    board.cells(3.0 + j, left + 0.7, products, hues=cases[j], format=wide)
    total = products.sum()
    board.write(
        3.5 + j,
        left + 0.7 + classes + 0.3,
        f"Σ = {total:g} = S p[{j}] {_MINUS} y[{j}] = {y.sum():g} · {p[j]:g} {_MINUS} {y[j]:g}",
    )
    one, other = f"p[j] (1 {_MINUS} p[j])", f"{_MINUS}p[k] p[j]"
    board.write(5.6, left, f"orange, k = j: {one}     blue, k ≠ j: {other}")
    return board.figure
