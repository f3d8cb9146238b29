"""Whole networks as programs: the training step and the evaluation, alone and inside a loop.

The loops are the trainer's: over a chunk of steps, and over batches. Beside them, gradients under
`jax.vmap`.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxcnn

from ..mnist import step as train
from . import machine, networks
from .networks import NETWORKS
from .program import Program, compiled

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
BATCH = 128
CHUNK = 4
CLASSES = 10


def batch(size: int | None = None, network: str = "post") -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 `[N, H, W]` or `[N, H, W, C]`, and labels uint8 `[N]`; N is BATCH."""
    rng, size = np.random.default_rng(0), size or BATCH
    images = rng.integers(0, 256, (size, *NETWORKS[network].image), np.uint8)
    return images, rng.integers(0, CLASSES, size, np.uint8)


def state_and_step(
    network: str, layers: ModuleType, dtype: str = "float32"
) -> tuple[train.State, train.Step]:
    """A fresh state and the pure step: momentum SGD, for the trainer's networks the trainer's."""
    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    params = networks.parameters(network, dtype)
    state = train.init_state(params, optimizer, jax.random.key(1))
    if network in ("post", "wide"):
        return state, train.make_step(optimizer, layers=layers)
    return state, _make_step(network, optimizer, layers)


def _make_step(
    network: str, optimizer: optax.GradientTransformation, layers: ModuleType
) -> train.Step:
    """The trainer's step, without what its recipes add, for another network."""
    losses_of: Callable[..., Any] = layers.softmax_cross_entropy_with_integer_labels

    def mean_loss(params: Any, images: jax.Array, labels: jax.Array):
        logits = _logits(network, params, images, layers)
        return losses_of(logits, labels).mean(), logits

    def step(state: train.State, images: jax.Array, labels: jax.Array):
        labels = labels.astype(jnp.int32)
        (loss, logits), g = jax.value_and_grad(mean_loss, has_aux=True)(
            state.params, images, labels
        )
        updates, opt_state = optimizer.update(g, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "accuracy": (logits.argmax(-1) == labels).mean(dtype=loss.dtype)}
        return state._replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return step


def _logits(network: str, params: Any, images: jax.Array, layers: Any) -> jax.Array:
    x = networks.pixels(images, jax.tree.leaves(params)[0].dtype)
    return NETWORKS[network].apply(params, x, layers)


def step_and_operands(network: str, layers: ModuleType, dtype: str = "float32") -> tuple[Any, ...]:
    """The step, and the state, images and labels it is called with."""
    state, step = state_and_step(network, layers, dtype)
    return step, state, *(jnp.asarray(a) for a in batch(network=network))


def alone(network: str, layers: ModuleType, dtype: str = "float32") -> Program:
    """One step. Its outputs are the loss, the gradients and the new parameters."""
    return compiled(*step_and_operands(network, layers, dtype), select=loss_and_params)


def in_scan(network: str, layers: ModuleType, count: int, dtype: str = "float32") -> Program:
    """`count` steps in the trainer's loop, at most `CHUNK`. Its outputs are those after two."""
    state, step = state_and_step(network, layers, dtype)
    images, labels = (jnp.asarray(a) for a in batch(2 * BATCH, network))
    operands = state, images, labels, _order(BATCH)
    return compiled(
        train.make_chunk(step),
        *operands,
        jnp.int32(count),
        checked=(*operands, jnp.int32(2)),
        select=loss_and_params,
    )


def evaluation_and_operands(
    network: str, layers: ModuleType, dtype: str = "float32", size: int | None = None
) -> tuple[Any, ...]:
    """The logits of one batch as a function, and the parameters and images it is called with."""

    def logits(params: Any, images: jax.Array) -> jax.Array:
        return _logits(network, params, images, layers)

    return logits, networks.parameters(network, dtype), jnp.asarray(batch(size, network)[0])


