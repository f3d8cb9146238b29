"""The fully connected layer.

    y = x w + b

Backward, for the cotangent g of y, with every leading axis of x taken as one batch:

    dx = g w^T        dw = x^T g        db = sum over batch of g

With activation="relu", as in the post's own layer, the y above is relu's x: before these formulas g
becomes g where y > 0, and 0 elsewhere.

Source: M. Rathi, Backpropagation in a Convolutional Neural Network (2018), without its 1/m: the
mean over the batch belongs to the loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from . import _checks
from ._copies import over_copies
from ._cotangent import cotangent, explicit_sharding_beside
from .lowering import Activation

_Axes = tuple[tuple[int, ...], tuple[int, ...]]
_Residuals = tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]


def _affine(x: jax.Array, w: jax.Array, b: jax.Array | None, activation: Activation) -> jax.Array:
    y = _contract(x, w, ((x.ndim - 1,), (0,)))
    if b is not None:
        y = y + jnp.expand_dims(b.astype(y.dtype), tuple(range(y.ndim - 1)))
    y = y.astype(x.dtype)
    return y if activation is None else jnp.maximum(y, jnp.zeros((), y.dtype))


def _affine_fwd(x: jax.Array, w: jax.Array, b: jax.Array | None, activation: Activation):
    # x and w are what the formulas read, and y, alive as the next layer's x, where relu is open; b
    # is kept for its dtype alone.
    y = _affine(x, w, b, activation)
    return y, (x, w, b, None if activation is None else y)


def _affine_bwd(activation: Activation, residuals: _Residuals, g: jax.Array):
    x, w, b, y = residuals
    if y is not None:
        g = jnp.where(y > 0, g, jnp.zeros_like(g))
    batch = tuple(range(x.ndim - 1))
    dx = _contract(g, w, ((g.ndim - 1,), (1,)), explicit_sharding_beside(w, x))
    dw = _contract(x, g, (batch, batch), explicit_sharding_beside(x, w))
    db = None if b is None else cotangent(jnp.sum(g, batch), b)
    return cotangent(dx, x), cotangent(dw, w), db


_dense = jax.custom_vjp(_affine, nondiff_argnums=(3,))
_dense.defvjp(_affine_fwd, _affine_bwd)


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    activation: Activation = None,
) -> jax.Array:
    """Fully connected layer: y = x w + b.

    Args:
        x: input `[.., Din]`.
        w: weights `[Din, Dout]`.
        b: bias `[Dout]`, or None.
        activation: None, or "relu": y is max(y, 0); backward, g counts where y > 0.

    Returns:
        `[.., Dout]`, in the common dtype of x, w and b; sums of 16-bit numbers are kept in float32.

    Complex operands work too: as in `jax.vjp`, nothing in the formulas is conjugated.

    Raises:
        TypeError: dtypes differ, or are neither floating nor complex.
        ValueError: shapes do not fit each other, or the activation is another one.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use `jaxcnn.reference.dense`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> x, w = jnp.array([1.0, 2.0]), jnp.array([[1.0], [10.0]])
        >>> jaxcnn.dense(x, w).tolist()
        [21.0]
        >>> jax.grad(lambda x: jaxcnn.dense(x, w).sum())(x).tolist()
        [1.0, 10.0]
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    b = None if b is None else jnp.asarray(b)
    if w.ndim != 2:
        raise ValueError(f"w has shape {w.shape}: dense expects [Din, Dout]")
    if x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"x has shape {x.shape} and w {w.shape}: dense expects the last axis of x to be the "
            f"first of w, {w.shape[0]}"
        )
    _checks.bias(b, w.shape[1])
    _checks.one_dtype("dense", x=x, w=w, b=b)
    _checks.activation("dense", activation, x)
    return over_copies(_dense, x, w, b, activation)


def _contract(left: jax.Array, right: jax.Array, axes: _Axes, out_sharding: Any = None):
    wide = jnp.float32 if left.dtype.itemsize < 4 else left.dtype
    return lax.dot_general(
        left, right, (axes, ((), ())), preferred_element_type=wide, out_sharding=out_sharding
    )
