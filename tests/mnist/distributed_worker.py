"""Steps of training on any layout of devices: in this process, or as one of two.

python -m tests.mnist.distributed_worker OUT.npz HOST:PORT PROCESS_ID
"""

from tests import strict as strict  # isort: skip
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn.mnist import model
from jaxcnn.mnist.data import sources
from jaxcnn.mnist.machine import distributed
from jaxcnn.mnist.run import programs
from jaxcnn.mnist.run.configuration import Configuration

STEPS = 50
# Momentum: Adam divides by gradients near zero, and so blows rounding up to the size of a step.
CONFIGURATION = Configuration(
    dataset="digits",
    model="post",
    recipe="post",
    layers="jaxcnn",
    steps=STEPS,
    batch_size=16,
    learning_rate=1e-5,
    seed=0,
    dtype="float64",
)


def compute(devices: int | None = None) -> dict[str, np.ndarray]:
    """The first step's gradient in float32, the parameters after 50 in float64, and the order."""
    dataset = sources.load("digits")
    mesh = distributed.data_mesh(devices)
    schedule = programs.new_schedule(CONFIGURATION, dataset)
    compiled = programs.Programs(CONFIGURATION, dataset, schedule, mesh)
    batches = schedule.batches(0, STEPS)

    single = jax.tree.map(lambda p: np.asarray(p, np.float32), compiled.init().params)
    gradient = _gradient(single, compiled, batches, mesh)
    state, _ = compiled.chunk(compiled.init(), batches, STEPS)
    named = {"order": _whole(distributed.shard_batches(batches, mesh), mesh)}
    for prefix, tree in (("gradient", gradient), ("params", state.params)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            named[prefix + jax.tree_util.keystr(path)] = np.asarray(leaf)
    return named


def _gradient(params, compiled: programs.Programs, batches: np.ndarray, mesh):
    def loss(params, images, labels, order):
        logits = model.apply(params, model.pixels(images[order[0]]))
        labels = labels[order[0]].astype(jnp.int32)
        return jaxcnn.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    whole = distributed.replicate(np.int32(0), mesh).sharding
    gradient = jax.jit(jax.grad(loss), out_shardings=whole)
    order = distributed.shard_batches(batches[:1], mesh)
    return gradient(distributed.replicate(params, mesh), compiled.images, compiled.labels, order)


def _whole(x: jax.Array, mesh) -> np.ndarray:
    """The array as the devices hold it, put together again."""
    whole = distributed.replicate(np.int32(0), mesh).sharding
    return np.asarray(jax.jit(lambda x: x, out_shardings=whole)(x))


def main() -> None:
    """One of two processes; the first writes what came out."""
    out, coordinator, process_id = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    jax.config.update("jax_numpy_rank_promotion", "allow")
    distributed.start(coordinator, 2, int(process_id))
    assert jax.device_count() == 8
    assert jax.local_device_count() == 4
    named = compute()
    if distributed.is_first():
        arrays: dict[str, Any] = named
        np.savez(out, **arrays)


if __name__ == "__main__":
    main()
