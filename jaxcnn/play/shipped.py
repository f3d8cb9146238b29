"""The network that comes with the package, for whoever has trained none yet."""

from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ..mnist import model

_FILE = "weights.npz"


def load() -> model.Params:
    """The parameters that `training.py` made, as float32.

    Examples:
        >>> load()["conv1"]["w"].shape
        (5, 5, 1, 4)
    """
    with (resources.files("jaxcnn.play") / _FILE).open("rb") as file, np.load(file) as arrays:
        params: model.Params = {}
        for name in model.shapes():
            params[name] = {
                part: jnp.asarray(arrays[f"{name}.{part}"], jnp.float32) for part in ("w", "b")
            }
    return params


def save(path: Path, params: model.Params) -> model.Params:
    """Write the parameters as float16, half the bytes; return them as they will be read."""
    halves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
    arrays = {f"{name}.{part}": v for name, layer in halves.items() for part, v in layer.items()}
    np.savez_compressed(path, **arrays)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), halves)
