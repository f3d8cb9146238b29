"""The first filters of every convolution."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...drawing import montage, scale_beside, show

INPUTS, OUTPUTS = 4, 16


def filters(params: Mapping[str, Mapping[str, Any]], *, title: str = "First filters") -> Figure:
    """The kernels of each convolution: an input channel a line, an output channel a column.

    Of many channels the first 4 and the first 16 are shown, and the panel's title says so. Each
    layer has a scale of its own, white at zero.

    Args:
        params: as `model.init` makes them.
        title: above the figure.
    """
    kernels = {
        name: np.asarray(layer["w"], np.float64)
        for name, layer in params.items()
        if name.startswith("conv")
    }
    shown = {name: w[:, :, :INPUTS, :OUTPUTS] for name, w in kernels.items()}
    lines = [w.shape[2] for w in shown.values()]
    figure = Figure(figsize=(10, 1.2 + sum(0.55 * n + 0.5 for n in lines)), layout="constrained")
    figure.suptitle(title, fontsize=14)
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=[n + 0.6 for n in lines])
    for axes, (name, w) in zip(panels[:, 0], shown.items(), strict=True):
        height, width, inputs, outputs = w.shape
        image = show(axes, montage(w.reshape(height, width, -1), outputs), signed=True)
        axes.set_label(name)
        whole = " x ".join(map(str, kernels[name].shape))
        title_ = f"{name}   {whole} (height x width x in x out)"
        if left_out := _left_out(kernels[name].shape[2:], (inputs, outputs)):
            title_ += f", of which {left_out}"
        axes.set_title(title_, fontsize=10, loc="left")
        axes.set_xticks((width + 1) * np.arange(outputs) + (width - 1) / 2, range(outputs))
        axes.set_yticks((height + 1) * np.arange(inputs) + (height - 1) / 2, range(inputs))
        axes.tick_params(length=0, labelsize=8)
        axes.set_ylabel("in", fontsize=8)
        scale_beside(axes, image, signed=True)
    panels[-1, 0].set_xlabel("out", fontsize=8)
    return figure


def _left_out(whole: Sequence[int], shown: Sequence[int]) -> str:
    """Such as "in 0 to 3 and out 0 to 15 are shown"; empty where all are."""
    parts = [
        f"{name} 0 to {some - 1}"
        for name, all_, some in zip(("in", "out"), whole, shown, strict=True)
        if some < all_
    ]
    return f"{' and '.join(parts)} are shown" if parts else ""
