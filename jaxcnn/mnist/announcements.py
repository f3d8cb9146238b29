"""What a run says of itself: at its start, where it goes on otherwise, and when it stops."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import description
from .run.configuration import Configuration

if TYPE_CHECKING:
    from .data.sources import Dataset
    from .run.fit import Run
    from .run.folder import RunFolder


def headline(
    configuration: Configuration, dataset: "Dataset", devices: int, folder: "RunFolder"
) -> str:
    """What is learnt from, by what, how long and where; and the layers."""
    c = configuration
    return (
        f"{c.dataset}: {len(dataset.train_labels):,} examples to learn from, network {c.model},"
        f" recipe {c.recipe}, {c.steps} steps of {c.batch_size} on {devices}"
        f" device{'s' if devices > 1 else ''}; run folder {folder.path}\n"
        f"{description.summary(c.model)}"
    )


def change(before: dict[str, Any], now: Configuration) -> str:
    """In words, how a run goes on otherwise than it began."""
    from .recipe import RECIPES

    parts = []
    if now.steps != before["steps"]:
        parts.append(f"going on to {now.steps} steps instead of {before['steps']}")
        if RECIPES[now.recipe].falls:
            parts.append(
                f"the learning rate takes up the schedule of {now.steps} steps where the run is,"
                " so it ends otherwise than a run of that length from the start"
            )
    if now.learning_rate != before["learning_rate"]:
        parts.append(
            f"the learning rate is {now.learning_rate:g} from here on, not"
            f" {before['learning_rate']:g}"
        )
    return "; ".join(parts)


def advice(run: "Run") -> str:
    """How far a run got, and how it goes on."""
    saved = run.checkpoints.latest()
    state = "nothing to save yet" if saved is None else f"saved after step {saved}"
    path = shlex.quote(str(Path(run.folder.path)))
    return f"{state}; resume with: jaxcnn train --resume --out {path}"
