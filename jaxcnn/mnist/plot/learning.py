"""Loss and accuracy over the steps of a run."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_PARTS = ("train", "validation", "test")


def learning_curves(
    metrics: Iterable[Mapping[str, Any]],
    *,
    published: Mapping[int, float] | None = None,
    title: str = "Learning curves",
) -> Figure:
    """The loss, on a logarithmic scale, and the accuracy, at every evaluation.

    Args:
        metrics: the lines of metrics.jsonl; the closing line is left out.
        published: validation accuracy by step to draw beside, as the post's notebook shows it.
        title: above the figure.
    """
    lines = [line for line in metrics if not line.get("final")]
    steps = [line["step"] for line in lines]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=14)
    panels = dict(zip(("loss", "accuracy"), figure.subplots(1, 2), strict=True))
    for what, axes in panels.items():
        for part in _PARTS:
            name = f"{part}_{what}"
            if lines and name in lines[0]:
                axes.plot(steps, [line[name] for line in lines], marker="o", ms=4, label=part)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels["loss"].set_ylabel("cross entropy, mean")
    if lines:
        panels["loss"].set_yscale("log")
    if published:
        panels["accuracy"].plot(
            list(published), list(published.values()), "kx--", lw=1, label="published, validation"
        )
    panels["accuracy"].set_ylabel("accuracy")
    panels["accuracy"].yaxis.set_major_formatter(PercentFormatter(1))
    for axes in panels.values():
        if axes.lines:
            axes.legend()
    return figure
