"""The taps of a pooling window: gathered from an input, and scattered back to it.

A tap is one place `a` of the window; tap a of output place i lies at i * strides + a *
rhs_dilation - low in the input. Both directions are plain slices, pads and sums: XLA vectorises
them, where reduce-window and above all select-and-scatter run element by element on CPU.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._cotangent import explicit_sharding
from ._window import Window, span


@dataclass(frozen=True)
class Taps:
    """A window of shape `k` over an input of spatial shape `n`; the channels come last."""

    window: Window
    k: tuple[int, ...]
    n: tuple[int, ...]

    @property
    def m(self) -> tuple[int, ...]:
        """The output's spatial shape."""
        return self.window.output_shape(self.n, self.k)

    def __len__(self) -> int:
        """How many places the window has."""
        return math.prod(self.k)

    def places(self) -> Iterator[tuple[int, ...]]:
        """Every place of the window, in row-major order."""
        return itertools.product(*map(range, self.k))

    def real(self) -> np.ndarray:
        """`[taps, M..]`: whether a tap of an output place lies in the input, not in the padding."""
        result = np.ones((1, *(1 for _ in self.k)), bool)
        axes = zip(self.n, self.m, self.k, self.window.strides, strict=True)
        for axis, (n, m, k, s) in enumerate(axes):
            low, d = self.window.padding[axis][0], self.window.rhs_dilation[axis]
            place = np.arange(m)[None] * s + np.arange(k)[:, None] * d - low
            shape = [1] * len(self.k)
            shape[axis] = m
            inside = ((place >= 0) & (place < n)).reshape(1, k, *shape)
            result = (result[:, None] & inside).reshape(
                -1, *np.broadcast_shapes(result.shape[1:], shape)
            )
        return result


def gather(x: jax.Array, taps: Taps, fill: float) -> Iterator[jax.Array]:
    """Tap by tap what the output places see, `[N.., M.., C]`; `fill` in the padding."""
    window, first = taps.window, x.ndim - 1 - len(taps.k)
    reach = [
        (low, span(m, s) + span(k, d) - 1 - low - n)
        for m, n, k, s, d, (low, _) in zip(
            taps.m, taps.n, taps.k, window.strides, window.rhs_dilation, window.padding, strict=True
        )
    ]
    x = pad(x, reach, fill)
    for place in taps.places():
        start = [a * d for a, d in zip(place, window.rhs_dilation, strict=True)]
        stop = [a + span(m, s) for a, m, s in zip(start, taps.m, window.strides, strict=True)]
        lead = x.shape[:first]
        yield lax.slice(
            x,
            (*(0 for _ in lead), *start, 0),
            (*lead, *stop, x.shape[-1]),
            (*(1 for _ in lead), *window.strides, 1),
        )


def seen(x: jax.Array, taps: Taps, place: Sequence[int]) -> jax.Array:
    """One tap of `gather` where the channels come first: `[.., M..]` of `[.., S..]`, 0 in padding.

    By a pad of its own: XLA fuses it with what takes the tap, where it would copy a padded input.
    """
    window, lead = taps.window, x.ndim - len(taps.k)
    sides, steps = [(0, 0, 0)] * lead, [1] * lead
    for a, d, s, m, n, (low, _) in zip(
        place, window.rhs_dilation, window.strides, taps.m, taps.n, window.padding, strict=True
    ):
        before = low - a * d
        sides.append((before, span(m, s) - n - before, 0))
        steps.append(s)
    x = lax.pad(x, jnp.zeros((), x.dtype), sides)
    return lax.slice(x, (0,) * x.ndim, x.shape, steps)


def better(tap: jax.Array, y: jax.Array) -> jax.Array:
    """Where a tap beats the best before it: the first of equals wins, and the first NaN."""
    return (tap > y) | (jnp.isnan(tap) & ~jnp.isnan(y))


