"""One run from its first step, or its last checkpoint, to its end."""

import contextlib
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ..._errors import CommandError
from ..data.sources import Dataset
from ..machine import distributed
from ..machine.interruption import Interruption
from ..step import State
from .checkpoint import Checkpoints
from .configuration import Configuration, difference
from .folder import RunFolder
from .programs import Programs, new_schedule
from .progress import Progress
from .watching import Watching

# The test accuracy whose time from process start is kept.
TARGET = 0.99


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: updates made.
        test_accuracy: of the final parameters, or None where the run was interrupted.
        test_loss: likewise.
        stopped_by: the signal that interrupted it; None where that came to another process.
    """

    step: int
    test_accuracy: float | None
    test_loss: float | None
    stopped_by: signal.Signals | None


class Run:
    """A run under way. It has read nothing of its folder before `fit`."""

    def __init__(
        self,
        configuration: Configuration,
        dataset: Dataset,
        folder: RunFolder,
        mesh: Mesh,
        *,
        save_every: int | None = None,
        keep: int = 3,
        clock_start: float | None = None,
        tensorboard: bool = False,
        quiet: bool = False,
    ):
        """Gather what a run needs; `clock_start` is when, by time.time(), its clock began."""
        self.configuration = configuration
        self.dataset = dataset
        self.folder = folder
        self.mesh = mesh
        self.schedule = new_schedule(configuration, dataset, save_every)
        self.checkpoints = Checkpoints(folder.checkpoints_path, keep=keep)
        self.first = distributed.is_first()
        self._quiet = quiet or not self.first
        self._watching = Watching(folder, configuration, tensorboard=tensorboard and self.first)
        # The checkpoint whose network was right most often on the validation set, and how often.
        self._best: tuple[int, float] | None = None
        self._clock_start = time.time() if clock_start is None else clock_start
        # Since the last evaluation: losses and accuracies of the steps, in their order.
        self._seen: dict[str, list[float]] = {"loss": [], "accuracy": []}
        self._cache_state = "off"
        # When the target was reached, as the "time" of that line of metrics.
        self.to_target: dict[str, Any] | None = None

    def seconds(self) -> float:
        """The time spent on this run, earlier sessions of it included."""
        return time.time() - self._clock_start

    def fit(self, cache_state: Callable[[], str] = lambda: "off") -> Outcome:
        """Train to the end, or to a signal.

        Args:
            cache_state: tells, once all is compiled, whether the compilation cache was warm.

        Raises:
            CommandError: the loss is no longer finite, or nothing can be written.
        """
        self.programs = Programs(self.configuration, self.dataset, self.schedule, self.mesh)
        self._cache_state = cache_state()
        state, step = self._start()
        last = None
        progress = Progress(self.schedule.steps, step, self.schedule.batch_size, quiet=self._quiet)
        interruption = Interruption()
        self._watching.begin(step)

        def stopped() -> bool:
            return distributed.any_process(interruption.signal is not None)

        # Before this there is nothing to save, and a signal ends the process as it always does.
        with interruption, contextlib.closing(progress), contextlib.closing(self._watching):
            while step < self.schedule.steps and not stopped():
                end = self.schedule.next_pause(step)
                state, metrics = self.programs.chunk(
                    state, self.schedule.batches(step, end), end - step
                )
                self._check_loss(step, metrics["loss"])
                for name, values in metrics.items():
                    self._seen[name].extend(values.tolist())
                means = {name: float(values.mean()) for name, values in metrics.items()}
                progress.advance(end - step, **means)
                step = end
                if self.schedule.evaluates(step):
                    last = self._evaluate(state, step, progress)
                if self.schedule.saves(step):
                    self._save(state, step, last)
        if stopped():
            if step and self.checkpoints.latest() != step:
                self._save(state, step)
            return Outcome(step, None, None, interruption.signal)
        return self._finish(state, step, last)

    def _start(self) -> tuple[State, int]:
        if self.checkpoints.latest() is None:
            if self.first:
                self.folder.cut_metrics(-1)
            return self.programs.init(), 0
        found = self.checkpoints.restore_newest(self.programs.like)
        step, state, configuration, position = found
        if reason := difference(configuration, self.configuration):
            raise CommandError(
                f"the checkpoint of step {step} in {self.checkpoints.path} belongs to another"
                f" run: {reason}. Start a new run in another folder."
            )
        self.checkpoints.set_aside(after=step)
        self._best = tuple(position["best"]) if position.get("best") else None
        if self.first:
            for line in self.folder.cut_metrics(step):
                self._note_target(line)
        self._seen = {name: list(position["seen"][name]) for name in self._seen}
        self._clock_start -= position["seconds"]
        # The time that is added up is a cold one as soon as one of its parts is.
        if position.get("compilation_cache") == "cold":
            self._cache_state = "cold"
        return state, step

    def _check_loss(self, step: int, losses: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            self._diverged(step + int(bad[0]) + 1, f"the loss became {losses[bad[0]]}")

    def _diverged(self, step: int, what: str) -> None:
        kept = self.checkpoints.latest()
        good = "No checkpoint had been written." if kept is None else (
            f"The last good checkpoint, of step {kept}, is in {self.checkpoints.path}."
        )  # fmt: skip
        raise CommandError(
            f"{what} at step {step}, in epoch {self.schedule.epoch(step)}: lower"
            f" --learning-rate (now {self.configuration.learning_rate:g}). {good}"
        )

    def _evaluate(self, state: State, step: int, progress: Progress) -> dict[str, Any]:
        validation = self.programs.evaluate(state, "validation")
        test = self.programs.evaluate(state, "test")
        seen, self._seen = self._seen, {name: [] for name in self._seen}
        line: dict[str, Any] = {
            "step": step,
            "epoch": self.schedule.epoch(step),
            "train_loss": math.fsum(seen["loss"]) / len(seen["loss"]),
            "train_accuracy": math.fsum(seen["accuracy"]) / len(seen["accuracy"]),
            "validation_loss": validation["loss"],
            "validation_accuracy": validation["accuracy"],
            "test_loss": test["loss"],
            "test_accuracy": test["accuracy"],
            "time": self._time(),
        }
        self._note_target(line)
        if self.first:
            self.folder.append_metrics(line)
            self.folder.write_csv()
            self._watching.evaluated(line)
            epochs = -(-self.schedule.steps // self.schedule.steps_per_epoch)
            progress.say(
                f"epoch {line['epoch']}/{epochs}  step {step}  train loss"
                f" {line['train_loss']:.4f}  validation accuracy"
                f" {line['validation_accuracy']:.4f}  {line['time']['seconds']:.1f} s"
            )
        return line

    def _note_target(self, line: dict[str, Any]) -> None:
        if self.to_target is None and line["test_accuracy"] >= TARGET:
            # Runs of 0.1.0 did not say: a time that they took was cold, for all that is known.
            self.to_target = {"compilation_cache": "cold", **line["time"]}

    def _time(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds(), 3), "compilation_cache": self._cache_state}

    def _save(self, state: State, step: int, last: dict[str, Any] | None = None) -> None:
        for leaf in jax.tree.leaves(state.params):
            if not np.isfinite(np.asarray(leaf)).all():
                self._diverged(step, "a parameter became infinite or NaN")
        if last is not None and last["step"] == step:
            accuracy = last["validation_accuracy"]
            if self._best is None or accuracy > self._best[1]:
                self._best = step, accuracy
        position = {
            "step": step,
            "epoch": step // self.schedule.steps_per_epoch,
            "position": self.schedule.position(step),
            "seen": self._seen,
            "seconds": self.seconds(),
            "compilation_cache": self._cache_state,
            "best": self._best,
        }
        best = None if self._best is None else self._best[0]
        self.checkpoints.save(state, self.configuration, position, best)

    def _finish(self, state: State, step: int, last: dict[str, Any] | None) -> Outcome:
        test = (
            {"loss": last["test_loss"], "accuracy": last["test_accuracy"]}
            if last is not None
            else self.programs.evaluate(state, "test")
        )
        if self.first:
            self.folder.append_metrics(
                {
                    "step": step,
                    "final": True,
                    "test_loss": test["loss"],
                    "test_accuracy": test["accuracy"],
                    "time": {
                        **self._time(),
                        "to_99_percent": self.to_target and self.to_target["seconds"],
                    },
                }
            )
            self._watching.end()
        return Outcome(step, test["accuracy"], test["loss"], None)
