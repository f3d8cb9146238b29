"""The post's figure, every activation of the network for one image, and its backward twin.

Both have the same panels in the same places, so that a map and its gradient can be read side by
side: a row for each convolution or dense layer, from left to right the layer, its ReLU, its pool.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...drawing import largest, montage, scale_beside, show
from ..model import names

_COLUMNS = 3
_SIGNED = ("conv", "dense", "logits")
_PANEL_ASPECT = 3.4
_DENSE_COLUMNS = 32


def activation_figure(
    activations: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str],
    model: str = "post",
    title: str = "Forward: every activation",
    note: str = "",
) -> Figure:
    """Every activation of one image, each panel on a scale of its own.

    Args:
        activations: by name, without a batch axis: maps `[H, W, C]`, vectors `[D]`.
        class_names: for the ten logits and probabilities.
        model: whose places they are, see `model.names`.
        title: above the figure.
        note: a few words beside the input.
    """
    return _figure(activations, class_names, model, title, note, backward=False)


def gradient_figure(
    gradients: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str],
    model: str = "post",
    title: str = "Backward: the gradient of the loss at every activation",
    note: str = "",
) -> Figure:
    """The gradient at every place of `activation_figure`: white is zero, red up and blue down.

    Args:
        gradients: by name, without a batch axis, as `model.activation_gradients` has them.
        class_names: for the ten logits and probabilities.
        model: whose places they are, see `model.names`.
        title: above the figure.
        note: a few words beside the input.
    """
    return _figure(gradients, class_names, model, title, note, backward=True)


def _figure(
    places: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    model: str,
    title: str,
    note: str,
    *,
    backward: bool,
) -> Figure:
    rows = _rows(names(model))
    figure = Figure(figsize=(13, 0.5 + 1.5 * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=14)
    grid = figure.add_gridspec(len(rows), _COLUMNS)
    for row, in_row in enumerate(rows):
        for column, name in enumerate(in_row):
            axes = figure.add_subplot(grid[row, column])
            axes.set_label(name)
            values = np.asarray(places[name], np.float64)
            shape = " x ".join(map(str, values.shape))
            axes.set_title(f"{name}   {shape}", fontsize=10, loc="left")
            signed = backward or name.startswith(_SIGNED)
            if name in ("logits", "probabilities"):
                _bars(axes, values, class_names, signed=signed)
            else:
                _maps(axes, values, signed=signed)
    beside = figure.add_subplot(grid[0, 1:])
    beside.axis("off")
    scales = (
        "Each panel has a scale of its own: white is zero, red above it, blue below."
        if backward
        else "Each panel has a scale of its own. Where values may be negative, white is zero, red"
        " above it,\nblue below; elsewhere black is zero."
    )
    beside.text(0, 0.9, f"{note}\n\n{scales}".strip(), va="top", fontsize=11)
    return figure


def _rows(places: Sequence[str]) -> list[list[str]]:
    """The input, then a row for each layer with weights and what follows it."""
    rows = [["input"]]
    for name in places[1:]:
        begins = name.startswith(("conv", "dense", "logits"))
        if begins or len(rows) == 1 or len(rows[-1]) == _COLUMNS:
            rows.append([])
        rows[-1].append(name)
    return rows


def columns_for(count: int, aspect: float) -> int:
    """How many square maps to a line make them largest in a panel of width = aspect * height."""

    def side(columns: int) -> float:
        return min(aspect / columns, 1 / math.ceil(count / columns))

    return max((n for n in range(1, count + 1) if count % n == 0), key=side)


def _maps(axes: Axes, values: np.ndarray, *, signed: bool) -> None:
    if values.ndim == 1:
        columns = min(_DENSE_COLUMNS, len(values))
        filled = np.pad(values, (0, -len(values) % columns), constant_values=np.nan)
        picture = filled.reshape(-1, columns)
    else:
        picture = montage(values, columns_for(values.shape[-1], _PANEL_ASPECT))
    image = show(axes, picture, signed=signed)
    scale_beside(axes, image, signed=signed)


def _bars(axes: Axes, values: np.ndarray, class_names: Sequence[str], *, signed: bool) -> None:
    finite = np.where(np.isfinite(values), values, 0)
    bars = axes.bar(range(len(values)), finite, color=["C3" if v > 0 else "C0" for v in finite])
    if signed:
        limit = 1.15 * largest(values)
        axes.set_ylim(-limit, limit)
        axes.axhline(0, color="0.3", linewidth=0.8)
    else:
        axes.set_ylim(0, 1.05)
    for bar, value in zip(bars, values, strict=True):
        if not np.isfinite(value):
            axes.annotate(f"{value}", (bar.get_x(), 0), fontsize=8)
    short = all(len(name) <= 2 for name in class_names)
    axes.set_xticks(range(len(values)), class_names, fontsize=8, rotation=0 if short else 45)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