def reduced_maximum(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The maximum over every window, not dilated."""
    return _reduce_window(
        pad(x, taps.window.padding, least), taps, taps.window.strides, lax.max, least
    )


def window_sum(x: jax.Array, taps: Taps) -> jax.Array:
    """The sum over every window."""
    return _reduce_window(pad(x, taps.window.padding, 0), taps, taps.window.strides, lax.add, 0)


def scatter_equal(share: jax.Array, taps: Taps) -> jax.Array:
    """`scatter` where every tap's share is the same: a sum over windows of the dilated share."""
    window = taps.window.of_dx(taps.n, taps.k)
    share = pad(share, window.padding, 0, [d - 1 for d in window.lhs_dilation])
    return _reduce_window(share, taps, (1,) * len(taps.k), lax.add, 0)


def _reduce_window(x: jax.Array, taps: Taps, strides: Sequence[int], combine: Any, start: float):
    lead = (1,) * (x.ndim - 1 - len(taps.k))
    window, steps = (*lead, *taps.k, 1), (*lead, *strides, 1)
    return lax.reduce_window(x, np.array(start, x.dtype), combine, window, steps, "VALID")


def scatter(shares: Sequence[jax.Array], taps: Taps) -> jax.Array:
    """The sum of every tap's share at the place it was gathered from, `[N.., S.., C]`.

    Input places that differ by a multiple of the stride form a phase; each phase is one sum of
    shifted shares, and the phases are interleaved at the end.
    """
    window = taps.window
    strides = window.strides
    rows = [
        max(m + (k - 1) * d // s, -(-(low + n) // s))
        for m, n, k, s, d, (low, _) in zip(
            taps.m, taps.n, taps.k, strides, window.rhs_dilation, window.padding, strict=True
        )
    ]
    phases: dict[tuple[int, ...], jax.Array] = {}
    for place, share in zip(taps.places(), shares, strict=True):
        offset = [a * d for a, d in zip(place, window.rhs_dilation, strict=True)]
        phase = tuple(o % s for o, s in zip(offset, strides, strict=True))
        before = [o // s for o, s in zip(offset, strides, strict=True)]
        after = [r - m - q for r, m, q in zip(rows, taps.m, before, strict=True)]
        shifted = pad(share, list(zip(before, after, strict=True)), 0)
        phases[phase] = phases[phase] + shifted if phase in phases else shifted

    full = interleave(phases, strides)
    crop = [
        (-low, low + n - r * s)
        for n, r, s, (low, _) in zip(taps.n, rows, strides, window.padding, strict=True)
    ]
    return pad(full, crop, 0)


def interleave(phases: dict[tuple[int, ...], jax.Array], strides: Sequence[int]) -> jax.Array:
    """Spatial element r of phase p at place r * strides + p; a phase that is left out is 0."""
    empty = jnp.zeros_like(next(iter(phases.values())))
    sharding = explicit_sharding(empty)
    axes = len(strides)

    def joined(phase: tuple[int, ...]) -> jax.Array:
        axis = len(phase)
        if axis == axes:
            return phases.get(phase, empty)
        if strides[axis] == 1:
            return joined((*phase, 0))
        parts = [joined((*phase, r)) for r in range(strides[axis])]
        at = empty.ndim - 1 - axes + axis
        shape = list(parts[0].shape)
        shape[at] *= strides[axis]
        return lax.reshape(jnp.stack(parts, at + 1), shape, out_sharding=sharding)

    return joined(())


def pad(
    x: jax.Array,
    both: Sequence[tuple[int, int]],
    fill: float,
    interior: Sequence[int] | None = None,
) -> jax.Array:
    """Pads, or with a negative number crops, the spatial axes, which stand before the channels."""
    inside = interior or (0,) * len(both)
    if not any(low or high or i for (low, high), i in zip(both, inside, strict=True)):
        return x
    space = [(low, high, i) for (low, high), i in zip(both, inside, strict=True)]
    config = [(0, 0, 0)] * (x.ndim - 1 - len(both)) + space + [(0, 0, 0)]
    return lax.pad(x, np.array(fill, x.dtype), config)
