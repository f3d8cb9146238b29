"""What the layers refuse, each refusal worded once: the argument, what it was, what is allowed.

Every array has been through `jnp.asarray` before it comes here, so its dtype is JAX's own.
"""

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ._window import Window, ints


def one_dtype(function: str, **operands: jax.Array | None) -> None:
    """All operands have one dtype, floating or complex; None is an operand left out."""
    dtypes = {name: v.dtype for name, v in operands.items() if v is not None}
    if len(set(dtypes.values())) > 1 or not all(
        jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes.values()
    ):
        given = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(
            f"{function} expects one floating or complex dtype for all operands, got {given}"
        )


def as_lax(lhs: jax.Array, rhs: jax.Array, padding: Sequence[tuple[int, int]] | str) -> None:
    """What `lax.conv_general_dilated` refuses as well, in its words: ranks, dtypes, paddings."""
    function = "conv_general_dilated"
    if lhs.ndim != rhs.ndim:
        raise ValueError(
            f"{function} lhs and rhs must have the same number of dimensions, got lhs {lhs.shape}, "
            f"rhs {rhs.shape}"
        )
    if lhs.dtype != rhs.dtype:
        raise TypeError(
            f"{function} requires arguments to have the same dtypes, got lhs {lhs.dtype}, "
            f"rhs {rhs.dtype}"
        )
    if not isinstance(padding, str):
        try:
            tuple((operator.index(low), operator.index(high)) for low, high in padding)
        except (TypeError, ValueError):
            raise ValueError(
                f"padding argument to {function} should be a string or a sequence of (low, high) "
                f"pairs, got {padding!r}"
            ) from None


def floating(function: str, name: str, x: jax.Array) -> None:
    """The array called `name` is real and floating."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{function} expects real floating {name}, got {x.dtype}")


def ordered(function: str, name: str, x: jax.Array) -> None:
    """The array called `name` holds numbers of which one is the largest."""
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise TypeError(f"{function} expects real floating or integer {name}, got {x.dtype}")


def kernel(function: str, x: jax.Array, w: jax.Array) -> int:
    """The number of spatial axes of the kernel w, which x has too, beside its channels."""
    axes = w.ndim - 2
    if axes not in (1, 2, 3):
        raise ValueError(
            f"w has shape {w.shape}: {function} expects a kernel of one to three spatial axes "
            "and two channel axes"
        )
    if x.ndim < axes + 1:
        raise ValueError(
            f"x has shape {x.shape}: {function} expects {axes} spatial axes, as w of shape "
            f"{w.shape} has, beside batch and channels"
        )
    return axes


def groups(channels: int, w: jax.Array, count: int, names: tuple[str, str] = ("x", "w")) -> int:
    """`feature_group_count` as an int that divides the channels, which w `[K.., I, O]` takes."""
    (count,) = ints("feature_group_count", count, 1)
    taken, out = w.shape[-2:]
    if channels % count or out % count:
        raise ValueError(
            f"feature_group_count is {count}: expected a divisor of the {channels} channels of "
            f"{names[0]} and of the {out} output channels of {names[1]}"
        )
    if taken * count != channels:
        raise ValueError(
            f"{names[1]} takes {taken} input channels per group, {names[0]} has {channels} "
            f"channels and feature_group_count is {count}: expected {channels // count}"
        )
    return count


def transposed_groups(w: jax.Array, count: int) -> None:
    """A transposed kernel `[K.., Cout / count, Cin]` has its input channels in whole groups."""
    if w.shape[-1] % count:
        raise ValueError(
            f"feature_group_count is {count}: expected a divisor of the {w.shape[-1]} input "
            f"channels of the transposed w of shape {w.shape}"
        )


def bias(b: jax.Array | None, channels: int) -> None:
    """There is one bias for each output channel, if any."""
    if b is not None and b.shape != (channels,):
        raise ValueError(
            f"b has shape {b.shape}: expected ({channels},), one for each output channel"
        )


def output(
    m: Sequence[int], n: Sequence[int], k: Sequence[int], window: Window, name: str = "kernel"
) -> None:
    """The output `m` of a kernel, or window, of shape `k` over a spatial input `n` is not empty."""
    if min(m) < 1:
        raise ValueError(
            f"the output would be empty, {tuple(m)}: spatial input {tuple(n)}, {name} {tuple(k)}, "
            f"{window}; expected a padded input at least as large as the dilated {name}"
        )


def pooled(function: str, x: jax.Array, window_shape: Sequence[int]) -> int:
    """The number of spatial axes of a pooling window, which x has too, beside its channels."""
    try:
        axes = len(window_shape)
    except TypeError:
        raise TypeError(
            f"window_shape is {window_shape!r}: expected a sequence, one int per spatial axis"
        ) from None
    if axes not in (1, 2, 3):
        raise ValueError(f"window_shape is {window_shape!r}: expected one to three spatial axes")
    if x.ndim < axes + 1:
        raise ValueError(
            f"x has shape {x.shape}: {function} over window_shape {tuple(window_shape)} expects "
            f"{axes} spatial axes and channels"
        )
    return axes


def seen(real: np.ndarray, n: Sequence[int], k: Sequence[int], window: Window) -> None:
    """Every window sees the input: `real` `[taps, M..]` says which taps lie in it."""
    if not real.any(axis=0).all():
        raise ValueError(
            f"padding {window.padding} leaves a window of shape {tuple(k)} wholly in the padding "
            f"of spatial input {tuple(n)}: expected less than the dilated window on each side"
        )


def axes_of(x: jax.Array, axis: int | tuple[int, ...], name: str = "x") -> tuple[int, ...]:
    """`axis` as a tuple of non-negative ints, each an axis of the array called `name`."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes or any(not -x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"axis is {axis!r}: {name} has shape {x.shape}")
    result = tuple(a % x.ndim for a in axes)
    if len(set(result)) < len(result):
        raise ValueError(f"axis is {axis!r}: it names an axis of {name} twice")
    return result


