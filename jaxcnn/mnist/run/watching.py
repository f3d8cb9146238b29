"""A run watched from outside while it goes on: its learning curves as a picture, TensorBoard."""

import io
import time
from collections.abc import Mapping
from typing import Any

from ..recipe import PUBLISHED_CURVE
from .configuration import Configuration
from .folder import RunFolder

# Matplotlib's import and a drawing take a second or so of the run's time.
SECONDS_BETWEEN_DRAWINGS = 30.0
PICTURE = "learning_curves.png"


class Watching:
    """What the first process of a run writes for whoever watches it.

    learning_curves.png is drawn of runs of more than half a minute, unasked; tensorboard/ gets
    events where it is asked for.
    """

    def __init__(self, folder: RunFolder, configuration: Configuration, *, tensorboard: bool):
        """Write nothing yet."""
        self._folder = folder
        self._published = PUBLISHED_CURVE if configuration.recipe == "post" else None
        self._drawn = time.monotonic()
        self._tensorboard = tensorboard
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Make ready for what follows `step` updates."""
        if self._tensorboard:
            from tensorboardX import SummaryWriter

            # Steps that are made once more: their old events are hidden.
            again = step + 1 if step else None
            self._writer = SummaryWriter(str(self._folder.path / "tensorboard"), purge_step=again)

    def evaluated(self, line: Mapping[str, Any]) -> None:
        """Show a line of metrics, which is in the folder already."""
        if time.monotonic() - self._drawn >= SECONDS_BETWEEN_DRAWINGS:
            self._draw()
        if self._writer is not None:
            for name, value in line.items():
                part, _, what = name.rpartition("_")
                if what in ("loss", "accuracy"):
                    self._writer.add_scalar(f"{what}/{part}", value, line["step"])
            self._writer.flush()

    def end(self) -> None:
        """Show the whole run, where a picture is there that shows less."""
        if (self._folder.path / PICTURE).exists():
            self._draw()

    def close(self) -> None:
        """Finish what is being written."""
        if self._writer is not None:
            self._writer.close()

    def _draw(self) -> None:
        from .. import plot

        figure = plot.learning_curves(self._folder.read_metrics(), published=self._published)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=120)
        self._folder.write_bytes(PICTURE, png.getvalue())
        self._drawn = time.monotonic()
