"""One run from its first step, or its last checkpoint, to its end."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxcnn
from jaxcnn import reference
from jaxcnn._errors import CommandError

from . import distributed, model, train
from .checkpoint import Checkpoints
from .configuration import Configuration
from .data import Dataset
from .interruption import Interruption
from .progress import Progress
from .recipe import RECIPES
from .run_folder import RunFolder
from .schedule import Schedule

LAYERS = {"jaxcnn": jaxcnn, "reference": reference}
# Steps between two looks at the loss, the signals and the bar: under a second or two on a CPU.
CHUNK = {"post": 50, "wide": 10}
EVALUATION_BATCH = 500
TARGET = 0.99


def new_state(configuration: Configuration, seed: jax.Array | int | None = None) -> train.State:
    """The state before the first step of a run: a pure function of its configuration.

    Jitted, it is to be given the seed as an argument: XLA folds the random numbers of a constant
    one while it compiles, which takes seconds.
    """
    recipe = RECIPES[configuration.recipe]
    key = jax.random.key(configuration.seed if seed is None else seed)
    init_key, step_key = jax.random.split(key)
    dtype = jnp.float64 if configuration.float64 else jnp.float32
    params = model.init(init_key, configuration.model, scheme=recipe.scheme, dtype=dtype)
    average = recipe.average_decay is not None
    return train.init_state(params, _optimizer(configuration), step_key, average=average)


def new_step(configuration: Configuration) -> train.Step:
    """The pure training step of a run."""
    recipe = RECIPES[configuration.recipe]
    return train.make_step(
        _optimizer(configuration),
        layers=LAYERS[configuration.layers],
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
        average_decay=recipe.average_decay,
    )


def _optimizer(configuration: Configuration):
    c = configuration
    return RECIPES[c.recipe].optimizer(c.learning_rate, c.steps, c.batch_size)


def new_schedule(
    configuration: Configuration, dataset: Dataset, save_every: int | None = None
) -> Schedule:
    """The places of a run."""
    recipe = RECIPES[configuration.recipe]
    return Schedule(
        examples=len(dataset.train_labels),
        batch_size=configuration.batch_size,
        steps=configuration.steps,
        seed=configuration.seed,
        chunk=CHUNK[configuration.model],
        shuffle_once=recipe.shuffle_once,
        evaluate_every=recipe.evaluate_every,
        save_every=save_every,
    )


class Programs:
    """The compiled programs of a run over the data on its devices: a chunk of steps, and logits.

    The three splits lie one after the other in one array, so both programs read the same.
    """

    def __init__(
        self,
        configuration: Configuration,
        dataset: Dataset,
        schedule: Schedule,
        mesh: Mesh,
    ):
        """Put the data on the devices, and compile."""
        self.mesh = mesh
        splits = {
            "train": (dataset.train_images, dataset.train_labels),
            "validation": (dataset.validation_images, dataset.validation_labels),
            "test": (dataset.test_images, dataset.test_labels),
        }
        self.labels_of = {name: labels for name, (_, labels) in splits.items()}
        starts = np.cumsum([0, *(len(labels) for _, labels in splits.values())])
        self._start_of = dict(zip(splits, starts, strict=False))
        images = np.concatenate([images for images, _ in splits.values()])
        labels = np.concatenate([labels for _, labels in splits.values()])
        self.images = distributed.replicate(images, mesh)
        self.labels = distributed.replicate(labels, mesh)

        whole = NamedSharding(mesh, PartitionSpec())
        self.like = distributed.like(jax.eval_shape(lambda: new_state(configuration)), mesh)
        batch = -(-EVALUATION_BATCH // mesh.size) * mesh.size
        most = max(len(self.labels_of["validation"]), len(self.labels_of["test"]))
        self._evaluation_shape = (-(-most // batch), batch)
        order, evaluation = (
            jax.ShapeDtypeStruct(
                shape, np.int32, sharding=NamedSharding(mesh, PartitionSpec(None, "data"))
            )
            for shape in ((schedule.chunk, schedule.batch_size), self._evaluation_shape)
        )
        count = jax.ShapeDtypeStruct((), np.int32, sharding=whole)
        chunk = jax.jit(
            train.make_chunk(new_step(configuration)), donate_argnums=0, out_shardings=whole
        ).lower(self.like, self.images, self.labels, order, count)
        params = train.final_params(self.like)
        logits = jax.jit(
            train.make_logits(layers=LAYERS[configuration.layers]), out_shardings=whole
        ).lower(params, self.images, evaluation, count)
        self._seed = np.uint32(configuration.seed)
        init = jax.jit(lambda seed: new_state(configuration, seed), out_shardings=whole).lower(
            jax.ShapeDtypeStruct((), np.uint32, sharding=whole)
        )
        # XLA lets go of the interpreter while it compiles.
        with ThreadPoolExecutor() as pool:
            compiled = [pool.submit(program.compile) for program in (chunk, logits, init)]
            self._chunk, self._logits, self._init = (future.result() for future in compiled)

    def init(self) -> train.State:
        """The state before the first step, on the devices."""
        return self._init(distributed.replicate(self._seed, self.mesh))

    def chunk(
        self, state: train.State, batches: np.ndarray, count: int
    ) -> tuple[train.State, dict[str, np.ndarray]]:
        """Make `count` steps. The state that is passed in is given away."""
        order = distributed.shard_batches(batches, self.mesh)
        count_ = distributed.replicate(np.int32(count), self.mesh)
        state, metrics = self._chunk(state, self.images, self.labels, order, count_)
        return state, {name: np.asarray(values)[:count] for name, values in metrics.items()}

    def logits(self, params: Any, split: str) -> np.ndarray:
        """The logits `[N, 10]` of a split's examples, in their order."""
        n = len(self.labels_of[split])
        batches, batch = self._evaluation_shape
        order = np.zeros(self._evaluation_shape, np.int32)
        rows = -(-n // batch)
        outputs = []
        # Only the training split is longer than the program's shape.
        for first in range(0, rows, batches):
            numbers = np.arange(first * batch, min(n, (first + batches) * batch))
            order.ravel()[: len(numbers)] = numbers + self._start_of[split]
            count = distributed.replicate(np.int32(-(-len(numbers) // batch)), self.mesh)
            sharded = distributed.shard_batches(order, self.mesh)
            out = np.asarray(self._logits(params, self.images, sharded, count))
            outputs.append(out.reshape(-1, out.shape[-1])[: len(numbers)])
        return np.concatenate(outputs)

    def evaluate(self, state: train.State, split: str) -> dict[str, float]:
        """Mean cross entropy and accuracy over a split."""
        z = self.logits(train.final_params(state), split).astype(np.float64)
        labels = self.labels_of[split].astype(np.int64)
        z -= z.max(axis=-1, keepdims=True)
        losses = np.log(np.exp(z).sum(axis=-1)) - z[np.arange(len(labels)), labels]
        return {"loss": float(losses.mean()), "accuracy": float((z.argmax(-1) == labels).mean())}


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: updates made.
        test_accuracy: of the final parameters, or None where the run was interrupted.
        stopped_by: the name of the signal that interrupted it, or None.
    """

    step: int
    test_accuracy: float | None
    stopped_by: str | None


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
    ):
        """Gather what a run needs; `clock_start` is when, by time.time(), its clock began."""
        self.configuration = configuration
        self.dataset = dataset
        self.folder = folder
        self.mesh = mesh
        self.schedule = new_schedule(configuration, dataset, save_every)
        self.checkpoints = Checkpoints(folder.checkpoints_path, keep=keep)
        self.first = distributed.is_first()
        self._clock_start = time.time() if clock_start is None else clock_start
        # Since the last evaluation: losses and accuracies of the steps, in their order.
        self._seen: dict[str, list[float]] = {"loss": [], "accuracy": []}
        self.to_target: float | None = None

    def seconds(self) -> float:
        """The time spent on this run, earlier sessions of it included."""
        return time.time() - self._clock_start

    def fit(self, cache_state: Any = lambda: "off") -> Outcome:
        """Train to the end, or to a signal.

        Args:
            cache_state: tells, once all is compiled, whether the compilation cache was warm.

        Raises:
            CommandError: the loss is no longer finite, or nothing can be written.
        """
        with Interruption() as interruption:
            self.programs = Programs(self.configuration, self.dataset, self.schedule, self.mesh)
            self.cache_state = cache_state()
            state, step = self._start()
            last = None
            progress = Progress(
                self.schedule.steps, step, self.schedule.batch_size, quiet=not self.first
            )
            try:
                while step < self.schedule.steps:
                    if distributed.any_process(interruption.signal is not None):
                        if step and self.checkpoints.latest() != step:
                            self._save(state, step)
                        return Outcome(step, None, interruption.name)
                    end = self.schedule.next_pause(step)
                    state, metrics = self.programs.chunk(
                        state, self.schedule.batches(step, end), end - step
                    )
                    self._check_loss(step, metrics["loss"])
                    for name, values in metrics.items():
                        self._seen[name].extend(values.tolist())
                    progress.advance(end - step, *(float(v.mean()) for v in metrics.values()))
                    step = end
                    if self.schedule.evaluates(step):
                        last = self._evaluate(state, step, progress)
                    if self.schedule.saves(step):
                        self._save(state, step)
            finally:
                progress.close()
            return self._finish(state, step, last)

    def _start(self) -> tuple[train.State, int]:
        step = self.checkpoints.latest()
        if step is None:
            if self.first:
                self.folder.cut_metrics(-1)
            return self.programs.init(), 0
        state, configuration, position = self.checkpoints.restore(self.programs.like, step)
        if configuration != self.configuration:
            raise CommandError(
                f"the checkpoint of step {step} in {self.checkpoints.path} belongs to another"
                f" run: {difference(configuration, self.configuration)}."
                " Start a new run in another folder."
            )
        if self.first:
            for line in self.folder.cut_metrics(step):
                self._note_target(line)
        self._seen = {name: list(position["seen"][name]) for name in self._seen}
        self._clock_start -= position["seconds"]
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

    def _evaluate(self, state: train.State, step: int, progress: Progress) -> dict[str, Any]:
        validation = self.programs.evaluate(state, "validation")
        test = self.programs.evaluate(state, "test")
        seen, self._seen = self._seen, {name: [] for name in self._seen}
        line = {
            "step": step,
            "epoch": self.schedule.epoch(step),
            "train_loss": math.fsum(seen["loss"]) / len(seen["loss"]),
            "train_accuracy": math.fsum(seen["accuracy"]) / len(seen["accuracy"]),
            "validation_loss": validation["loss"],
            "validation_accuracy": validation["accuracy"],
            "test_loss": test["loss"],
            "test_accuracy": test["accuracy"],
            "time": {"seconds": round(self.seconds(), 3)},
        }
        self._note_target(line)
        if self.first:
            self.folder.append_metrics(line)
            epochs = -(-self.schedule.steps // self.schedule.steps_per_epoch)
            progress.say(
                f"epoch {line['epoch']}/{epochs}  step {step}  train loss"
                f" {line['train_loss']:.4f}  validation accuracy"
                f" {line['validation_accuracy']:.4f}  {line['time']['seconds']:.1f} s"
            )
        return line

    def _note_target(self, line: dict[str, Any]) -> None:
        if self.to_target is None and line["test_accuracy"] >= TARGET:
            self.to_target = line["time"]["seconds"]

    def _save(self, state: train.State, step: int) -> None:
        for leaf in jax.tree.leaves(state.params):
            if not np.isfinite(np.asarray(leaf)).all():
                self._diverged(step, "a parameter became infinite or NaN")
        position = {
            "step": step,
            "epoch": step // self.schedule.steps_per_epoch,
            "position": self.schedule.position(step),
            "seen": self._seen,
            "seconds": self.seconds(),
        }
        self.checkpoints.save(state, self.configuration, position)

    def _finish(self, state: train.State, step: int, last: dict[str, Any] | None) -> Outcome:
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
                        "seconds": round(self.seconds(), 3),
                        "to_99_percent": self.to_target,
                        "compilation_cache": self.cache_state,
                    },
                }
            )
        return Outcome(step, test["accuracy"], None)


def difference(one: Configuration, other: Configuration) -> str:
    """In words, the first field in which two configurations differ."""
    for name, value in one.to_json().items():
        if value != (new := other.to_json()[name]):
            return f"its {name} is {value}, not {new}"
    return "no field differs"
