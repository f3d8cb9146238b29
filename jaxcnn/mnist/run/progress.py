"""What a person sees of a run: a bar on a terminal, plain lines anywhere else."""

import sys
from typing import Any

from tqdm import tqdm


class Progress:
    """A bar over the steps, with loss, accuracy, examples a second and the time left."""

    def __init__(self, total: int, done: int, batch_size: int, *, quiet: bool):
        """Start at `done` of `total` steps; `quiet` processes show nothing at all."""
        self.quiet = quiet
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            self._bar = tqdm(
                total=total * batch_size,
                initial=done * batch_size,
                unit="ex",
                unit_scale=True,
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
            )
        self._batch_size = batch_size

    def advance(self, steps: int, *, loss: float, accuracy: float) -> None:
        """Move the bar by the steps of a chunk."""
        if self._bar is not None:
            shown = {"loss": f"{loss:.4f}", "accuracy": f"{accuracy:.4f}"}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(steps * self._batch_size)

    def say(self, line: str) -> None:
        """A line on the standard output, above the bar."""
        if self.quiet:
            return
        if self._bar is not None:
            tqdm.write(line, file=sys.stdout)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
