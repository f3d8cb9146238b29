"""The examples that the network gets most wrong."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ...drawing import show

_COLUMNS = 6


def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    class_names: Sequence[str],
    count: int = 24,
    title: str | None = None,
) -> Figure:
    """The wrongly classified examples whose true class got the least probability, worst first.

    Under each image stand its ten probabilities: the true class in green, the chosen one in red.

    Args:
        images: uint8 `[N, 28, 28]`.
        labels: integers `[N]`.
        probabilities: `[N, 10]`.
        class_names: one a class.
        count: how many to show at most.
        title: above the figure; how many were wrong if None.
    """
    labels, probabilities = np.asarray(labels, int), np.asarray(probabilities, np.float64)
    chosen = np.asarray(probabilities.argmax(axis=-1))
    of_truth = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(chosen != labels)
    worst = wrong[np.argsort(of_truth[wrong], kind="stable")][:count]
    if title is None:
        title = f"The worst of {len(wrong):,} mistakes among {len(labels):,}"
    rows = max(1, math.ceil(len(worst) / _COLUMNS))
    figure = Figure(figsize=(2 * _COLUMNS, 0.8 + 2.7 * rows), layout="constrained")
    figure.suptitle(title, fontsize=14)
    if not len(worst):
        figure.text(0.5, 0.5, f"no mistake among {len(labels):,}", ha="center", va="center")
        return figure
    cells = figure.add_gridspec(rows, _COLUMNS)
    for place, example in enumerate(worst):
        cell = cells[place // _COLUMNS, place % _COLUMNS].subgridspec(2, 1, height_ratios=(3, 1))
        picture, bars = figure.add_subplot(cell[0]), figure.add_subplot(cell[1])
        show(picture, images[example].astype(np.float64), signed=False, limit=255)
        picture.set_anchor("C")
        truth, choice = int(labels[example]), int(chosen[example])
        picture.set_title(
            f"no. {example}: {class_names[truth]} ({of_truth[example]:.1%})\n"
            f"taken for {class_names[choice]} ({probabilities[example, choice]:.1%})",
            fontsize=9,
        )
        colours = ["0.6"] * len(class_names)
        colours[truth], colours[choice] = "C2", "C3"
        bars.bar(range(len(class_names)), probabilities[example], color=colours)
        bars.set_ylim(0, 1)
        bars.set_yticks([0, 1])
        bars.set_xticks(range(len(class_names)))
        bars.tick_params(labelsize=7, length=2)
        for class_, colour in ((truth, "C2"), (choice, "C3")):
            bars.get_xticklabels()[class_].set(color=colour, fontweight="bold")
        bars.spines[["top", "right"]].set_visible(False)
    return figure
