r"""Convolutions: conv and conv_transpose, over one rule, which `drop_in` has too.

Forward, at output place i (one index for each spatial axis), output channel o:

    y[n, i, o] = sum over a, c of  x[n, i + a, c] * w[a, c, o]  +  b[o]

Backward, for the cotangent g of y:

    dx[n, i, c] = sum over a, o of  g[n, i - a, o] * w[a, c, o]
    dw[a, c, o] = sum over n, i of  x[n, i + a, c] * g[n, i, o]
    db[o]       = sum over n, i of  g[n, i, o]

dx is itself a convolution: of g, padded by the kernel's size minus one less the forward padding,
with w flipped along its spatial axes and its two channel axes exchanged. dw is one too: of x with
g, where the batch takes the part of the channels and is summed. Strides dilate g; a dilated kernel
is dilated in dx as well, and is the stride of dw; channel groups keep to themselves. With
activation="relu" the y of these formulas is relu's x: before all of them, g becomes g where y > 0,
and 0 elsewhere.

Source: M. Rathi, Backpropagation in a Convolutional Neural Network (2018), without its 1/m: the
mean over the batch belongs to the loss.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from . import _checks
from ._copies import over_copies
from ._cotangent import cotangent, explicit_sharding, explicit_sharding_beside
from ._window import Padding, TransposedPadding, Window, ints, pairs, transposed_pairs
from .lowering import Activation, Correlation, correlate, exchange_channels

_Residuals = tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]


def _convolve(x: jax.Array, w: jax.Array, b: jax.Array | None, c: Correlation) -> jax.Array:
    return correlate(x, w, c, b)


def _convolve_fwd(x: jax.Array, w: jax.Array, b: jax.Array | None, c: Correlation):
    # x and w are what the formulas read, and y, alive as the next layer's x, where relu is open; b
    # is kept for its dtype alone.
    y = _convolve(x, w, b, c)
    return y, (x, w, b, None if c.activation is None else y)


def _convolve_bwd(c: Correlation, residuals: _Residuals, g: jax.Array):
    x, w, b, y = residuals
    if y is not None:
        g = jnp.where(y > 0, g, jnp.zeros_like(g))
    n, k = x.shape[1:-1], w.shape[:-2]
    w_flipped = exchange_channels(jnp.flip(w, tuple(range(len(k)))), c.groups)
    dx = correlate(g, w_flipped, c.of_dx(n, k, explicit_sharding(x)))
    dw = correlate(x, g, c.of_dw(n, k, explicit_sharding_beside(x, w)))
    db = None if b is None else cotangent(jnp.sum(g, tuple(range(g.ndim - 1))), b)
    return cotangent(dx, x), cotangent(dw, w), db


_convolution = jax.custom_vjp(_convolve, nondiff_argnums=(3,))
_convolution.defvjp(_convolve_fwd, _convolve_bwd)


def conv(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    activation: Activation = None,
) -> jax.Array:
    """Convolution with a bias, channels last, over one to three spatial axes.

    y[n, i, o] = sum over a, c of x[n, i * strides + a * kernel_dilation - low, c] * w[a, c, o]
                 + b[o]

    Args:
        x: input `[N.., S.., Cin]`, any number of leading batch axes, none included.
        w: kernel `[K.., Cin / feature_group_count, Cout]`; its rank says how many axes are spatial.
        b: bias `[Cout]`, or None.
        strides: an int, or one int per axis.
        padding: "SAME", "SAME_LOWER", "VALID", an int for both sides of every axis, or a
            (low, high) pair per spatial axis; a negative one crops.
        kernel_dilation: distance of neighbouring taps, an int, or one int per axis.
        feature_group_count: blocks of channels that do not see each other; `Cin` for a depthwise
            convolution.
        precision: as in `jax.lax.conv_general_dilated`.
        activation: None, or "relu": y is max(y, 0), in the same pass; backward, g counts where
            y > 0. A NaN stays NaN, but for oneDNN (see the README), which makes it 0.

    Returns:
        `[N.., S'.., Cout]`, in the common dtype of x, w and b.

    Complex operands work too: as in `jax.vjp`, nothing in the formulas is conjugated.

    Raises:
        TypeError: dtypes differ or are neither floating nor complex, or an option is not a static
            integer.
        ValueError: shapes do not fit each other, the output would be empty, or the activation is
            another one.

    Reverse mode only: `jax.jvp` of this function raises, as of any `custom_vjp`; `jax.grad` of
    `jax.grad`, `jax.hessian` and `jax.jvp` of `jax.grad` work. For plain forward mode use
    `jaxcnn.reference.conv`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> x, w = jnp.arange(4.0).reshape(1, 4, 1), jnp.array([1.0, 0.0, -1.0]).reshape(3, 1, 1)
        >>> jaxcnn.conv(x, w).ravel().tolist()
        [-1.0, -2.0, -2.0, 2.0]
        >>> jax.grad(lambda w: jaxcnn.conv(x, w).sum())(w).ravel().tolist()
        [3.0, 6.0, 6.0]
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    b = None if b is None else jnp.asarray(b)
    axes = _checks.kernel("conv", x, w)
    _checks.one_dtype("conv", x=x, w=w, b=b)
    strides = ints("strides", strides, axes)
    dilation = ints("kernel_dilation", kernel_dilation, axes)
    n, k = x.shape[x.ndim - 1 - axes : -1], w.shape[:-2]
    window = Window(strides, pairs(padding, n, k, strides, dilation), (1,) * axes, dilation)
    groups = _checks.groups(x.shape[-1], w, feature_group_count)
    _checks.bias(b, w.shape[-1])
    _checks.activation("conv", activation, x)
    c = Correlation(window, groups=groups, precision=precision, activation=activation)
    return convolved(x, w, b, c)


