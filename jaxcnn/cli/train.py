"""`jaxcnn train`: the command line of a run. Nothing heavy is imported before it runs."""

import json
import math
import shlex
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .._errors import CommandError
from ..mnist.data import sources
from . import clock

if TYPE_CHECKING:
    from ..mnist.data.sources import Dataset
    from ..mnist.recipe import Recipe
    from ..mnist.run.configuration import Configuration
    from ..mnist.run.fit import Outcome, Run
    from ..mnist.run.folder import RunFolder


def _default(text: str) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


@dataclass(frozen=True)
class Train:
    """Train the network on handwritten digits, every gradient from a hand-written rule.

    The last line that is printed is the test accuracy. All that is left of the run (configuration,
    metrics, checkpoints) is in one folder, from which --resume continues it.
    """

    dataset: Annotated[
        Literal["mnist", "fashion_mnist", "digits"] | None,
        _default("mnist if it can be had, else digits"),
    ] = None
    """What to learn."""
    data_dir: Annotated[Path | None, _default("$JAXCNN_DATA_DIR, a cache, a download")] = None
    """Folder with the four IDX files of MNIST or Fashion-MNIST."""
    recipe: Annotated[Literal["post", "fast", "best"] | None, _default("fast")] = None
    """How to train: the post's notebook to the letter, 99 % quickest, or the most accurate."""
    model: Annotated[Literal["post", "wide"] | None, _default("post")] = None
    """The network of the post, or its sister with 32-32-64-64 channels."""
    epochs: Annotated[int | None, _default("the recipe's")] = None
    """Passes over the training set."""
    steps: Annotated[int | None, _default("the recipe's")] = None
    """Updates in all; with --epochs, whichever ends first."""
    batch_size: Annotated[int | None, _default("the recipe's")] = None
    """Examples a step, over all devices together."""
    learning_rate: Annotated[float | None, _default("the recipe's")] = None
    """Constant, or the peak of the recipe's schedule."""
    seed: Annotated[int | None, _default("0")] = None
    """Of the initial weights, the order of the examples and the augmentation."""
    layers: Annotated[Literal["jaxcnn", "reference"] | None, _default("jaxcnn")] = None
    """Gradients by hand, or of the same layers left to autodiff."""
    out: Annotated[Path | None, _default("a fresh folder under runs/")] = None
    """The run's folder."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out from its last checkpoint, or begin it if it has none. Flags that
    are left out are taken from the run."""
    checkpoint_every: Annotated[int | None, _default("every epoch")] = None
    """Steps from one checkpoint to the next."""
    keep: int = 3
    """How many checkpoints to keep."""
    devices: Annotated[int | None, _default("all")] = None
    """How many devices share each batch."""
    coordinator: Annotated[str | None, _default("found on SLURM, Open MPI, Kubernetes, TPU")] = None
    """HOST:PORT of the first of several processes."""
    processes: Annotated[int | None, _default("found likewise")] = None
    """How many processes make the run together."""
    process_id: Annotated[int | None, _default("found likewise")] = None
    """Which of them this is, from 0."""
    compilation_cache: bool = True
    """Keep compiled programs from one run to the next."""

    def run(self) -> int:
        """Train; returns the exit status."""
        started = clock.process_start()
        self._check()
        from ..mnist.machine import compilation_cache, distributed

        distributed.start(self.coordinator, self.processes, self.process_id)
        cache = compilation_cache.CompilationCache(on=self.compilation_cache)
        mesh = distributed.data_mesh(self.devices)
        folder, stored, record = self._stored()
        # The files are read while the interpreter imports the rest.
        with ThreadPoolExecutor(max_workers=1) as pool:
            name = self.dataset if stored is None else stored.dataset
            loading = pool.submit(sources.load, name, self.data_dir)
            from ..mnist.run.fit import Run

            dataset = loading.result()
        configuration = self._configuration(dataset, stored)
        distributed.check_batch(configuration.batch_size, mesh)
        folder = self._take(folder, configuration, dataset, record)
        try:
            run = Run(
                configuration,
                dataset,
                folder,
                mesh,
                save_every=self.checkpoint_every,
                keep=self.keep,
                clock_start=started,
            )
            if distributed.is_first():
                print(_headline(configuration, dataset, mesh.size, folder), flush=True)
            with distributed.stopping_together(lambda: _advice(run)):
                outcome = run.fit(lambda: cache.state)
            if distributed.is_first():
                _conclude(run, outcome)
        finally:
            folder.close()
        if outcome.test_accuracy is None:
            return 128 + (outcome.stopped_by or signal.SIGTERM)
        return 0

    def _check(self) -> None:
        for name in ("epochs", "steps", "batch_size", "keep", "checkpoint_every", "processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CommandError(f"{_flag(name)} {value} must be at least 1.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise CommandError(f"--seed {self.seed} must be from 0 to 4294967295.")
        rate = self.learning_rate
        if rate is not None and not (rate > 0 and math.isfinite(rate)):
            raise CommandError(f"--learning-rate {rate} must be a positive number.")
        if self.resume and self.out is None:
            raise CommandError("--resume needs --out, the folder of the run to continue.")

    def _stored(self) -> tuple["RunFolder | None", "Configuration | None", dict[str, Any]]:
        """The run that --resume continues: its folder, and what its config.json says."""
        from ..mnist.run.configuration import Configuration
        from ..mnist.run.folder import RunFolder

        if not self.resume or self.out is None:
            return None, None, {}
        folder = RunFolder(self.out)

        def read() -> Any:
            if not folder.has_config():
                print(f"nothing to resume in {folder.path}: beginning the run", file=sys.stderr)
                return None
            return folder.read_config()[1]

        record = _on_first(read)
        if record is None:
            return folder, None, {}
        stored = Configuration.from_json(record["configuration"], folder.config_path)
        for name in ("dataset", "recipe", "model", "layers", "batch_size", "learning_rate", "seed"):
            given, kept = getattr(self, name), getattr(stored, name)
            if given is not None and given != kept:
                raise self._mismatch(name, given, kept)
        return folder, stored, record

    def _mismatch(self, name: str, given: object, kept: object) -> CommandError:
        return CommandError(
            f"{_flag(name)} {given} does not match the run in {self.out}, whose"
            f" {name.replace('_', ' ')} {'are' if name in ('steps', 'epochs') else 'is'} {kept}:"
            " leave the flag out, or start a new run in another folder."
        )

    def _configuration(self, dataset: "Dataset", stored: "Configuration | None") -> "Configuration":
        import jax
        import numpy as np

        from ..mnist.recipe import RECIPES
        from ..mnist.run.configuration import Configuration

        float64 = jax.dtypes.canonicalize_dtype(float) == np.float64
        recipe = RECIPES[self.recipe or (stored.recipe if stored else "fast")]
        batch_size = self.batch_size or (stored.batch_size if stored else recipe.batch_size)
        examples = len(dataset.train_labels)
        if batch_size > examples:
            raise CommandError(
                f"--batch-size {batch_size} exceeds the {examples} examples of {dataset.name}."
            )
        steps = self._steps(recipe, examples // batch_size)
        if stored is not None:
            if steps != stored.steps and self.steps:
                raise self._mismatch("steps", self.steps, stored.steps)
            if steps != stored.steps and self.epochs:
                epochs = stored.steps / (examples // batch_size)
                raise self._mismatch("epochs", self.epochs, f"{epochs:.4g}")
            if float64 != stored.float64:
                raise CommandError(
                    f"the run in {self.out} was made with JAX_ENABLE_X64={int(stored.float64)}:"
                    " set the same."
                )
            return stored
        return Configuration(
            dataset=dataset.name,
            model=self.model or "post",
            recipe=recipe.name,
            layers=self.layers or "jaxcnn",
            steps=steps,
            batch_size=batch_size,
            learning_rate=self.learning_rate or recipe.learning_rate,
            seed=self.seed or 0,
            float64=float64,
        )

    def _steps(self, recipe: "Recipe", steps_per_epoch: int) -> int:
        if self.epochs is None and self.steps is None:
            return recipe.steps or recipe.epochs * steps_per_epoch
        limits = [self.steps, self.epochs and self.epochs * steps_per_epoch]
        return min(limit for limit in limits if limit)

    def _take(
        self,
        folder: "RunFolder | None",
        configuration: "Configuration",
        dataset: "Dataset",
        record: dict[str, Any],
    ) -> "RunFolder":
        """The run's folder, ready to be written to by this run alone."""
        from ..mnist.run.folder import RunFolder, new_name, warn_of_changes

        resumed = folder is not None

        def take() -> str:
            nonlocal folder
            if folder is None:
                folder = RunFolder(self.out or new_name(configuration))
            (folder.reopen if resumed else folder.create)()
            if record:
                if record.get("data") != dict(dataset.digests):
                    raise CommandError(
                        f"the data is not what the run in {folder.path} was trained on: the"
                        " digests in its config.json are others."
                    )
                warn_of_changes(record)
            else:
                folder.write_config(configuration, dataset.digests)
            return str(folder.path)

        try:
            path = _on_first(take)
        except CommandError:
            if folder is not None:
                folder.close()
            raise
        return folder or RunFolder(path)


def _on_first(function: Callable[[], Any]) -> Any:
    """What `function` returns (or raises, as an error of the user's) in the first process.

    It is called there alone; the others are told, so that all go on or all end.
    """
    from ..mnist.machine import distributed

    answer: dict[str, Any] = {}
    if distributed.is_first():
        try:
            answer = {"value": function()}
        except CommandError as error:
            answer = {"error": str(error)}
    answer = json.loads(distributed.tell_all(json.dumps(answer)))
    if "error" in answer:
        raise CommandError(answer["error"])
    return answer["value"]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _headline(
    configuration: "Configuration", dataset: "Dataset", devices: int, folder: "RunFolder"
) -> str:
    c = configuration
    return (
        f"{c.dataset}: {len(dataset.train_labels):,} examples to learn from, network {c.model},"
        f" recipe {c.recipe}, {c.steps} steps of {c.batch_size} on {devices}"
        f" device{'s' if devices > 1 else ''}; run folder {folder.path}"
    )


def _advice(run: "Run") -> str:
    saved = run.checkpoints.latest()
    state = "No checkpoint was reached" if saved is None else f"Saved is step {saved}"
    return f"{state}; start all processes again, or fewer, with {_resume(run)}"


def _resume(run: "Run") -> str:
    return f"jaxcnn train --resume --out {shlex.quote(str(run.folder.path))}"


def _conclude(run: "Run", outcome: "Outcome") -> None:
    if outcome.test_accuracy is None:
        saved = f"saved after step {outcome.step}" if outcome.step else "nothing to save yet"
        by = outcome.stopped_by.name if outcome.stopped_by else "a signal to another process"
        line = f"jaxcnn: stopped by {by}, {saved}; resume with: {_resume(run)}"
        print(line, file=sys.stderr, flush=True)
        return
    if run.configuration.recipe == "post" and run.configuration.dataset == "mnist":
        from ..mnist.run.published import write_comparison

        for line in write_comparison(run.folder):
            print(line)
    if run.configuration.dataset == "mnist":
        reached = run.to_target
        if reached is None:
            print("99.0 % test accuracy not reached")
        else:
            state = reached["compilation_cache"]
            print(
                f"99.0 % test accuracy reached after {reached['seconds']:.1f} s, counted from"
                f" process start, with {'no' if state == 'off' else f'a {state}'} compilation cache"
            )
    print(f"test accuracy {outcome.test_accuracy:.4f}", flush=True)
