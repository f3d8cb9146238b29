"""Pooling: max_pool and avg_pool.

Over the window of output place i, with taps a, P(i, a) = i * strides + a * window_dilation - low:

    max_pool:  y[i] = max over a of x[P(i, a)]
               dx[j] = sum over i, a with P(i, a) = j of  g[i] * mask[i, a]

    avg_pool:  y[i] = mean over a of x[P(i, a)]
               dx[j] = sum over i, a with P(i, a) = j of  g[i] / count[i]

The mask is 1 for the winner of its window and 0 elsewhere; count is how many elements the mean is
of. Both backward passes are one scatter: the share of g that belongs to tap a goes back to P(i, a),
and windows that overlap add up. A mask needs no select-and-scatter, and so no serial loop on CPU
and no atomic addition on GPU.

Source: M. Rathi, Backpropagation in a Convolutional Neural Network (2018).
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from . import _checks
from ._taps import Taps, better, gather, scatter
from ._widen import widen
from ._window import Padding, Window, ints, pairs
from .lowering.pooling_primitives import materialized, routed, shared, summed, window_maximum

Ties = Literal["first", "all", "split"]


def _winners(x: jax.Array, taps: Taps) -> jax.Array:
    """Which tap each maximum came from: the first of equals, the first NaN."""
    # A window starts from its first tap in the input, so the padding is no winner, not at -inf.
    first = _over_places(np.argmax(taps.real(), axis=0).astype(np.float32), x)
    tapped = gather(x, taps, _least(x.dtype))
    y = next(tapped)
    winner = jnp.broadcast_to(first, y.shape)
    for number, tap in enumerate(tapped, start=1):
        wins = better(tap, y)
        y = jnp.where(wins, tap, y)
        winner = jnp.where(wins, np.float32(number), winner)
    return materialized(winner).astype(np.int8 if len(taps) < 128 else np.int32)


def _max_pool_first(x: jax.Array, taps: Taps) -> jax.Array:
    return window_maximum(x, taps, _least(x.dtype))


def _max_pool_first_fwd(x: jax.Array, taps: Taps):
    # One small integer per output: up to 16 times less than x and y.
    return _max_pool_first(x, taps), _winners(x, taps)


def _max_pool_first_bwd(taps: Taps, winner: jax.Array, g: jax.Array):
    return (routed(winner, widen(g), taps).astype(g.dtype),)


_max_pool_first_rule = jax.custom_vjp(_max_pool_first, nondiff_argnums=(1,))
_max_pool_first_rule.defvjp(_max_pool_first_fwd, _max_pool_first_bwd)


def _max_pool_tied(x: jax.Array, taps: Taps, split: bool) -> jax.Array:
    del split
    return _max_pool_first(x, taps)


def _max_pool_tied_fwd(x: jax.Array, taps: Taps, split: bool):
    # The mask of the winners is where x equals y; both arrays are alive anyway.
    y = _max_pool_tied(x, taps, split)
    return y, (x, y)


def _max_pool_tied_bwd(
    taps: Taps, split: bool, residuals: tuple[jax.Array, jax.Array], g: jax.Array
):
    x, y = residuals
    wide = widen(g)
    masks = [
        ((tap == y) | (jnp.isnan(tap) & jnp.isnan(y))) & _over_places(real, x)
        for tap, real in zip(gather(x, taps, _least(x.dtype)), taps.real(), strict=True)
    ]
    if split:
        count = materialized(reduce(add, [mask.astype(np.float32) for mask in masks]))
        wide = wide / count.astype(wide.dtype)
    shares = [jnp.where(mask, wide, 0) for mask in masks]
    return (scatter(shares, taps).astype(g.dtype),)


_max_pool_tied_rule = jax.custom_vjp(_max_pool_tied, nondiff_argnums=(1, 2))
_max_pool_tied_rule.defvjp(_max_pool_tied_fwd, _max_pool_tied_bwd)


def max_pool(
    x: ArrayLike,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: int | Sequence[int] | None = None,
    ties: Ties = "first",
) -> jax.Array:
    """Max-pooling: y[i] = max over the window of i, with g routed to the winners.

    Args:
        x: input `[N.., S.., C]`, any number of leading batch axes, none included.
        window_shape: the window's size, one int per spatial axis; its length says how many are
            spatial.
        strides: an int, or one int per axis; None is 1, as in `flax.linen.max_pool`.
        padding: "VALID", "SAME", "SAME_LOWER", an int for both sides of every axis, or a
            (low, high) pair per spatial axis. Padding never wins, not against -inf either.
        window_dilation: distance of neighbouring taps; None is 1.
        ties: who gets g where several elements are the maximum. "first": the first in row-major
            order, as in lax and PyTorch. "all": each gets all of g, as with the post's mask.
            "split": each gets an equal share, as with `jnp.max`.

    PyTorch's `ceil_mode=True` with `padding=p` is `padding=((p, p + e), ...)`: for an axis of n
    elements, with `span = (k - 1) * dilation + 1`, e is `(span - n - 2 * p) % stride`, or 0 where
    `p + e >= span`.

    A NaN in the window makes y NaN; "first" sends g to the first NaN, "all" and "split" treat the
    NaNs as tied.

    Returns:
        `[N.., S'.., C]`, in the dtype of x.

    Raises:
        TypeError: x is neither real floating nor integer, or an option is not a static integer.
        ValueError: shapes do not fit, the output would be empty, a window lies wholly in the
            padding, or `ties` is none of the three.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use
    `jaxcnn.reference.max_pool`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> x = jnp.array([1.0, 3.0, 2.0, 2.0]).reshape(1, 4, 1)
        >>> jaxcnn.max_pool(x, (2,), 2).ravel().tolist()
        [3.0, 2.0]
        >>> jax.grad(lambda x: jaxcnn.max_pool(x, (2,), 2).sum())(x).ravel().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    if ties not in ("first", "all", "split"):
        raise ValueError(f'ties is {ties!r}: expected "first", "all" or "split"')
    x = jnp.asarray(x)
    _checks.ordered("max_pool", "x", x)
    taps = _taps("max_pool", x, window_shape, strides, padding, window_dilation)
    if ties == "first":
        return _max_pool_first_rule(x, taps)
    return _max_pool_tied_rule(x, taps, ties == "split")


