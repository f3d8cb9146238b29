"""Pools by reduce-window, or on stacked windows where lax has no gradient of it."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .windows import Padding, pairs, per_axis

Ties = Literal["first", "all", "split"]


def max_pool(
    x: ArrayLike,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: int | Sequence[int] | None = None,
    ties: Ties = "first",
) -> jax.Array:
    """The maximum of every window, as `jaxcnn.max_pool`.

    ties="first" is `lax.reduce_window`, or, for a dilated window, a gather at the argmax of stacked
    windows. ties="split" is `jnp.max`, whose derivative shares equally. ties="all" is the
    derivative of no function: the sum of the tied elements lends its gradient to the maximum.
    """
    x = jnp.asarray(x)
    n = len(window_shape)
    window, strides = tuple(window_shape), per_axis(strides, n)
    dilation = per_axis(window_dilation, n)
    pads = pairs(padding, x.shape[-n - 1 : -1], window, strides, dilation)
    if jnp.issubdtype(x.dtype, jnp.floating):
        least = np.array(-np.inf, x.dtype)
    else:
        least = np.array(jnp.iinfo(x.dtype).min, x.dtype)
    if ties == "first" and set(dilation) == {1}:
        return _reduce_window(x, least, lax.max, window, strides, pads)
    windows = _stacked_windows(x, least, window, strides, pads, dilation)
    if ties == "split":
        return windows.max(-1)
    if ties == "first":
        inside = _stacked_windows(
            jnp.ones((*x.shape[-n - 1 : -1], 1), bool), False, window, strides, pads, dilation
        )
        # argmax takes the first NaN, else the first maximum; a window of -inf its first element.
        best = jnp.where(windows.max(-1) == least, inside.argmax(-1), windows.argmax(-1))
        return jnp.take_along_axis(windows, best[..., None], -1)[..., 0]
    if ties == "all":
        maximum = lax.stop_gradient(windows.max(-1))
        tied = jnp.where(windows == maximum[..., None], windows, 0).sum(-1)
        return maximum + jnp.where(jnp.isfinite(tied), tied - lax.stop_gradient(tied), 0)
    raise ValueError(f"ties must be 'first', 'all' or 'split', got {ties!r}")


def _stacked_windows(
    x: jax.Array,
    fill: Any,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    pads: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
) -> jax.Array:
    """[N.., S.., C] -> [N.., S'.., C, K]: the elements of every window in row-major order."""
    n, leading = len(window), x.ndim - len(window) - 1
    no = [(0, 0, 0)]
    x = lax.pad(
        x, jnp.asarray(fill, x.dtype), no * leading + [(low, high, 0) for low, high in pads] + no
    )
    for i in range(n):  # the axis S_i becomes two, S'_i and K_i
        axis = leading + 2 * i
        extent = (window[i] - 1) * dilation[i] + 1
        starts = np.arange(0, x.shape[axis] - extent + 1, strides[i])
        x = jnp.take(x, starts[:, None] + dilation[i] * np.arange(window[i]), axis)
    x = jnp.moveaxis(
        x, range(leading + 1, leading + 2 * n, 2), range(x.ndim - n, x.ndim)
    )  # [N.., S'.., C, K..]
    return x.reshape(*x.shape[: x.ndim - n], math.prod(window))


def avg_pool(
    x: ArrayLike,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """The sum of `lax.reduce_window` over the number of elements, as `jaxcnn.avg_pool`."""
    x = jnp.asarray(x)
    n = len(window_shape)
    window, strides = tuple(window_shape), per_axis(strides, n)
    pads = pairs(padding, x.shape[-n - 1 : -1], window, strides, (1,) * n)

    def window_sum(x: jax.Array):
        return _reduce_window(x, np.array(0, x.dtype), lax.add, window, strides, pads)

    if count_include_pad:
        return window_sum(x) / math.prod(window)
    count = window_sum(jnp.ones((*x.shape[-n - 1 : -1], 1), x.dtype))
    return window_sum(x) / count.reshape((1,) * (x.ndim - n - 1) + count.shape)


def _reduce_window(
    x: jax.Array,
    initial: Any,
    reducer: Any,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    pads: Sequence[tuple[int, int]],
) -> jax.Array:
    # lax has no gradient of a maximum over negative padding: what it crops is cut off here.
    leading = [(0, 0)] * (x.ndim - len(window) - 1)
    both = [*leading, *pads, (0, 0)]
    x = lax.slice(
        x,
        [max(-low, 0) for low, _ in both],
        [size - max(-high, 0) for size, (_, high) in zip(x.shape, both, strict=True)],
    )
    ones = (1,) * len(leading)
    return lax.reduce_window(
        x,
        initial,
        reducer,
        (*ones, *window, 1),
        (*ones, *strides, 1),
        [(max(low, 0), max(high, 0)) for low, high in both],
    )
