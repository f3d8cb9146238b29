"""conv_general_dilated: lax's convolutions in canonical order, by the rule of `convolution`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.dtypes import canonicalize_dtype
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from . import _checks
from ._window import Window, ints, pairs
from .convolution import convolved
from .lowering import Correlation


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
    out_sharding: NamedSharding | PartitionSpec | None = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` with the hand-written gradient: a drop-in.

    Every argument means what it means there, `dimension_numbers` included; the operands are
    brought into the canonical order and the rule of `conv` does the rest. A `batch_group_count`
    of G is a `feature_group_count` of G once the G blocks of the batch are laid beside each other
    as channels.

    What the rule does not cover is handed to `jax.lax.conv_general_dilated` itself, and with it the
    gradient: integer and boolean operands, no spatial axis or more than three, and outputs without
    a place. Complex operands have the rule: as in `jax.vjp`, nothing is conjugated.

    Raises:
        TypeError: dtypes differ, or an option is not a static integer.
        ValueError: shapes do not fit each other.

    Reverse mode only, as `conv`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxcnn
        >>> x, w = jnp.ones((1, 1, 4, 4)), jnp.ones((1, 1, 3, 3))
        >>> jaxcnn.conv_general_dilated(x, w, (2, 2), "SAME").shape
        (1, 1, 2, 2)
    """
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    _checks.as_lax(lhs, rhs, padding)
    axes = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    strides = ints("window_strides", window_strides, axes)
    lhs_dilation = ints("lhs_dilation", lhs_dilation, axes)
    rhs_dilation = ints("rhs_dilation", rhs_dilation, axes)
    if isinstance(padding, str) and any(d != 1 for d in lhs_dilation):
        raise ValueError(
            f"padding is {padding!r} with lhs_dilation {lhs_dilation}: expected explicit (low, "
            "high) pairs, or jaxcnn.conv_transpose"
        )
    batch, feature, *space = numbers.lhs_spec
    n = tuple(lhs.shape[axis] for axis in space)
    out, inp, *taps = numbers.rhs_spec
    k = tuple(rhs.shape[axis] for axis in taps)
    padding = pairs(padding, n, k, strides, rhs_dilation)
    window = Window(strides, padding, lhs_dilation, rhs_dilation)
    if not _has_rule(lhs.dtype, window.output_shape(n, k)):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            out_sharding,
        )

    x = jnp.transpose(lhs, (batch, *space, feature))
    w = jnp.transpose(rhs, (*taps, inp, out))
    (groups,) = ints("feature_group_count", feature_group_count, 1)
    (batches,) = ints("batch_group_count", batch_group_count, 1)
    if batches > 1:
        if groups > 1:
            raise ValueError(
                f"batch_group_count is {batches} and feature_group_count is {groups}: "
                "expected at most one of them above 1"
            )
        if x.shape[0] % batches:
            raise ValueError(
                f"batch_group_count is {batches}: expected a divisor of lhs's batch {x.shape[0]}"
            )
        x = _batch_groups_as_channels(x, batches)
    _checks.groups(x.shape[-1], w, max(groups, batches), ("lhs", "rhs"))

    canonical = (numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1])
    to_user = [canonical.index(axis) for axis in range(len(canonical))]
    dtype = preferred_element_type
    c = Correlation(
        window,
        groups=max(groups, batches),
        precision=precision,
        dtype=None if dtype is None else canonicalize_dtype(dtype),
        sharding=_permuted_sharding(out_sharding, numbers.out_spec),
    )
    return jnp.transpose(convolved(x, w, None, c), to_user)


def _has_rule(dtype: Any, output: tuple[int, ...]) -> bool:
    return len(output) in (1, 2, 3) and jnp.issubdtype(dtype, jnp.inexact) and min(output) > 0


def _batch_groups_as_channels(x: jax.Array, groups: int):
    n, *space, c = x.shape
    x = x.reshape(groups, n // groups, *space, c)
    return jnp.moveaxis(x, 0, -2).reshape(n // groups, *space, groups * c)


def _permuted_sharding(sharding: NamedSharding | PartitionSpec | None, out_spec: Sequence[int]):
    if sharding is None:
        return None
    spec = sharding.spec if isinstance(sharding, NamedSharding) else sharding
    spec = tuple(spec) + (None,) * (len(out_spec) - len(spec))
    batch, feature, *space = out_spec
    canonical = PartitionSpec(*(spec[i] for i in (batch, *space, feature)))
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, canonical)
    return canonical
