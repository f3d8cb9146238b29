"""The training step, and the jitted loop over a chunk of steps: pure functions, jit at the edge.

    loss = mean over the batch of  -log softmax(logits)[label]
    g    = d loss / d parameters                    (the layers' hand-written rules)
    parameters, optimiser state = optimiser(g)      (Optax)

The data lives on the device as the bytes it was read as. A step is given the numbers of its
examples, gathers them there, and scales them to floats: nothing but a few hundred integers
crosses to the device per step.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jaxcnn

from ..pooling import Ties
from . import description
from .model import apply, pixels

# What one layer reads and writes, in bytes, that the next one still finds in a processor's cache.
_IN_CACHE = 2**24

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]
Step = Callable[["State", jax.Array, jax.Array], tuple["State", dict[str, jax.Array]]]


class State(NamedTuple):
    """Everything that a step reads and writes, and all that a checkpoint must hold.

    Attributes:
        step: updates made so far, an int32 scalar.
        params: the network's parameters.
        opt_state: Optax's state for them.
        average: a moving average of the parameters, or None where the recipe keeps none.
        key: the data of the run's random key. It never changes: step t uses
            `fold_in(key, t)`, so that the position alone determines every random number.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    average: Any
    key: jax.Array


def init_state(
    params: Any, optimizer: optax.GradientTransformation, key: jax.Array, *, average: bool = False
) -> State:
    """The state before the first step.

    Args:
        params: the initial parameters.
        optimizer: the Optax optimiser that will update them.
        key: a random key (`jax.random.key`); steps that augment draw from it.
        average: whether to keep a moving average of the parameters.
    """
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        # A copy: the state is donated, and one buffer cannot be given away twice.
        average=jax.tree.map(jnp.copy, params) if average else None,
        key=jnp.copy(jax.random.key_data(key)),
    )


def final_params(state: State) -> Any:
    """The parameters to use a trained network with: the average where there is one."""
    return state.params if state.average is None else state.average


