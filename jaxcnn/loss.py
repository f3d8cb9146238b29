"""Softmax with cross-entropy: one loss per example, of logits z and labels y.

    p = softmax(z)        loss = - sum over classes of  y * log p

Backward, for the cotangent g of the loss, with S = sum over classes of y:

    dz = g * (S p - y)        dy = - g log p

The post's y_hat - y is the case S = 1; a masked or weighted row of labels has another S, and the
short formula is then wrong.

Source: M. Rathi, Backpropagation in a Convolutional Neural Network (2018), without its 1/m: the
mean over the batch is the caller's.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from . import _checks
from ._cotangent import cotangent, explicit_sharding
from ._widen import widen

Axes = tuple[int, ...]
Axis = int | Axes


def _shifts(z: jax.Array, axis: Axis) -> tuple[jax.Array, jax.Array]:
    """The two numbers per row that are taken from z for log p, one after the other."""
    # A row of -inf, or of nothing, has no class: its maximum is no shift, its sum no logarithm,
    # and p is 0.
    top = jnp.max(z, axis, keepdims=True, initial=-jnp.inf)
    top = jnp.where(jnp.isneginf(top), 0, top)
    total = jnp.sum(jnp.exp(z - top), axis, keepdims=True)
    return top, jnp.log(jnp.where(total == 0, 1, total))


def _log_softmax(z: jax.Array, axis: Axis) -> jax.Array:
    top, log_total = _shifts(z, axis)
    return z - top - log_total


def _log_p(z: jax.Array, y: jax.Array, axis: Axes) -> jax.Array:
    # An impossible class that is not asked for counts 0, not 0 * inf.
    log_p = _log_softmax(widen(z), axis)
    return jnp.where(jnp.isneginf(log_p) & (y == 0), 0, log_p)


_Residuals = tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]


def _cross_entropy(z: jax.Array, y: jax.Array, axis: Axes) -> jax.Array:
    return -jnp.sum(widen(y) * _log_p(z, y, axis), axis)


def _cross_entropy_fwd(z: jax.Array, y: jax.Array, axis: Axes):
    # z and y are the caller's own arrays; with two numbers per row p is cheaper anew than kept.
    return _cross_entropy(z, y, axis), (z, y, _shifts(widen(z), axis))


def _cross_entropy_bwd(axis: Axes, residuals: _Residuals, g: jax.Array):
    z, y, (top, log_total) = residuals
    g = jnp.expand_dims(g, axis)
    p = jnp.exp(widen(z) - top - log_total)
    s = jnp.sum(widen(y), axis, keepdims=True)
    dz = g * (s * p - widen(y))
    dy = -g * _log_p(z, y, axis)
    return cotangent(dz, z), cotangent(dy, y)


_cross_entropy_rule = jax.custom_vjp(_cross_entropy, nondiff_argnums=(2,))
_cross_entropy_rule.defvjp(_cross_entropy_fwd, _cross_entropy_bwd)


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy of softmax(logits) with a distribution over the classes, one loss per example.

    loss = - sum over classes of labels * log softmax(logits)

    Args:
        logits: `[.., classes]`, real floating; 16-bit ones are computed in float32.
        labels: the same shape; a row need not sum to one.
        axis: the class axis, or a tuple of axes that together are the classes.
        where: mask that broadcasts to the shape of logits. A masked class takes no part: neither
            in the softmax nor in the labels. A wholly masked example has loss 0 and gradient 0.

    Returns:
        `[..]`, float32 or wider.

    Raises:
        TypeError: logits are not real floating, or labels are complex.
        ValueError: logits and labels differ in shape, or there is no such axis.

    The gradient with respect to labels is -log p; it is 0 where both a label and its probability
    are 0, since such a class contributes 0 to the loss. Reverse mode only, as every `custom_vjp`;
    for plain forward mode use `jaxcnn.reference.softmax_cross_entropy`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> z, y = jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0])
        >>> print(jaxcnn.softmax_cross_entropy(z, y))
        0.6931472
        >>> jax.grad(jaxcnn.softmax_cross_entropy)(z, y).tolist()
        [-0.5, 0.5]
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    _checks.floating("softmax_cross_entropy", "logits", logits)
    axes = _checks.axes_of(logits, axis, "logits")
    _checks.distribution(labels, logits)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(logits.dtype)
    if where is not None:
        where = _mask(jnp.asarray(where), logits, axes)
        logits = jnp.where(where, logits, -jnp.inf)
        labels = jnp.where(where, labels, 0)
    return _cross_entropy_rule(logits, labels, axes)


def _one_hot(z: jax.Array, labels: jax.Array) -> jax.Array:
    classes = jnp.arange(z.shape[-1], dtype=labels.dtype)
    return labels[..., None] == classes.reshape((1,) * labels.ndim + (-1,))


def _no_such_class(z: jax.Array, labels: jax.Array) -> jax.Array:
    return (labels < 0) | (labels >= z.shape[-1])


def _own(z: jax.Array, labels: jax.Array) -> jax.Array:
    """The logit of each example's own class."""
    if explicit_sharding(z) is not None:  # a gather of split classes has no place
        return _summed(z, labels)
    # Elsewhere than on a CPU a gather moves more than the sum reads.
    return lax.platform_dependent(z, labels, cpu=_read, default=_summed)


