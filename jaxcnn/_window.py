"""Integers only: strides, paddings, output sizes, and the windows of the two backward passes.

Along one spatial axis a window of `k` taps, `rhs_dilation` apart, slides with `strides` over an
input of `n` elements, `lhs_dilation` apart, between `padding = (low, high)` zeros. With the span
of `n` elements `d` apart, span(n, d) = (n - 1) d + 1, the output has

    m = (low + span(n, lhs_dilation) + high - span(k, rhs_dilation)) // strides + 1

elements.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Pairs = tuple[tuple[int, int], ...]
Padding = Literal["SAME", "SAME_LOWER", "VALID"] | int | Sequence[tuple[int, int]]
TransposedPadding = Literal["SAME", "VALID"] | int | Sequence[tuple[int, int]]


def span(n: int, dilation: int) -> int:
    """The cells that `n` elements, `dilation` apart, reach over; 0 for no elements."""
    return (n - 1) * dilation + 1 if n else 0


@dataclass(frozen=True)
class Window:
    """How a kernel slides over an input; hashable, one entry per spatial axis."""

    strides: tuple[int, ...]
    padding: Pairs
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]

    def output_shape(self, n: Sequence[int], k: Sequence[int]) -> tuple[int, ...]:
        """The output's spatial shape for an input of shape `n` and a kernel of shape `k`."""
        return tuple(
            (low + span(ni, ld) + high - span(ki, rd)) // s + 1
            for ni, ki, s, (low, high), ld, rd in self._axes(n, k)
        )

    def of_dx(self, n: Sequence[int], k: Sequence[int]) -> "Window":
        """The window of the full-padded convolution that gives dx from g.

        The strides of the forward pass dilate g, its dilation of the input becomes the stride, and
        each side is padded by the kernel's span minus one less the forward padding.
        """
        padding = []
        for ni, mi, ki, s, (low, _), ld, rd in self._axes(n, self.output_shape(n, k), k):
            before = span(ki, rd) - 1 - low
            padding.append((before, span(ni, ld) + span(ki, rd) - 1 - span(mi, s) - before))
        return Window(self.lhs_dilation, tuple(padding), self.strides, self.rhs_dilation)

    def of_dw(self, n: Sequence[int], k: Sequence[int]) -> "Window":
        """The window of the convolution of x with g that gives dw.

        g is the kernel there: the strides dilate it, and the dilation of w becomes the stride.
        """
        padding = []
        for ni, mi, ki, s, (low, _), ld, rd in self._axes(n, self.output_shape(n, k), k):
            padding.append((low, span(mi, s) + span(ki, rd) - 1 - span(ni, ld) - low))
        return Window(self.rhs_dilation, tuple(padding), self.lhs_dilation, self.strides)

    def _axes(self, *shapes: Sequence[int]):
        rows = (*shapes, self.strides, self.padding, self.lhs_dilation, self.rhs_dilation)
        return zip(*rows, strict=True)


def ints(
    name: str, value: int | Sequence[int] | None, axes: int, least: int = 1
) -> tuple[int, ...]:
    """`value` as one int per spatial axis; an int counts for every axis, None is 1."""
    expected = f"expected an int or a sequence of {axes}, each at least {least}"
    if value is None:
        return (1,) * axes
    try:
        values = (operator.index(value),) * axes  # pyright: ignore[reportArgumentType]
    except TypeError:
        try:
            values = tuple(operator.index(v) for v in value)  # pyright: ignore[reportGeneralTypeIssues]
        except TypeError:
            raise TypeError(
                f"{name} must be static integers: {expected}, got {value!r}; "
                "inside jit, mark it static or close over it"
            ) from None
    if len(values) != axes:
        raise ValueError(f"{name} has {len(values)} entries for {axes} spatial axes: {expected}")
    if any(v < least for v in values):
        raise ValueError(f"{name} is {value!r}: {expected}")
    return values


def pairs(
    padding: str | int | Sequence[tuple[int, int]],
    n: Sequence[int],
    k: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Pairs:
    """`padding` as one (low, high) pair per spatial axis.

    "SAME" keeps ceil(n / stride) outputs with the odd cell after the input, "SAME_LOWER" with it
    before, "VALID" pads nothing; an int pads both sides of every axis.
    """
    allowed = '"SAME", "SAME_LOWER", "VALID", an int, or a (low, high) pair for each spatial axis'
    if isinstance(padding, str):
        name = padding.upper()
        if name == "VALID":
            return ((0, 0),) * len(n)
        if name not in ("SAME", "SAME_LOWER"):
            raise ValueError(f"padding is {padding!r}: expected {allowed}")
        both = []
        for ni, ki, s, d in zip(n, k, strides, dilation, strict=True):
            total = max((-(-ni // s) - 1) * s + span(ki, d) - ni, 0)
            small, large = total // 2, total - total // 2
            both.append((small, large) if name == "SAME" else (large, small))
        return tuple(both)
    return explicit_pairs(padding, len(n), allowed)


def explicit_pairs(padding: int | Sequence[tuple[int, int]], axes: int, allowed: str) -> Pairs:
    """`padding`, an int or a sequence of pairs, as one (low, high) pair per spatial axis."""
    try:
        p = operator.index(padding)  # pyright: ignore[reportArgumentType]
        return ((p, p),) * axes
    except TypeError:
        pass
    try:
        result = tuple(
            (operator.index(low), operator.index(high))
            for low, high in padding  # pyright: ignore[reportGeneralTypeIssues]
        )
    except (TypeError, ValueError):
        raise TypeError(f"padding is {padding!r}: expected {allowed}") from None
    if len(result) != axes:
        raise ValueError(
            f"padding has {len(result)} pairs for {axes} spatial axes: expected {allowed}"
        )
    return result


def transposed_pairs(
    padding: TransposedPadding, k: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Pairs:
    """The padding of the stride-dilated input of a transposed convolution, as lax has it.

    "SAME" gives `n * stride` outputs and "VALID" `n * stride + max(span - stride, 0)`; numbers
    are taken as they are, as the padding of the dilated input.
    """
    allowed = '"SAME", "VALID", an int, or a (low, high) pair for each spatial axis'
    if not isinstance(padding, str):
        return explicit_pairs(padding, len(k), allowed)
    name = padding.upper()
    if name not in ("SAME", "VALID"):
        raise ValueError(f"padding is {padding!r}: expected {allowed}")
    result = []
    for ki, s, d in zip(k, strides, dilation, strict=True):
        reach = span(ki, d)
        if name == "SAME":
            total = reach + s - 2
            low = reach - 1 if s > reach - 1 else -(-total // 2)
        else:
            total = reach + s - 2 + max(reach - s, 0)
            low = reach - 1
        result.append((low, total - low))
    return tuple(result)
