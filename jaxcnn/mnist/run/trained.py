"""A run that has been trained, read back from its folder: what it answers, and what is in it."""

import functools
import os
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import CommandError
from .. import model
from ..data import sources
from ..machine import distributed
from ..recipe import RECIPES
from ..step import final_params
from . import programs
from .checkpoint import Checkpoints
from .configuration import Configuration, difference
from .folder import RunFolder

Split = Literal["test", "validation", "train"]


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Images are uint8 `[N.., 28, 28]`, 0 paper and 255 ink, or floats from 0 to 1 instead.

    Attributes:
        folder: the run's folder.
        configuration: of the run.
        step: updates made when the checkpoint was written.
        params: the parameters to use; their average, where the recipe keeps one.
    """

    folder: RunFolder
    configuration: Configuration
    step: int
    params: Any = field(repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each class is called."""
        return sources.class_names(self.configuration.dataset)

    @property
    def places(self) -> tuple[str, ...]:
        """What the activations are called, in the order of the forward pass."""
        return model.names(self.configuration.model)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The run's evaluations, first to last: step, epoch, losses, accuracies, time."""
        return [line for line in self.folder.read_metrics() if not line.get("final")]

    def predict(self, images: Any) -> np.ndarray:
        """The class of each image, integers `[N..]`."""
        return self.logits(images).argmax(-1)

    def probabilities(self, images: Any) -> np.ndarray:
        """The probability of each class, float64 `[N.., 10]`."""
        z = self.logits(images).astype(np.float64)
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def logits(self, images: Any, batch_size: int = 500) -> np.ndarray:
        """The logits `[N.., 10]`, so many images at a time."""
        images = _bytes(images)
        flat = images.reshape(-1, *images.shape[-2:])
        n = len(flat)
        # A power of two, so that the calls of a session share few programs.
        size = min(1 << max(n - 1, 0).bit_length(), batch_size)
        padded = np.concatenate([flat, np.zeros((-n % size, 28, 28), np.uint8)])
        batches = [
            _forward(self.params, padded[i : i + size], *self._program) for i in range(0, n, size)
        ]
        empty = np.zeros((0, model.CLASSES), self._dtype)
        out = np.concatenate([empty, *(np.asarray(batch) for batch in batches)])[:n]
        return out.reshape(*images.shape[:-2], model.CLASSES)

    def evaluate(
        self, split: Split = "test", *, data_dir: str | os.PathLike[str] | None = None
    ) -> dict[str, Any]:
        """Loss and accuracy over a part of the run's data set.

        Args:
            split: which part.
            data_dir: folder with the data; by default where it was in training.

        Returns:
            `{"loss", "accuracy", "by_class": {name: accuracy}}`.
        """
        dataset = self.load_data(data_dir)
        labels = getattr(dataset, f"{split}_labels").astype(int)
        p = self.probabilities(getattr(dataset, f"{split}_images"))
        right = p.argmax(-1) == labels
        of_truth = np.maximum(p[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
        return {
            "loss": float(-np.log(of_truth).mean()),
            "accuracy": float(right.mean()),
            "by_class": {
                name: float(right[labels == i].mean()) for i, name in enumerate(self.class_names)
            },
        }

    def activations(self, image: Any) -> dict[str, np.ndarray]:
        """Every activation for one image `[28, 28]`, by name, in the order of the forward pass."""
        x = self._input(image)
        places = _activations(self.params, x, *self._program)
        return {name: np.asarray(places[name][0]) for name in self.places}

    def gradients(self, image: Any, label: int) -> dict[str, np.ndarray]:
        """The gradient of one image's loss at every activation, keyed as `activations`."""
        if not 0 <= label < model.CLASSES:
            raise ValueError(f"label must be from 0 to {model.CLASSES - 1}; got {label}")
        ties = RECIPES[self.configuration.recipe].ties
        x, labels = self._input(image), jnp.array([label])
        places = _gradients(self.params, x, labels, *self._program, ties)
        return {name: np.asarray(places[name][0]) for name in self.places}

    def load_data(self, data_dir: str | os.PathLike[str] | None = None) -> sources.Dataset:
        """The data set that the run was trained on, from where it was then or from `data_dir`.

        Raises:
            CommandError: it is not to be had, or is another than the run's.
        """
        _, record = self.folder.read_config()
        name = self.configuration.dataset
        dataset = sources.load_again(name, record.get("data_dir"), data_dir)
        if record.get("data") != dict(dataset.digests):
            raise CommandError(
                f"the {name} found is not what the run in {self.folder.path} was trained on: its"
                " digests are others than in config.json. Name the right folder as --data-dir."
            )
        return dataset

    @property
    def _program(self) -> tuple[str, str, Any]:
        """What a compiled program depends on, beside shapes."""
        c = self.configuration
        return c.model, c.layers, programs.layers_dtype(c)

    @property
    def _dtype(self) -> Any:
        return jax.tree.leaves(self.params)[0].dtype

    def _input(self, image: Any) -> jax.Array:
        image = _bytes(image)
        if image.ndim != 2:
            raise ValueError(f"image must be one, [28, 28]; got {list(image.shape)}")
        return model.pixels(image[None], self._dtype)


@functools.partial(jax.jit, static_argnames=("network", "layers", "dtype"))
def _forward(params: Any, images: jax.Array, network: str, layers: str, dtype: Any) -> jax.Array:
    x = model.pixels(images, jax.tree.leaves(params)[0].dtype)
    return model.apply(params, x, model=network, layers=programs.LAYERS[layers], dtype=dtype)


@functools.partial(jax.jit, static_argnames=("network", "layers", "dtype"))
def _activations(
    params: Any, x: jax.Array, network: str, layers: str, dtype: Any
) -> dict[str, jax.Array]:
    return model.activations(params, x, model=network, layers=programs.LAYERS[layers], dtype=dtype)


@functools.partial(jax.jit, static_argnames=("network", "layers", "dtype", "ties"))
def _gradients(
    params: Any, x: jax.Array, labels: jax.Array, network: str, layers: str, dtype: Any, ties: Any
) -> Any:
    return model.activation_gradients(
        params, x, labels, model=network, layers=programs.LAYERS[layers], ties=ties, dtype=dtype
    )


def _bytes(images: Any) -> np.ndarray:
    """Images as bytes `[N.., 28, 28]`."""
    images = np.asarray(images)
    if images.shape[-2:] != (28, 28):
        raise ValueError(f"images must be [N.., 28, 28]; got {list(images.shape)}")
    if np.issubdtype(images.dtype, np.floating):
        if not (images.size == 0 or (images.min() >= 0 and images.max() <= 1)):
            raise ValueError("images of floats must be from 0 to 1; give uint8 for 0 to 255")
        return np.round(images * 255).astype(np.uint8)
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 or floats from 0 to 1; got {images.dtype}")
    return images


def load(run: str | os.PathLike[str], checkpoint: int | Literal["best"] | None = None) -> Trained:
    """Read a run's checkpoint, whatever number of devices wrote it: `jaxcnn.mnist.load`."""
    folder = RunFolder(run)
    configuration, _ = folder.read_config()
    if configuration.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if not folder.checkpoints_path.is_dir():
        raise _none(folder)
    checkpoints = Checkpoints(folder.checkpoints_path, read_only=True)
    steps = checkpoints.steps()
    if not steps:
        raise _none(folder)
    if checkpoint is not None:
        step = _best(folder, steps) if checkpoint == "best" else checkpoint
        if step not in steps:
            kept = ", ".join(map(str, steps))
            raise CommandError(
                f"{checkpoints.path} holds no checkpoint of step {step}: there are {kept}."
            )
        steps = [step]
    like = distributed.like(
        jax.eval_shape(lambda: programs.new_state(configuration)), distributed.data_mesh(1)
    )
    step, state, written_by, _ = checkpoints.restore_newest(like, steps)
    if reason := difference(written_by, configuration):
        raise CommandError(
            f"the checkpoint of step {step} in {checkpoints.path} belongs to another run: {reason}."
        )
    return Trained(folder, configuration, step, final_params(state))


def _best(folder: RunFolder, steps: list[int]) -> int:
    """The step among those with the best validation accuracy; the first of equals."""
    measured = {
        line["step"]: line["validation_accuracy"]
        for line in folder.read_metrics()
        if "validation_accuracy" in line
    }
    return max(steps, key=lambda step: (measured.get(step, 0.0), -step))


def _none(folder: RunFolder) -> CommandError:
    return CommandError(
        f"{folder.path} holds no checkpoint yet: let the run go on with"
        f" jaxcnn train --resume --out {folder.path}"
    )