def conv_transpose(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: TransposedPadding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    transpose_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    activation: Activation = None,
) -> jax.Array:
    """Transposed convolution with a bias: the gradient of `conv` with respect to its input.

    The strides dilate x, and w slides over the result one cell at a time:

    y[n, i, o] = sum over j, a, c with j * strides = i + a * kernel_dilation - low of
                 x[n, j, c] * w[a, c, o] + b[o]

    Args:
        x: input `[N.., S.., Cin]`.
        w: kernel `[K.., Cin / feature_group_count, Cout]`, or with `transpose_kernel` `[K.., Cout /
            feature_group_count, Cin]`: the kernel of the `conv` whose gradient with respect to its
            input this is.
        b: bias `[Cout]`, or None.
        strides: how far x is dilated, an int, or one int per axis.
        padding: "SAME" gives `S * strides` outputs; "VALID" gives `S * strides + max(span -
            strides, 0)`, where span is `(K - 1) * kernel_dilation + 1`; an int or (low, high)
            pairs pad the dilated x, as in `jax.lax.conv_transpose`.
        kernel_dilation: distance of neighbouring taps, an int, or one int per axis.
        feature_group_count: blocks of channels that do not see each other, as in `conv`.
        transpose_kernel: flip w along its spatial axes and exchange its channel axes.
        precision: as in `jax.lax.conv_general_dilated`.
        activation: None, or "relu": y is max(y, 0), in the same pass; backward, g counts where
            y > 0. A NaN stays NaN, but for oneDNN (see the README), which makes it 0.

    PyTorch's `conv_transpose(stride=s, padding=p, output_padding=q, groups=g, dilation=d)` is
    `conv_transpose(..., strides=s, kernel_dilation=d, feature_group_count=g,
    transpose_kernel=True, padding=((r - p, r - p + q), ...))`, a pair for every axis, with
    `r = (K - 1) * d`, and w moved from PyTorch's `[Cin, Cout / g, K..]` to `[K.., Cout / g, Cin]`.

    Returns:
        `[N.., S'.., Cout]`, in the common dtype of x, w and b.

    Complex operands work too: as in `jax.vjp`, nothing in the formulas is conjugated.

    Raises:
        TypeError: dtypes differ or are neither floating nor complex, or an option is not a static
            integer.
        ValueError: shapes do not fit each other, the output would be empty, or the activation is
            another one.

    Reverse mode only, as `conv`; for plain forward mode use `jaxcnn.reference.conv_transpose`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> x, w = jnp.array([[1.0], [2.0]]), jnp.ones((2, 1, 1))
        >>> jaxcnn.conv_transpose(x, w, strides=2).ravel().tolist()
        [1.0, 1.0, 2.0, 2.0]
        >>> jax.grad(lambda w: jaxcnn.conv_transpose(x, w, strides=2).sum())(w).ravel().tolist()
        [3.0, 3.0]
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    b = None if b is None else jnp.asarray(b)
    axes = _checks.kernel("conv_transpose", x, w)
    _checks.one_dtype("conv_transpose", x=x, w=w, b=b)
    strides = ints("strides", strides, axes)
    dilation = ints("kernel_dilation", kernel_dilation, axes)
    padding = transposed_pairs(padding, w.shape[:-2], strides, dilation)
    (groups,) = ints("feature_group_count", feature_group_count, 1)
    if transpose_kernel:
        _checks.transposed_groups(w, groups)
        w = exchange_channels(jnp.flip(w, tuple(range(axes))), groups)
    _checks.groups(x.shape[-1], w, groups)
    _checks.bias(b, w.shape[-1])
    window = Window((1,) * axes, padding, strides, dilation)
    _checks.activation("conv_transpose", activation, x)
    c = Correlation(window, groups=groups, precision=precision, activation=activation)
    return convolved(x, w, b, c)


def convolved(x: jax.Array, w: jax.Array, b: jax.Array | None, c: Correlation) -> jax.Array:
    """The rule, its operands checked for an output."""
    n, k = x.shape[x.ndim - w.ndim + 1 : -1], w.shape[:-2]
    _checks.output(c.window.output_shape(n, k), n, k, c.window)
    if isinstance(c.precision, list):
        c = c.with_(precision=tuple(c.precision))  # a static record is hashable
    return over_copies(partial(_on_one_batch_axis, c=c), x, w, b, c.activation, c.groups)


def _on_one_batch_axis(
    x: jax.Array, w: jax.Array, b: jax.Array | None, activation: Activation, c: Correlation
) -> jax.Array:
    """The rule with the leading axes of x as one batch axis."""
    c = c.with_(activation=activation)
    leading = x.shape[: x.ndim - w.ndim + 1]
    if len(leading) == 1:
        return _convolution(x, w, b, c)
    y = _convolution(x.reshape(math.prod(leading), *x.shape[len(leading) :]), w, b, c)
    return y.reshape(*leading, *y.shape[1:])
