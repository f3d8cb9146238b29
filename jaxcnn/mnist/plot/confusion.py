"""Which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def confusion_matrix(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str | None = None,
) -> Figure:
    """How many examples of each class (a line) were given each class (a column).

    The colour tells mistakes alone: the right ones, a hundred times as many, would drown them.

    Args:
        labels: integers `[N]`, the truth.
        predictions: integers `[N]`.
        class_names: one a class.
        title: above the figure; the accuracy if None.
    """
    classes = len(class_names)
    labels, predictions = np.asarray(labels, int), np.asarray(predictions, int)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predictions), 1)
    mistakes = np.where(np.eye(classes, dtype=bool), 0, counts)
    wrong = int(mistakes.sum())
    if title is None:
        right = 1 - wrong / max(1, len(labels))
        title = f"{right:.2%} right, {wrong:,} of {len(labels):,} wrong"

    figure = Figure(figsize=(8, 7.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=14)
    image = axes.imshow(mistakes, cmap="Reds", aspect="auto", vmin=0, vmax=max(1, mistakes.max()))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            strong = mistakes[row, column] > 0.6 * mistakes.max()
            axes.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold" if row == column else "normal",
                color="white" if strong else "black",
            )
    short = all(len(name) <= 2 for name in class_names)
    axes.set_xticks(range(classes), class_names)
    if not short:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_yticks(range(classes), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    whole = MaxNLocator(nbins=6, integer=True)
    figure.colorbar(image, ax=axes, label="mistakes", fraction=0.045, ticks=whole)
    return figure
