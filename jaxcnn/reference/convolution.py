"""The convolutions of lax, and a bias."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .linear import plus_bias
from .windows import Padding, TransposedPadding, pairs, per_axis

_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


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
    strides, dilation = per_axis(strides, n), per_axis(kernel_dilation, n)
    pads = pairs(padding, x.shape[-n - 1 : -1], w.shape[:n], strides, dilation)
    x, batch = one_batch_axis(x, n)
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
    y = y if b is None else plus_bias(y, b)
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
    x, batch = one_batch_axis(x, n)

    def transposed(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_transpose(
            x,
            w,
            per_axis(strides, n),
            padding if isinstance(padding, str) else pairs(padding, w.shape[:n], (), (), ()),
            rhs_dilation=per_axis(kernel_dilation, n),
            dimension_numbers=(f"N{_SPATIAL[n]}C", f"{_SPATIAL[n]}IO", f"N{_SPATIAL[n]}C"),
            transpose_kernel=transpose_kernel,
            precision=precision,
        )

    groups = [jnp.split(a, feature_group_count, -1) for a in (x, w)]
    y = jnp.concatenate([transposed(*pair) for pair in zip(*groups, strict=True)], -1)
    y = y if b is None else plus_bias(y, b)
    y = y if activation is None else jax.nn.relu(y)
    return y if len(batch) == 1 else y.reshape(batch + y.shape[1:])


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
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


def one_batch_axis(x: jax.Array, spatial: int) -> tuple[jax.Array, tuple[int, ...]]:
    batch = x.shape[: x.ndim - spatial - 1]
    return (x if len(batch) == 1 else x.reshape(math.prod(batch), *x.shape[len(batch) :])), batch