def make_step(
    optimizer: optax.GradientTransformation,
    *,
    model: str = "post",
    layers: ModuleType = jaxcnn,
    augment: Augmentation | None = None,
    label_smoothing: float = 0.0,
    average_decay: float | None = None,
    ties: Ties = "first",
    dtype: Any = None,
) -> Step:
    """Build the pure training step `step(state, images, labels) -> (state, metrics)`.

    Args:
        optimizer: the Optax optimiser.
        model: whose layers, as for `model.apply`.
        layers: the module whose layers the network is made of: `jaxcnn`, whose gradients are
            hand-written, or `jaxcnn.reference`, the same network left to autodiff.
        augment: `augment(key, images) -> images` over floats `[N, 28, 28, 1]`, or None.
        label_smoothing: the share of each label that is spread evenly over the classes.
        average_decay: keep `average = d * average + (1 - d) * params`, with d this number (less
            in the first steps, as in Polyak's mean), or None for no average.
        ties: where the max-pools send the gradient of tied elements, see `jaxcnn.max_pool`.
        dtype: what the layers compute in, as for `model.apply`; the loss, the parameters and the
            optimiser's state keep the parameters' own.

    Returns:
        A function of the state, images uint8 `[N, 28, 28]` and labels uint8 `[N]`, that returns
        the new state and `{"loss", "accuracy"}` of the batch before the update. It is pure and
        not jitted: jit it, or put it into a loop.
    """

    def mean_loss(params: Any, images: jax.Array, labels: jax.Array):
        logits = apply(params, images, model=model, layers=layers, ties=ties, dtype=dtype)
        if label_smoothing:
            targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
            targets = optax.smooth_labels(targets, label_smoothing)
            losses = layers.softmax_cross_entropy(logits, targets)
        else:
            losses = layers.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), logits

    def step(state: State, images: jax.Array, labels: jax.Array):
        labels = labels.astype(jnp.int32)
        x = pixels(images, _dtype(state.params))
        if augment is not None:
            key = jax.random.wrap_key_data(state.key)
            x = augment(jax.random.fold_in(key, state.step), x)
        (loss, logits), g = jax.value_and_grad(mean_loss, has_aux=True)(state.params, x, labels)
        updates, opt_state = optimizer.update(g, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average_decay is not None:
            t = state.step.astype(loss.dtype)
            decay = jnp.minimum(average_decay, (1 + t) / (10 + t))
            average = optax.incremental_update(params, average, 1 - decay)
        metrics = {"loss": loss, "accuracy": (logits.argmax(-1) == labels).mean(dtype=loss.dtype)}
        return State(state.step + 1, params, opt_state, average, state.key), metrics

    return step


def make_chunk(step: Step) -> Callable[..., tuple[State, dict[str, jax.Array]]]:
    """Build `chunk(state, images, labels, order, count) -> (state, metrics)`: many steps, one call.

    The steps run in a loop on the device. How many is an argument, not a shape: a chunk cut short
    by the end of an epoch, an evaluation or a checkpoint is the same compiled program.

    Args:
        step: a pure step, from `make_step`.

    Returns:
        A function of the state, all images uint8 `[M, 28, 28]` and labels `[M]`, the numbers
        `order` int32 `[steps, N]` of the examples of each step, and the number of steps to make
        `count`, int32, at most `steps`. Its metrics are those of the step, stacked: `[steps]`,
        of which the first `count` count. Shard `order` along its second axis and keep everything
        else replicated, and it is data parallel.
    """

    def chunk(
        state: State, images: jax.Array, labels: jax.Array, order: jax.Array, count: jax.Array
    ) -> Any:
        def body(i: jax.Array, carry: Any) -> Any:
            state, metrics = carry
            examples = order[i]
            state, new = step(state, images[examples], labels[examples])
            return state, jax.tree.map(lambda all_, one: all_.at[i].set(one), metrics, new)

        shapes = jax.eval_shape(step, state, images[order[0]], labels[order[0]])[1]
        metrics = jax.tree.map(lambda s: jnp.zeros(order.shape[:1], s.dtype), shapes)
        return jax.lax.fori_loop(0, count, body, (state, metrics))

    return chunk


def evaluation_batch(model: str = "post", dtype: Any = jnp.float32) -> int:
    """How many images a forward pass on a CPU should take at a time: a power of two.

    Nothing is kept for gradients, so what a layer writes is read once. It stays in the cache where
    the widest layer reads and writes no more than 16 MB for all of the images.

    Args:
        model: whose layers, as for `model.apply`.
        dtype: what they compute in.

    Examples:
        >>> evaluation_batch("post"), evaluation_batch("wide")
        (512, 64)
    """
    bytes_of_an_image = description.widest(model) * jnp.dtype(dtype).itemsize
    return 2 ** int(math.log2(max(1, _IN_CACHE / bytes_of_an_image)))


def make_logits(
    *, model: str = "post", layers: ModuleType = jaxcnn, dtype: Any = None
) -> Callable[..., jax.Array]:
    """Build `logits(params, images, order, count) -> [batches, N, 10]`: a forward pass, batched.

    Args:
        model: whose layers, as for `model.apply`.
        layers: `jaxcnn` or `jaxcnn.reference`, as for `make_step`.
        dtype: what the layers compute in, as for `make_step`.

    Returns:
        A function of the parameters, all images uint8 `[M, 28, 28]`, the numbers `order` int32
        `[batches, N]` of the examples to look at, and the number of batches to do, `count`.
        Batches from `count` on are left zero.
    """

    def logits(params: Any, images: jax.Array, order: jax.Array, count: jax.Array) -> jax.Array:
        wide = _dtype(params)

        def body(i: jax.Array, out: jax.Array) -> jax.Array:
            x = pixels(images[order[i]], wide)
            return out.at[i].set(apply(params, x, model=model, layers=layers, dtype=dtype))

        return jax.lax.fori_loop(0, count, body, jnp.zeros((*order.shape, 10), wide))

    return logits


def _dtype(params: Any) -> Any:
    return jax.tree.leaves(params)[0].dtype