def distribution(labels: jax.Array, logits: jax.Array) -> None:
    """The labels weigh every class of the logits."""
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels have shape {labels.shape}: expected the shape of logits, {logits.shape}"
        )
    if jnp.issubdtype(labels.dtype, jnp.complexfloating):
        raise TypeError(f"labels have dtype {labels.dtype}: expected real numbers")


def integer_labels(labels: jax.Array, logits: jax.Array, axes: tuple[int, ...]) -> None:
    """The labels are integers, one for each example of the logits, whose classes are `axes`."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels have dtype {labels.dtype}: expected integers; for a distribution over the "
            "classes use softmax_cross_entropy"
        )
    shape = tuple(n for a, n in enumerate(logits.shape) if a not in axes)
    if labels.shape != shape:
        raise ValueError(
            f"labels have shape {labels.shape}: expected {shape}, the shape {logits.shape} of "
            f"logits without the class axes {axes}"
        )


def mask(where: jax.Array, logits: jax.Array) -> None:
    """The mask is a scalar, or has the axes of the logits and broadcasts to them."""
    try:
        fits = jnp.broadcast_shapes(where.shape, logits.shape) == logits.shape
    except ValueError:
        fits = False
    if not fits or where.ndim not in (0, logits.ndim):
        raise ValueError(
            f"where has shape {where.shape}: expected one that broadcasts to that of logits, "
            f"{logits.shape}"
        )


def activation(function: str, name: str | None, x: jax.Array) -> None:
    """The activation is one that the layers have, and x is real where it compares."""
    if name not in (None, "relu"):
        raise ValueError(f'activation is {name!r}: {function} expects None or "relu"')
    if name is not None and not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"activation is {name!r} and x {x.dtype}: relu expects real floating numbers"
        )
