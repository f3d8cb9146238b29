"""The curve of a run with the recipe `post` beside the points that the post's notebook shows."""

import csv
import io
from typing import TYPE_CHECKING

from ..recipe import PUBLISHED_CURVE

if TYPE_CHECKING:
    from .folder import RunFolder


def write_comparison(folder: "RunFolder") -> list[str]:
    """Write curve.csv (step, validation accuracy, published) and return it as lines to print.

    A step is counted as the post counts it: the accuracy after the update of step 0 is that of a
    network updated once.
    """
    lines = [line for line in folder.read_metrics() if not line.get("final")]
    curve = {line["step"] - 1: line["validation_accuracy"] for line in lines}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "validation_accuracy", "published"))
    table = ["after step   validation   published"]
    for step, accuracy in curve.items():
        published = PUBLISHED_CURVE.get(step)
        writer.writerow((step, accuracy, "" if published is None else published))
        beside = "" if published is None else f"{published:.4f}"
        table.append(f"{step:10d}   {accuracy:10.4f}   {beside:>9}".rstrip())
    folder.write_text("curve.csv", text.getvalue())
    return table
