"""Cross entropies by the logarithm of a sum of exponentials."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """-sum y log p over the classes, as `jaxcnn.softmax_cross_entropy`."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if logits.shape != labels.shape:
        raise ValueError(f"labels must have the shape of logits {logits.shape}, got {labels.shape}")
    dtype = _at_least_float32(logits, labels)
    logits, labels = logits.astype(dtype), labels.astype(dtype)
    mask = _mask(where, logits, axis)
    log_p = logits - _log_sum_exp(logits, axis, mask)
    nothing = ~mask | ((labels == 0) & (log_p == -jnp.inf))
    # log p is kept away from the product as well: 0 times its infinite derivative is NaN.
    return -(labels * jnp.where(nothing, 0, log_p)).sum(axis)


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """-log p of the label, as `jaxcnn.softmax_cross_entropy_with_integer_labels`."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    logits = logits.astype(_at_least_float32(logits))
    mask = _mask(where, logits, axis)
    axes = tuple(a % logits.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    batch = tuple(a for a in range(logits.ndim) if a not in axes)
    classes = math.prod(logits.shape[a] for a in axes)
    shape = tuple(logits.shape[a] for a in batch)
    logits = logits.transpose(batch + axes).reshape(*shape, classes)
    mask = mask.transpose(batch + axes).reshape(*shape, classes)
    if labels.shape != shape:
        raise ValueError(f"labels must have the shape {shape}, got {labels.shape}")

    labels = labels.astype(int)  # a uint8 cannot be compared with 300 classes
    chosen = jax.nn.one_hot(labels, classes, dtype=bool) & mask
    log_normaliser = _log_sum_exp(logits, -1, mask)[..., 0]
    loss = log_normaliser - jnp.where(chosen, logits, 0).sum(-1)
    known = (labels >= 0) & (labels < classes)
    loss = jnp.where(chosen.any(-1) | ~known, loss, 0)  # a masked label takes no part
    return loss * jnp.where(known | ~mask.any(-1), 1, jnp.nan).astype(loss.dtype)


def _at_least_float32(*arrays: jax.Array):
    # Not promote_types, which jax_numpy_dtype_promotion="strict" forbids.
    return jnp.float64 if jnp.float64 in [a.dtype for a in arrays] else jnp.float32


def _mask(
    where: ArrayLike | None, logits: jax.Array, axis: int | tuple[int, ...] | None
) -> jax.Array:
    if where is None:
        return jnp.ones(logits.shape, bool)
    where = jnp.asarray(where, bool)
    if where.ndim != logits.ndim:
        where = jnp.expand_dims(where, () if axis is None else axis)
    return jnp.broadcast_to(where, logits.shape)


def _log_sum_exp(z: jax.Array, axis: int | tuple[int, ...] | None, mask: jax.Array) -> jax.Array:
    """Over the unmasked classes, axes kept; 0 where all are masked."""
    some = mask.any(axis, keepdims=True)
    z = jnp.where(mask, z, -jnp.inf)
    z = jnp.where(some, z, 0)
    maximum = lax.stop_gradient(z.max(axis, keepdims=True, initial=-jnp.inf))
    sums = jnp.exp(z - maximum).sum(axis, keepdims=True)
    return jnp.where(some, maximum + jnp.log(sums), 0)