def evaluation(
    network: str, layers: ModuleType, dtype: str = "float32", size: int | None = None
) -> Program:
    """The logits of one batch, as many images at a time as the trainer takes."""
    _, params, images = evaluation_and_operands(network, layers, dtype, size)
    return compiled(_evaluating(network, layers, len(images), dtype), params, images)


def evaluation_in_scan(
    network: str,
    layers: ModuleType,
    count: int,
    dtype: str = "float32",
    size: int | None = None,
) -> Program:
    """The logits of `count` batches, at most `CHUNK`, in a loop. Its outputs are those of two."""
    size = size or BATCH
    images, _ = batch(2 * size, network)
    logits_of = _evaluating(network, layers, size, dtype)

    def logits(params: Any, images: jax.Array, order: jax.Array, count: jax.Array) -> jax.Array:
        def body(i: jax.Array, out: jax.Array) -> jax.Array:
            return out.at[i].set(logits_of(params, images[order[i]]))

        zeros = jnp.zeros((*order.shape, CLASSES), jnp.dtype(dtype))
        return jax.lax.fori_loop(0, count, body, zeros)

    operands = networks.parameters(network, dtype), jnp.asarray(images), _order(size)
    return compiled(logits, *operands, jnp.int32(count), checked=(*operands, jnp.int32(2)))


def at_once(network: str, images: int, dtype: str = "float32") -> int:
    """How many of so many images the trainer's evaluation takes at a time, with jaxcnn's layers.

    It takes as many as stay in cache by oneDNN: XLA's own convolutions of few have one core.
    """
    of_dtype = NETWORKS[network].at_once
    if of_dtype is None or not machine.onednn_in(dtype):
        return images
    return math.gcd(of_dtype(dtype), images)


def _evaluating(
    network: str, layers: ModuleType, n: int, dtype: str
) -> Callable[[Any, jax.Array], jax.Array]:
    """The logits of n images: of the reference's all at a time, which is as fast or faster."""
    part = at_once(network, n, dtype) if layers is jaxcnn else n

    def logits(params: Any, images: jax.Array) -> jax.Array:
        if part == n:
            return _logits(network, params, images, layers)
        parts = images.reshape(n // part, part, *images.shape[1:])
        found = jax.lax.map(lambda images: _logits(network, params, images, layers), parts)
        return found.reshape(n, CLASSES)

    return logits


def mapped_and_operands(kind: str, network: str, layers: ModuleType) -> tuple[Any, ...]:
    """The gradient of a network of one image, mapped over a batch; and what it is called with.

    Of kind "vmap" it is that of the mean loss, of kind "per_example" every image's own.
    """
    losses_of: Callable[..., Any] = layers.softmax_cross_entropy_with_integer_labels

    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        # The layers take any number of batch axes; a network flattens behind one.
        return losses_of(_logits(network, params, image[None], layers)[0], label)

    def mean(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return jax.vmap(loss, (None, 0, 0))(params, images, labels).mean()

    f = jax.grad(mean) if kind == "vmap" else jax.vmap(jax.grad(loss), (None, 0, 0))
    images, labels = batch(network=network)
    labels = labels.astype(np.int32)
    return f, networks.parameters(network), jnp.asarray(images), jnp.asarray(labels)


def mapped(kind: str, network: str, layers: ModuleType) -> Program:
    """Gradients under `jax.vmap`."""
    return compiled(*mapped_and_operands(kind, network, layers))


def _order(size: int) -> jax.Array:
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.integers(0, 2 * size, (CHUNK, size), np.int32))


def loss_and_params(outputs: Any) -> Any:
    """What of a step's or a loop's outputs is compared.

    The momentum after one step is the gradient, which the parameters of so small a step hide.
    """
    state, metrics = outputs
    return (
        jnp.ravel(metrics["loss"])[0],
        state.params,
        optax.tree_utils.tree_get(state.opt_state, "trace"),
    )
