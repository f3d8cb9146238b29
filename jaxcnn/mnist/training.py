"""A run from the choices made for it: checked, completed from the recipe, begun or gone on with."""

import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._errors import CommandError
from . import announcements, description
from .data import sources
from .machine import compilation_cache, distributed
from .run.configuration import Configuration
from .run.folder import RunFolder, new_name, warn_of_changes

if TYPE_CHECKING:
    from .data.sources import Dataset
    from .rate_search import Search
    from .recipe import Recipe
    from .run.fit import Outcome, Run
    from .run.trained import Trained

# What a search for a learning rate has no use for, by what it is where nothing is given.
_OF_A_RUN: dict[str, Any] = {
    **dict.fromkeys(("epochs", "steps", "learning_rate", "out", "checkpoint_every", "devices")),
    **dict.fromkeys(("coordinator", "processes", "process_id")),
    **dict.fromkeys(("resume", "tensorboard"), False),
    "keep": 3,
}
_KEPT = ("dataset", "recipe", "model", "layers", "batch_size", "seed", "dtype")


@dataclass(frozen=True)
class Training:
    """The choices of a run, as `jaxcnn.mnist.train` explains them; None leaves one open."""

    dataset: str | None = None
    data_dir: str | os.PathLike[str] | None = None
    recipe: str | None = None
    model: str | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    layers: str | None = None
    dtype: str | None = None
    out: str | os.PathLike[str] | None = None
    resume: bool = False
    checkpoint_every: int | None = None
    keep: int = 3
    devices: int | None = None
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    compilation_cache: bool | None = None
    tensorboard: bool = False
    quiet: bool = False

    def result(self) -> "Trained":
        """Train, and read the run back."""
        from .run import trained

        run, outcome = self.run()
        if outcome.test_accuracy is None:
            raise KeyboardInterrupt(f"{announcements.advice(run)}.")
        return trained.load(run.folder.path)

    def run(self, started: float | None = None) -> tuple["Run", "Outcome"]:
        """Train to the end, or to a signal.

        Args:
            started: when, by time.time(), the run's clock began; now by default.
        """
        self._check()
        distributed.start(self.coordinator, self.processes, self.process_id)
        cache = compilation_cache.CompilationCache(on=self.compilation_cache)
        mesh = distributed.data_mesh(self.devices)
        folder, stored, record = self._stored()
        # The files are read while the interpreter imports the rest.
        with ThreadPoolExecutor(max_workers=1) as pool:
            name = self.dataset if stored is None else stored.dataset
            place = record.get("data_dir") if self.data_dir is None else None
            loading = pool.submit(sources.load_again, name, place, self.data_dir)
            from .run.fit import Run
            from .run.programs import convolutions_by

            dataset = loading.result()
        configuration = self._configuration(dataset, stored)
        distributed.check_batch(configuration.batch_size, mesh)
        engine = convolutions_by(configuration, mesh.size)
        folder = self._take(folder, configuration, dataset, record, engine)
        try:
            run = Run(
                configuration,
                dataset,
                folder,
                mesh,
                save_every=self.checkpoint_every,
                keep=self.keep,
                clock_start=started,
                tensorboard=self.tensorboard,
                quiet=self.quiet,
            )
            if distributed.is_first() and not self.quiet:
                print(announcements.headline(configuration, dataset, mesh.size, folder), flush=True)
            with distributed.stopping_together(
                lambda: f"{announcements.advice(run)}, with all processes or fewer"
            ):
                return run, run.fit(lambda: cache.state)
        finally:
            folder.close()

    def search(self) -> "Search":
        """Look for a learning rate; no run is made."""
        for name, default in _OF_A_RUN.items():
            if (given := getattr(self, name)) != default:
                raise CommandError(
                    f"{_flag(name)} {given} does not go with --find-learning-rate, which makes no"
                    " run: leave it out."
                )
        self._check()
        compilation_cache.CompilationCache(on=self.compilation_cache)
        from . import rate_search

        dataset = sources.load_again(self.dataset, None, self.data_dir)
        return rate_search.search(self._configuration(dataset, None), dataset)

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
        if self.model is not None:
            try:
                description.read(self.model)
            except ValueError as error:
                raise CommandError(f"--model: {error}.") from None
        if self.tensorboard:
            importlib.import_module("tensorboardX")  # which may be missing: now, not in a minute
        if self.resume and self.out is None:
            raise CommandError("--resume needs --out, the folder of the run to continue.")

    def _stored(self) -> tuple[RunFolder | None, Configuration | None, dict[str, Any]]:
        """The run that is to go on: its folder, and what its config.json says."""
        if not self.resume or self.out is None:
            return None, None, {}
        folder = RunFolder(self.out)

        def read() -> Any:
            return folder.read_config()[1] if folder.has_config() else None

        record = _on_first(read)
        if record is None:
            return folder, None, {}
        stored = Configuration.from_json(record["configuration"], folder.config_path)
        for name in _KEPT:
            given, kept = getattr(self, name), getattr(stored, name)
            if name == "model" and given is not None:
                given, kept = description.canonical(given), description.canonical(kept)
            if given is not None and given != kept:
                raise self._mismatch(name, given, f"whose {name.replace('_', ' ')} is {kept}")
        return folder, stored, record

    def _mismatch(self, name: str, given: object, kept: str) -> CommandError:
        return CommandError(
            f"{_flag(name)} {given} does not match the run in {self.out}, {kept}:"
            " leave the flag out, or start a new run in another folder."
        )

    def _configuration(self, dataset: "Dataset", stored: Configuration | None) -> Configuration:
        from .recipe import RECIPES, default

        examples = len(dataset.train_labels)
        wide = jax.dtypes.canonicalize_dtype(float) == np.float64
        if wide and self.dtype:
            raise CommandError(
                f"--dtype {self.dtype} does not go with JAX_ENABLE_X64=1, which makes the run"
                " float64: leave one of them out."
            )
        named = self.recipe or (stored.recipe if stored else None)
        recipe = RECIPES[named] if named else default(examples)
        batch_size = self.batch_size or (stored.batch_size if stored else recipe.batch_size)
        if batch_size > examples:
            raise CommandError(
                f"--batch-size {batch_size} exceeds the {examples} examples of {dataset.name}."
            )
        if stored is None:
            return Configuration(
                dataset=dataset.name,
                model=description.canonical(self.model or "post"),
                recipe=recipe.name,
                layers=self.layers or "jaxcnn",
                steps=self._steps(recipe, examples // batch_size),
                batch_size=batch_size,
                learning_rate=self.learning_rate or recipe.learning_rate,
                seed=self.seed or 0,
                dtype="float64" if wide else self.dtype or "float32",
            )
        if wide != (was_wide := stored.dtype == "float64"):
            raise CommandError(
                f"the run in {self.out} was made with JAX_ENABLE_X64={int(was_wide)}: set the same."
            )
        steps = stored.steps
        if self.steps or self.epochs:
            steps = self._steps(recipe, examples // batch_size)
        if steps < stored.steps and self.steps:
            raise self._mismatch("steps", self.steps, f"which is to make {stored.steps}")
        if steps < stored.steps:
            epochs = stored.steps / (examples // batch_size)
            raise self._mismatch("epochs", self.epochs, f"which is to make {epochs:.4g}")
        return replace(
            stored, steps=steps, learning_rate=self.learning_rate or stored.learning_rate
        )

    def _steps(self, recipe: "Recipe", steps_per_epoch: int) -> int:
        if self.epochs is None and self.steps is None:
            return recipe.steps or recipe.epochs * steps_per_epoch
        limits = [self.steps, self.epochs and self.epochs * steps_per_epoch]
        return min(limit for limit in limits if limit)

    def _take(
        self,
        folder: RunFolder | None,
        configuration: Configuration,
        dataset: "Dataset",
        record: dict[str, Any],
        engine: str,
    ) -> RunFolder:
        """The run's folder, ready to be written to by this run alone."""
        resumed = folder is not None

        def take() -> str:
            nonlocal folder
            if folder is None:
                folder = RunFolder(self.out or new_name(configuration))
            (folder.reopen if resumed else folder.create)()
            if resumed and not record:
                print(f"nothing to resume in {folder.path}: beginning the run", file=sys.stderr)
            if record and record.get("data") != dict(dataset.digests):
                raise CommandError(
                    f"the data is not what the run in {folder.path} was trained on: the"
                    " digests in its config.json are others."
                )
            if record:
                warn_of_changes(record, engine)
            if not record or configuration.to_json() != record["configuration"]:
                before = record.get("configuration", configuration.to_json())
                if words := announcements.change(before, configuration):
                    print(words, file=sys.stderr)
                place = sources.place_of(dataset.name, self.data_dir) or record.get("data_dir")
                folder.write_config(configuration, dataset.digests, place, engine)
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
