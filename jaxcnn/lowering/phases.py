"""A dilated input without its zeros: the outputs at each distance modulo the dilation are a phase.

Output d * q + r sees x at q + t through tap d * t + low - r, where the kernel has one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._taps import Taps, pad

# XLA fuses so many pads of one array into one loop of vectors; more make the loop a slow one.
_PADS = 4


@dataclass(frozen=True)
class Phases(Taps):
    """The taps of a window over a dilated input, by the phases of its outputs."""

    @property
    def rows(self) -> tuple[int, ...]:
        """The places q of each phase."""
        return tuple(-(-m // d) for m, d in zip(self.m, self.window.lhs_dilation, strict=True))

    @property
    def first(self) -> list[int]:
        """The least t."""
        padding, dilation = self.window.padding, self.window.lhs_dilation
        return [-(low // d) for (low, _), d in zip(padding, dilation, strict=True)]

    def taps(self) -> list[np.ndarray]:
        """Of each axis `[T, R]`: the tap, or k where there is none."""
        found = []
        axes = zip(self.k, self.window.lhs_dilation, self.window.padding, self.first, strict=True)
        for k, d, (low, _), first in axes:
            t = np.arange(first, (k + d - 2 - low) // d + 1)
            tap = d * t[:, None] + low - np.arange(d)
            found.append(np.where((tap >= 0) & (tap < k), tap, k))
        return found

    @property
    def count(self) -> int:
        """How many t there are."""
        return math.prod(map(len, self.taps()))

    def kernel(self, w: jax.Array) -> jax.Array:
        """The kernel `[K.., C, O]` as `[T, R, .., C, O]`, 0 where there is no tap."""
        for axis, tap in enumerate(self.taps()):
            zero = jnp.zeros_like(w[(slice(None),) * 2 * axis + (slice(1),)])
            w = jnp.take(jnp.concatenate([w, zero], 2 * axis), tap, 2 * axis)
        return w

    def shifts(self, x: jax.Array) -> Iterator[tuple[tuple[int, ...], jax.Array, np.ndarray]]:
        """For each t that has a tap in some phase, what the phases see there of x `[N, S.., C]`.

        Yields:
            t, counted from the first; x there, `[N, Q, 1, .., C]`, places and phases in turn; and
            where it has a tap, `[1, 1, R, .., 1]`.
        """
        axes, taps, rows = len(self.k), self.taps(), self.rows
        first, n = self.first, self.n
        shifts = [len(tap) for tap in taps]
        if self.count > _PADS:
            ends = zip(first, rows, shifts, n, strict=True)
            x = pad(x, [(-t, row + t + more - 1 - ni) for t, row, more, ni in ends], 0)
            first, n = [0] * axes, x.shape[1:-1]
        for shift in np.ndindex(*shifts):
            mask = np.ones((1,) * (2 * axes + 2), bool)
            for axis, (tap, t, k) in enumerate(zip(taps, shift, self.k, strict=True)):
                within = (tap[t] < k).reshape(-1, *(1,) * (2 * (axes - axis) - 1))
                mask = mask & within
            if mask.any():
                low = [-(a + t) for a, t in zip(first, shift, strict=True)]
                both = [(a, row - ni - a) for a, row, ni in zip(low, rows, n, strict=True)]
                yield shift, jnp.expand_dims(pad(x, both, 0), range(2, 2 * axes + 1, 2)), mask

    def joined(self, y: jax.Array) -> jax.Array:
        """`[N, Q, R, .., O]` as `[N, M.., O]`."""
        full = [q * d for q, d in zip(self.rows, self.window.lhs_dilation, strict=True)]
        y = y.reshape(-1, *full, y.shape[-1])
        return y[(slice(None), *map(slice, self.m))]
