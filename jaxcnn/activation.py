"""Activations: relu and softmax.

    relu:     y = max(x, 0)
              dx = g where x > 0, and 0 elsewhere

    softmax:  p_j = exp(x_j) / sum over k of exp(x_k)
              dx_j = p_j * (g_j - sum over k of g_k * p_k)

Softmax has two cases, summed against g in the line above; k is not j:

    d p_j / d x_j = p_j * (1 - p_j)
    d p_k / d x_j = - p_j * p_k

Source: M. Rathi, Backpropagation in a Convolutional Neural Network (2018).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from . import _checks
from ._cotangent import cotangent
from ._widen import widen
from .lowering import beforehand


def _relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, jnp.zeros((), x.dtype))


def _relu_fwd(x: jax.Array):
    # The mask, a byte per element, is all that the rule reads.
    return _relu(x), x > 0


def _relu_bwd(mask: jax.Array, g: jax.Array):
    return (jnp.where(mask, g, jnp.zeros_like(g)),)


_relu_rule = jax.custom_vjp(_relu)
_relu_rule.defvjp(_relu_fwd, _relu_bwd)


def relu(x: ArrayLike) -> jax.Array:
    """Rectifier: y = max(x, 0), with dx = g where x > 0.

    At x = 0 the gradient is 0, as in the post and in `jax.nn.relu`. A NaN stays NaN, and its
    gradient is 0.

    Args:
        x: any shape, real floating.

    Raises:
        TypeError: x is not real floating.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use `jaxcnn.reference.relu`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> jax.grad(lambda x: jaxcnn.relu(x).sum())(jnp.array([-1.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 1.0]
    """
    x = jnp.asarray(x)
    _checks.floating("relu", "x", x)
    return _relu_rule(x)


def _softmax(x: jax.Array, axis: tuple[int, ...]) -> jax.Array:
    wide = widen(x)
    # Of no class -inf is the maximum, and there is nothing to take it from.
    e = jnp.exp(wide - jnp.max(wide, axis, keepdims=True, initial=-jnp.inf))
    return (e / jnp.sum(e, axis, keepdims=True)).astype(x.dtype)


def _softmax_fwd(x: jax.Array, axis: tuple[int, ...]):
    # The rule is written in the probabilities: x is not needed again.
    p = _softmax(x, axis)
    return p, p


def _softmax_bwd(axis: tuple[int, ...], p: jax.Array, g: jax.Array):
    p_wide, g = widen(p), widen(g)
    total = beforehand(jnp.sum(g * p_wide, axis, keepdims=True), p)
    return (cotangent(p_wide * (g - total), p),)


_softmax_rule = jax.custom_vjp(_softmax, nondiff_argnums=(1,))
_softmax_rule.defvjp(_softmax_fwd, _softmax_bwd)


def softmax(x: ArrayLike, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """Softmax: p_j = exp(x_j) / sum over k of exp(x_k), with dx = p * (g - sum of g * p).

    The maximum is subtracted first, so large logits do not overflow.

    Args:
        x: any shape, floating.
        axis: the axis, or axes, that sum to one; an empty one gives an empty array.

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
    x = jnp.asarray(x)
    _checks.floating("softmax", "x", x)
    return _softmax_rule(x, _checks.axes_of(x, axis))
