"""The layers of jaxcnn left to autodiff: the twin that every hand-written rule is compared with.

The names, signatures and conventions are those of the package, and no layer is imported, so
swapping the module swaps every gradient:

>>> import jax, jax.numpy as jnp, jaxcnn
>>> from jaxcnn import reference
>>> x = jnp.array([-1.0, 0.0, 2.0])
>>> by_rule, by_autodiff = (jax.grad(lambda x: layers.relu(x).sum())(x)
...                         for layers in (jaxcnn, reference))
>>> bool((by_rule == by_autodiff).all())
True

It is also what to use where `jax.jvp(f)` is wanted, which no `jax.custom_vjp` can give.

Every function is what one would write with lax, and where lax has no gradient (a dilated max-pool)
or another convention (how ties are shared), an evident formulation on stacked windows. Options are
checked lightly, by whatever lax says of them. Autodiff departs from the package in four places,
all of them values at which the layer has no derivative:

- `max_pool`, a NaN in a window: the gradient goes to another element of the window, or becomes NaN.
- `max_pool` with padding, a window whose every element is -inf: the padding takes the gradient.
- `max_pool` with ties="all", an infinite maximum: no gradient.
- `softmax_cross_entropy`, a zero label on a logit of -inf: the label's gradient is 0.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

Padding = Literal["SAME", "SAME_LOWER", "VALID"] | int | Sequence[tuple[int, int]]
TransposedPadding = Literal["SAME", "VALID"] | int | Sequence[tuple[int, int]]
Ties = Literal["first", "all", "split"]

_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def _per_axis(value: int | Sequence[int] | None, n: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * n
    if isinstance(value, int | np.integer):
        return (int(value),) * n
    return tuple(int(v) for v in value)


def _pairs(
    padding: str | int | Sequence[tuple[int, int]],
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """The (low, high) padding of every spatial axis."""
    if isinstance(padding, str):
        extents = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        return [(int(a), int(b)) for a, b in lax.padtype_to_pads(sizes, extents, strides, padding)]
    if isinstance(padding, int | np.integer):
        return [(int(padding), int(padding))] * len(sizes)
    return [(int(low), int(high)) for low, high in padding]


def _one_batch_axis(x: jax.Array, spatial: int) -> tuple[jax.Array, tuple[int, ...]]:
    batch = x.shape[: x.ndim - spatial - 1]
    return (x if len(batch) == 1 else x.reshape(math.prod(batch), *x.shape[len(batch) :])), batch


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
    activation: Literal["relu"] | None = None,
) -> jax.Array:
    """`lax.conv_general_dilated` and a bias, as `jaxcnn.conv`."""
    x, w = jnp.asarray(x), jnp.asarray(w)
    n = w.ndim - 2
    strides, dilation = _per_axis(strides, n), _per_axis(kernel_dilation, n)
    pads = _pairs(padding, x.shape[-n - 1 : -1], w.shape[:n], strides, dilation)
    x, batch = _one_batch_axis(x, n)
    y = lax.conv_general_dilated(
        x,
        w,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{_SPATIAL[n]}C", f"{_SPATIAL[n]}IO", f"N{_SPATIAL[n]}C"),
        feature_group_count=feature_group_count,
        precision=precision,
    )
    y = y if b is None else _plus_bias(y, b)
    y = y if activation is None else jax.nn.relu(y)
    return y if len(batch) == 1 else y.reshape(batch + y.shape[1:])


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
    activation: Literal["relu"] | None = None,
) -> jax.Array:
    """`lax.conv_transpose` of each group of channels, and a bias, as `jaxcnn.conv_transpose`."""
    x, w = jnp.asarray(x), jnp.asarray(w)
    n = w.ndim - 2
    x, batch = _one_batch_axis(x, n)

    def transposed(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_transpose(
            x,
            w,
            _per_axis(strides, n),
            padding if isinstance(padding, str) else _pairs(padding, w.shape[:n], (), (), ()),
            rhs_dilation=_per_axis(kernel_dilation, n),
            dimension_numbers=(f"N{_SPATIAL[n]}C", f"{_SPATIAL[n]}IO", f"N{_SPATIAL[n]}C"),
            transpose_kernel=transpose_kernel,
            precision=precision,
        )

    groups = [jnp.split(a, feature_group_count, -1) for a in (x, w)]
    y = jnp.concatenate([transposed(*pair) for pair in zip(*groups, strict=True)], -1)
    y = y if b is None else _plus_bias(y, b)
    y = y if activation is None else jax.nn.relu(y)
    return y if len(batch) == 1 else y.reshape(batch + y.shape[1:])


def _plus_bias(y: jax.Array, b: ArrayLike) -> jax.Array:
    return y + jnp.asarray(b).reshape((1,) * (y.ndim - 1) + (-1,))


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type=None,
    out_sharding=None,
) -> jax.Array:
    """`lax.conv_general_dilated` itself."""
    return lax.conv_general_dilated(
        jnp.asarray(lhs),
        jnp.asarray(rhs),
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )


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
    window, strides = tuple(window_shape), _per_axis(strides, n)
    dilation = _per_axis(window_dilation, n)
    pads = _pairs(padding, x.shape[-n - 1 : -1], window, strides, dilation)
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


def _stacked_windows(x, fill, window, strides, pads, dilation) -> jax.Array:
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
    window, strides = tuple(window_shape), _per_axis(strides, n)
    pads = _pairs(padding, x.shape[-n - 1 : -1], window, strides, (1,) * n)

    def window_sum(x):
        return _reduce_window(x, np.array(0, x.dtype), lax.add, window, strides, pads)

    if count_include_pad:
        return window_sum(x) / math.prod(window)
    count = window_sum(jnp.ones((*x.shape[-n - 1 : -1], 1), x.dtype))
    return window_sum(x) / count.reshape((1,) * (x.ndim - n - 1) + count.shape)


def _reduce_window(x, initial, reducer, window, strides, pads) -> jax.Array:
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


def relu(x: ArrayLike) -> jax.Array:
    """`jax.nn.relu`: the derivative at 0 is 0."""
    return jax.nn.relu(jnp.asarray(x))


def softmax(x: ArrayLike, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """exp(x - max) over its sum, as `jaxcnn.softmax`."""
    x = jnp.asarray(x)
    e = jnp.exp(x - lax.stop_gradient(x.max(axis, keepdims=True, initial=-jnp.inf)))
    return e / e.sum(axis, keepdims=True)


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    activation: Literal["relu"] | None = None,
) -> jax.Array:
    """`x @ w + b`, as `jaxcnn.dense`."""
    y = jnp.matmul(jnp.asarray(x), jnp.asarray(w))
    y = y if b is None else _plus_bias(y, b)
    return y if activation is None else jax.nn.relu(y)


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


def _mask(where: ArrayLike | None, logits: jax.Array, axis) -> jax.Array:
    if where is None:
        return jnp.ones(logits.shape, bool)
    where = jnp.asarray(where, bool)
    if where.ndim != logits.ndim:
        where = jnp.expand_dims(where, axis)
    return jnp.broadcast_to(where, logits.shape)


def _log_sum_exp(z: jax.Array, axis, mask: jax.Array) -> jax.Array:
    """Over the unmasked classes, axes kept; 0 where all are masked."""
    some = mask.any(axis, keepdims=True)
    z = jnp.where(mask, z, -jnp.inf)
    z = jnp.where(some, z, 0)
    maximum = lax.stop_gradient(z.max(axis, keepdims=True, initial=-jnp.inf))
    sums = jnp.exp(z - maximum).sum(axis, keepdims=True)
    return jnp.where(some, maximum + jnp.log(sums), 0)
