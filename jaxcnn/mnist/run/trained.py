"""A run that has been trained, read back from its folder."""

import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..._errors import CommandError
from .. import model
from ..data import sources
from ..machine import distributed
from ..step import final_params
from . import programs
from .checkpoint import Checkpoints
from .configuration import Configuration, difference
from .folder import RunFolder


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        folder: the run's folder.
        configuration: of the run.
        step: updates made when the newest checkpoint was written.
        params: the parameters to use; their average, where the recipe keeps one.
    """

    folder: RunFolder
    configuration: Configuration
    step: int
    params: Any

    def logits(self, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
        """Logits `[N, 10]` of images uint8 `[N, 28, 28]`."""
        layers = programs.LAYERS[self.configuration.layers]
        dtype = jax.tree.leaves(self.params)[0].dtype
        forward = jax.jit(lambda p, x: model.apply(p, model.pixels(x, dtype), layers=layers))
        n = len(images)
        size = min(n, batch_size)
        padded = np.concatenate([images, np.zeros((-n % size, 28, 28), np.uint8)])
        batches = [forward(self.params, padded[i : i + size]) for i in range(0, n, size)]
        return np.concatenate([np.asarray(batch) for batch in batches])[:n]

    def load_data(self, data_dir: str | os.PathLike[str] | None) -> sources.Dataset:
        """The data set that the run was trained on."""
        return sources.load(self.configuration.dataset, data_dir)


def load(run: str | os.PathLike[str]) -> Trained:
    """Read a run's newest checkpoint, whatever number of devices wrote it.

    Raises:
        CommandError: the folder holds no run, no checkpoint, or a damaged one.
    """
    folder = RunFolder(run)
    configuration, _ = folder.read_config()
    if configuration.float64:
        jax.config.update("jax_enable_x64", True)
    if not folder.checkpoints_path.is_dir():
        raise _none(folder)
    checkpoints = Checkpoints(folder.checkpoints_path, read_only=True)
    step = checkpoints.latest()
    if step is None:
        raise _none(folder)
    like = distributed.like(
        jax.eval_shape(lambda: programs.new_state(configuration)), distributed.data_mesh(1)
    )
    state, written_by, _ = checkpoints.restore(like, step)
    if written_by != configuration:
        raise CommandError(
            f"the checkpoint of step {step} in {checkpoints.path} belongs to another run:"
            f" {difference(written_by, configuration)}."
        )
    return Trained(folder, configuration, step, final_params(state))


def _none(folder: RunFolder) -> CommandError:
    return CommandError(
        f"{folder.path} holds no checkpoint yet: let the run go on with"
        f" jaxcnn train --resume --out {folder.path}"
    )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    z = logits.astype(np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
