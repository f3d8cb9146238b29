"""Strides, dilations and paddings as lax takes them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jax import lax

Padding = Literal["SAME", "SAME_LOWER", "VALID"] | int | Sequence[tuple[int, int]]
TransposedPadding = Literal["SAME", "VALID"] | int | Sequence[tuple[int, int]]


def per_axis(value: int | Sequence[int] | None, n: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * n
    if isinstance(value, int | np.integer):
        return (int(value),) * n
    return tuple(int(v) for v in value)


def pairs(
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