def _read(z: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(z, labels[..., None], -1, mode="clip")[..., 0]


def _summed(z: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(_one_hot(z, labels), z, 0), -1)


def _integer_cross_entropy(z: jax.Array, labels: jax.Array) -> jax.Array:
    z = widen(z)
    top, log_total = (shift[..., 0] for shift in _shifts(z, -1))
    loss = log_total - (_own(z, labels) - top)
    return jnp.where(_no_such_class(z, labels), jnp.nan, loss)


def _integer_cross_entropy_fwd(z: jax.Array, labels: jax.Array):
    # p is the post's y hat; z is kept for its dtype alone.
    p = jnp.exp(_log_softmax(widen(z), -1))
    return _integer_cross_entropy(z, labels), (p, labels, z)


def _integer_cross_entropy_bwd(residuals: tuple[jax.Array, jax.Array, jax.Array], g: jax.Array):
    # The rule of _cross_entropy for a label row of one 1, so S = 1; labels are integers: no dy.
    p, labels, z = residuals
    g = jnp.where(_no_such_class(z, labels), jnp.nan, g)
    dz = g[..., None] * (p - _one_hot(z, labels).astype(p.dtype))
    return cotangent(dz, z), None


_integer_cross_entropy_rule = jax.custom_vjp(_integer_cross_entropy)
_integer_cross_entropy_rule.defvjp(_integer_cross_entropy_fwd, _integer_cross_entropy_bwd)


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy of softmax(logits) with the number of the right class, one loss per example.

    loss = - log softmax(logits)[label]

    Args:
        logits: `[.., classes]`, real floating; 16-bit ones are computed in float32.
        labels: `[..]`, integers in 0..classes-1. Any other label gives a NaN loss and a NaN
            gradient, so that a mistake in the data is seen.
        axis: the class axis, or a tuple of axes that, flattened in this order, are the classes.
        where: mask that broadcasts to the shape of logits. A masked class takes no part; an example
            whose own class is masked, or all classes, has loss 0 and gradient 0.

    Returns:
        `[..]`, float32 or wider.

    Raises:
        TypeError: logits are not real floating, or labels are not integers.
        ValueError: labels have another shape than logits without their class axes, or there is no
            such axis.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use the function of the same
    name in `jaxcnn.reference`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> z, label = jnp.array([0.0, 0.0]), jnp.array(1)
        >>> print(jaxcnn.softmax_cross_entropy_with_integer_labels(z, label))
        0.6931472
        >>> jax.grad(jaxcnn.softmax_cross_entropy_with_integer_labels)(z, label).tolist()
        [0.5, -0.5]
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    _checks.floating("softmax_cross_entropy_with_integer_labels", "logits", logits)
    axes = _checks.axes_of(logits, axis, "logits")
    _checks.integer_labels(labels, logits, axes)
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)  # classes may outnumber 8 or 16 bits
    z = _classes_last(logits, axes)
    if where is None:
        return _integer_cross_entropy_rule(z, labels)
    where = _mask(jnp.asarray(where), logits, axes)
    mask = _classes_last(jnp.broadcast_to(where, logits.shape), axes)
    z = jnp.where(mask, z, -jnp.inf)
    labels = jnp.where(jnp.any(mask, -1), labels, 0)
    counts = jnp.any(mask & _one_hot(z, labels), -1) | _no_such_class(z, labels)
    return jnp.where(counts, _integer_cross_entropy_rule(z, labels), 0)


def _classes_last(x: jax.Array, axes: Axes) -> jax.Array:
    batch = tuple(a for a in range(x.ndim) if a not in axes)
    x = jnp.transpose(x, (*batch, *axes))
    return x if len(axes) == 1 else x.reshape(*x.shape[: len(batch)], -1)


def _mask(where: jax.Array, logits: jax.Array, axes: Axes) -> jax.Array:
    # As in Optax, a mask without the class axes counts for every class of its example.
    if where.ndim == logits.ndim - len(axes):
        where = jnp.expand_dims(where, axes)
    _checks.mask(where, logits)
    return where.astype(bool)