def _avg_pool(x: jax.Array, taps: Taps, count_include_pad: bool) -> jax.Array:
    wide = widen(x)
    total = summed(wide, taps)
    return (total / _counts(taps, count_include_pad, wide)).astype(x.dtype)


def _avg_pool_fwd(x: jax.Array, taps: Taps, count_include_pad: bool):
    # The rule is linear: nothing to keep.
    return _avg_pool(x, taps, count_include_pad), None


def _avg_pool_bwd(taps: Taps, count_include_pad: bool, _, g: jax.Array):
    wide = widen(g)
    share = wide / _counts(taps, count_include_pad, wide)
    return (shared(share, taps).astype(g.dtype),)


_avg_pool_rule = jax.custom_vjp(_avg_pool, nondiff_argnums=(1, 2))
_avg_pool_rule.defvjp(_avg_pool_fwd, _avg_pool_bwd)


def avg_pool(
    x: ArrayLike,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """Average pooling: y[i] = mean over the window of i, with g shared equally.

    Args:
        x: input `[N.., S.., C]`, any number of leading batch axes, none included.
        window_shape: the window's size, one int per spatial axis; its length says how many are
            spatial.
        strides: an int, or one int per axis; None is 1, as in `flax.linen.avg_pool`.
        padding: "VALID", "SAME", "SAME_LOWER", an int for both sides of every axis, or a
            (low, high) pair per spatial axis.
        count_include_pad: divide by the size of the window, as Flax and PyTorch do by default;
            else by the number of its elements that lie in the input.

    PyTorch's `ceil_mode=True` with `padding=p` is, with e as in `max_pool`, `padding=((p, p + e),
    ...)` where the padding does not count. Where it does, PyTorch counts p cells but not the e
    more: pad x with p zeros first, and call this with `padding=((0, e), ...)` and
    `count_include_pad=False`.

    Returns:
        `[N.., S'.., C]`, in the dtype of x; sums of 16-bit numbers are kept in float32.

    Raises:
        TypeError: x is not real floating, or an option is not a static integer.
        ValueError: shapes do not fit, the output would be empty, or a window lies wholly in the
            padding.

    Reverse mode only, as every `custom_vjp`; for plain forward mode use
    `jaxcnn.reference.avg_pool`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> x = jnp.array([1.0, 3.0, 2.0, 2.0]).reshape(1, 4, 1)
        >>> jaxcnn.avg_pool(x, (2,), 2).ravel().tolist()
        [2.0, 2.0]
        >>> jax.grad(lambda x: jaxcnn.avg_pool(x, (2,), 2).sum())(x).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    x = jnp.asarray(x)
    _checks.floating("avg_pool", "x", x)
    taps = _taps("avg_pool", x, window_shape, strides, padding, None)
    return _avg_pool_rule(x, taps, bool(count_include_pad))


def _taps(
    function: str,
    x: jax.Array,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None,
    padding: Padding,
    dilation: int | Sequence[int] | None,
) -> Taps:
    """The window over x, once the shapes fit."""
    axes = _checks.pooled(function, x, window_shape)
    k = ints("window_shape", window_shape, axes)
    strides = ints("strides", strides, axes)
    dilation = ints("window_dilation", dilation, axes)
    n = x.shape[x.ndim - 1 - axes : -1]
    window = Window(strides, pairs(padding, n, k, strides, dilation), (1,) * axes, dilation)
    taps = Taps(window, k, n)
    _checks.output(taps.m, n, k, window, "window_shape")
    _checks.seen(taps.real(), n, k, window)
    return taps


def _counts(taps: Taps, count_include_pad: bool, x: jax.Array):
    if count_include_pad:
        return np.array(np.prod(taps.k), x.dtype)
    return _over_places(taps.real().sum(axis=0).astype(x.dtype), x)


def _over_places(static: np.ndarray, x: jax.Array) -> np.ndarray:
    """`[M..]` with the axes that broadcast it over the batch and the channels of x."""
    return static.reshape((1,) * (x.ndim - 1 - static.ndim) + static.shape + (1,))


def _least(dtype: Any):
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
