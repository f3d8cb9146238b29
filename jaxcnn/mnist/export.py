"""A trained network for the world outside: its parameters by name, or the whole of it as a program.

npz          the parameters, "conv1.w" to "dense2.b", as numpy.load reads them
safetensors  the same as safetensors reads them, with the configuration as its metadata
stablehlo    `logits [n, 10]` of float32 images `[n, 28, 28]` from 0 to 1, any n, for CPU, CUDA and
             TPU, as `jax.export.deserialize` reads it; it needs JAX and no jaxcnn

ONNX is left out: jax2onnx, its converter, is well kept, but demands an Orbax older than 0.11.37 (as
of 0.17.1), which does not go with the JAX of today.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import CommandError
from . import model

if TYPE_CHECKING:
    from .run.trained import Trained

PLATFORMS = ("cpu", "cuda", "tpu")


def write(run: "Trained", path: str | os.PathLike[str], format: str) -> Path:
    """Write a run to a file, whole or not at all, and return its path.

    Args:
        run: as `jaxcnn.mnist.load` returns it.
        path: the file; one that is there is replaced.
        format: "npz", "safetensors" or "stablehlo".

    Raises:
        CommandError: the file cannot be written.
        ValueError: the format is none of these.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {format!r}")
    path = Path(path)
    temporary = path.with_name(path.name + ".new")
    try:
        FORMATS[format](run, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror or error}. Name another file with --out."
        ) from None
    return path


def by_name(params: Any) -> dict[str, Any]:
    """The parameters under names as PyTorch's state dictionaries have them: layer, dot, array."""
    return {
        f"{layer}.{name}": np.asarray(value)
        for layer, arrays in params.items()
        for name, value in arrays.items()
    }


def program(run: "Trained") -> jax.export.Exported:
    """The network as one program for all platforms: images to logits, its parameters inside."""
    from .run.programs import LAYERS

    layers = LAYERS[run.configuration.layers]
    params = jax.tree.map(np.asarray, run.params)

    def logits(images: jax.Array) -> jax.Array:
        dtype = jax.tree.leaves(params)[0].dtype
        x = images[..., None].astype(dtype)
        return model.apply(params, x, model=run.configuration.model, layers=layers)

    (n,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, model.IMAGE_SIZE, model.IMAGE_SIZE), jnp.float32)
    return jax.export.export(jax.jit(logits), platforms=PLATFORMS)(images)


def _npz(run: "Trained", path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **by_name(run.params))


def _safetensors(run: "Trained", path: Path) -> None:
    from safetensors.numpy import save

    configuration = {"configuration": json.dumps(run.configuration.to_json())}
    path.write_bytes(save(by_name(run.params), metadata=configuration))


def _stablehlo(run: "Trained", path: Path) -> None:
    path.write_bytes(program(run).serialize())


FORMATS: Mapping[str, Callable[["Trained", Path], None]] = {
    "npz": _npz,
    "safetensors": _safetensors,
    "stablehlo": _stablehlo,
}
