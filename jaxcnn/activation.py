"""Activations: relu and softmax.

relu:     y = max(x, 0)                  dx = g where x > 0, and 0 at x = 0
softmax:  p_j = exp(x_j) / sum exp(x)    dx = p * (g - sum of g * p)

Softmax has two cases, dp_j/dx_j = p_j (1 - p_j) and dp_k/dx_j = -p_j p_k; summed against g they are
the one line above.

Source: M. Rathi, Backpropagation in a Convolutional Neural Network (2018).
"""

import jax
import jax.numpy as jnp

from ._cotangent import cotangent
from ._widen import widen


def _relu(x):
    return jnp.maximum(x, jnp.zeros((), x.dtype))


def _relu_fwd(x):
    # The mask, a byte an element, is all that the rule reads.
    return _relu(x), x > 0


def _relu_bwd(mask, g):
    return (jnp.where(mask, g, jnp.zeros_like(g)),)


_relu_rule = jax.custom_vjp(_relu)
_relu_rule.defvjp(_relu_fwd, _relu_bwd)


def relu(x: jax.Array) -> jax.Array:
    """Rectifier: y = max(x, 0), with dx = g where x > 0.

    At x = 0 the gradient is 0, as in the post and in `jax.nn.relu`. A NaN stays NaN, and its
    gradient is 0.

    Args:
        x: any shape, floating.

    Raises:
        TypeError: x is not floating.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use `jaxcnn.reference.relu`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> jax.grad(lambda x: jaxcnn.relu(x).sum())(jnp.array([-1.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 1.0]
    """
    _check_floating("relu", x)
    return _relu_rule(x)


def _softmax(x, axis):
    wide = widen(x)
    e = jnp.exp(wide - jnp.max(wide, axis, keepdims=True))
    return (e / jnp.sum(e, axis, keepdims=True)).astype(x.dtype)


def _softmax_fwd(x, axis):
    # The rule is written in the probabilities: x is not needed again.
    p = _softmax(x, axis)
    return p, p


def _softmax_bwd(axis, p, g):
    p_wide, g = widen(p), widen(g)
    return (cotangent(p_wide * (g - jnp.sum(g * p_wide, axis, keepdims=True)), p),)


_softmax_rule = jax.custom_vjp(_softmax, nondiff_argnums=(1,))
_softmax_rule.defvjp(_softmax_fwd, _softmax_bwd)


def softmax(x: jax.Array, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """Softmax: p_j = exp(x_j) / sum over k of exp(x_k), with dx = p * (g - sum of g * p).

    The maximum is subtracted first, so large logits do not overflow.

    Args:
        x: any shape, floating.
        axis: the axis, or axes, that sum to one.

    Raises:
        TypeError: x is not floating.
        ValueError: x has no such axis.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use `jaxcnn.reference.softmax`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> jaxcnn.softmax(jnp.array([0.0, 0.0])).tolist()
        [0.5, 0.5]
        >>> jax.jacobian(jaxcnn.softmax)(jnp.array([0.0, 0.0])).tolist()
        [[0.25, -0.25], [-0.25, 0.25]]
    """
    _check_floating("softmax", x)
    return _softmax_rule(x, canonical_axes(x, axis))


def canonical_axes(x: jax.Array, axis: int | tuple[int, ...], name: str = "x") -> tuple[int, ...]:
    """`axis` as a tuple of non-negative ints, checked against the rank of x."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes or any(not -x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"axis is {axis!r}: {name} has shape {x.shape}")
    result = tuple(a % x.ndim for a in axes)
    if len(set(result)) < len(result):
        raise ValueError(f"axis is {axis!r}: it names an axis of {name} twice")
    return result


def _check_floating(function: str, x) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{function} expects a floating x, got {x.dtype}")
