"""The trainer's step as programs: alone, and inside the trainer's loop over a chunk of steps."""

import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..mnist import model
from ..mnist import step as train
from .program import Program, compiled

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
BATCH = 128
CHUNK = 4


def batch(size: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 `[N, 28, 28]` and labels uint8 `[N]`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, model.IMAGE_SIZE, model.IMAGE_SIZE), np.uint8)
    return images, rng.integers(0, model.CLASSES, size, np.uint8)


def state_and_step(network: str, layers: ModuleType) -> tuple[train.State, train.Step]:
    """A fresh state and the pure step: momentum SGD on the "post" or the "wide" network."""
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    params = model.init(jax.random.key(0), network)
    state = train.init_state(params, optimizer, jax.random.key(1))
    return state, train.make_step(optimizer, layers=layers)


def alone(network: str, layers: ModuleType) -> Program:
    """One step. Its outputs are the loss and the new parameters."""
    state, step = state_and_step(network, layers)
    images, labels = (jnp.asarray(a) for a in batch())
    return compiled(step, state, images, labels, select=loss_and_params)


def in_scan(network: str, layers: ModuleType, count: int) -> Program:
    """`count` steps in the trainer's loop, at most `CHUNK`. Its outputs are those after two."""
    state, step = state_and_step(network, layers)
    images, labels = (jnp.asarray(a) for a in batch(2 * BATCH))
    order = jnp.asarray(np.random.default_rng(1).integers(0, 2 * BATCH, (CHUNK, BATCH), np.int32))
    operands = state, images, labels, order
    return compiled(
        train.make_chunk(step),
        *operands,
        jnp.int32(count),
        checked=(*operands, jnp.int32(2)),
        select=loss_and_params,
    )


def loss_and_params(outputs: Any) -> Any:
    """What of a step's or a loop's outputs is compared."""
    state, metrics = outputs
    return jnp.ravel(metrics["loss"])[0], state.params


def flops(network: str) -> int:
    """Multiplications and additions of a step: each layer's forward, dx and dw; no dx of the first.

    Convolutions with SAME padding are counted with their padding.
    """
    total, side = 0, model.IMAGE_SIZE
    for name, shape in model.shapes(network).items():
        places = side**2 if name.startswith("conv") else 1
        passes = 2 if name == "conv1" else 3
        total += passes * 2 * BATCH * places * math.prod(shape)
        if name in ("conv2", "conv4"):
            side //= 2
    return total


def parameters(network: str) -> Any:
    """The step's initial parameters, for a peer to start from."""
    return model.init(jax.random.key(0), network)
