"""Central differences, with an error estimate, and one-sided ones, which tell a kink from an error.

With g the cotangent and d a displacement of one leaf, the product <gradient, d> is compared with

    D(d) = sum of g * (f(x + d) - f(x - d)) / 2

D is taken at d and at d/2: their distance estimates the truncation, and the outputs that moved, at
the precision in which they are computed, the rounding. At a kink the two one-sided differences
disagree by as much at d/2 as at d, where those of a smooth function come four times closer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Estimates are within a small factor of the error: wrong rules are off by many orders more.
_SAFETY = 10.0
_DIRECTIONS = 2


@dataclass(frozen=True)
class Slope:
    """A difference along one displacement: its value, its error, and the range at a kink."""

    value: float
    error: float
    low: float
    high: float
    kink: bool

    def misfit(self, predicted: float) -> float:
        """How far `predicted` lies from the value, or at a kink from the one-sided slopes."""
        if self.kink:
            return max(self.low - predicted, predicted - self.high, 0.0)
        return abs(predicted - self.value)


@dataclass(frozen=True)
class Sample:
    """A slope compared with the gradient: `index` of the element, None for a random direction."""

    index: tuple[int, ...] | None
    predicted: float
    slope: Slope
    size: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the gradient agrees with the difference, within its error.

        A direction that meets a kink says nothing: where several elements tie, a convention that is
        right in each of them may lie outside both one-sided slopes.
        """
        return self.across_a_kink or self.slope.misfit(self.predicted) <= self.tolerance

    @property
    def conclusive(self) -> bool:
        """Whether an error of a tenth of the leaf's scale would have been seen."""
        return not self.across_a_kink and self.tolerance <= 0.1 * self.size

    @property
    def across_a_kink(self) -> bool:
        """Whether this is a direction along which some output has a kink."""
        return self.index is None and self.slope.kink


class Differences:
    """Differences of sum(cotangents * f(leaves)) around fixed leaves."""

    def __init__(
        self,
        f: Callable[[list[np.ndarray]], list[np.ndarray]],
        leaves: list[np.ndarray],
        cotangents: list[np.ndarray],
        eps: float,
        resolution: float,
    ):
        """`eps` is the relative precision with which f computes, that of its dtype or coarser.

        A kink closer to the leaves than `resolution`, relative to their size, is at the leaves:
        rounding may have moved it.
        """
        self._f, self._leaves, self._eps, self._resolution = f, leaves, eps, resolution
        self._g = _flat(cotangents)
        self._base = self._evaluate(leaves)

    def _evaluate(self, leaves: list[np.ndarray]) -> np.ndarray:
        return _flat(self._f(leaves))

    def step(self, k: int) -> np.ndarray:
        """The displacement of every element of leaf k that balances truncation and rounding."""
        x = np.abs(self._leaves[k].astype(np.float64))
        typical = np.sqrt(np.mean(np.square(x))) or 1.0
        return self._eps ** (1 / 3) * np.maximum(x, typical)

    def along(self, k: int, d: np.ndarray) -> tuple[Slope, np.ndarray]:
        """The difference of leaf k along d, and the displacement that rounding made of it.

        Where the step leaves the domain or meets curvature, a smaller one is tried.
        """
        best = None
        for shrink in (1.0, 2.0**-4, 2.0**-8):
            slope, taken = self._along(k, d * shrink)
            slope, taken = _scaled(slope, 1 / shrink), taken / shrink
            if best is None or slope.error < best[0].error:
                best = slope, taken
            size = max(abs(slope.value), abs(slope.high), abs(slope.low))
            if slope.error <= np.sqrt(self._eps) * size or size == 0:
                break
        assert best is not None
        return best

    def _along(self, k: int, d: np.ndarray) -> tuple[Slope, np.ndarray]:
        x, g, base = self._leaves[k], self._g, self._base
        values, points = {}, {}
        for factor in (1.0, -1.0, 0.5, -0.5):
            points[factor] = (x + factor * d).astype(x.dtype)
            moved = [points[factor] if i == k else leaf for i, leaf in enumerate(self._leaves)]
            values[factor] = self._evaluate(moved)
        taken = points[0.5].astype(np.float64) - points[-0.5].astype(np.float64)
        if not all(np.isfinite(v).all() for v in values.values()):
            return Slope(np.nan, np.inf, np.nan, np.nan, False), taken
        up, down = values[1.0] - base, base - values[-1.0]
        half_up, half_down = values[0.5] - base, base - values[-0.5]
        moved = (up != 0) | (down != 0) | (half_up != 0) | (half_down != 0)
        noise = 4 * self._eps * np.abs(base) * moved
        value = float(np.sum(g * (half_up + half_down)))
        wide = float(np.sum(g * (up + down))) / 2
        error = abs(value - wide) + float(np.linalg.norm(g * noise))

        bend, wide_bend = np.abs(half_up - half_down), np.abs(up - down)
        kinked = (bend > 0.4 * wide_bend) & (bend > 0.01 * (np.abs(half_up) + np.abs(half_down)))
        kinked &= (bend > 4 * noise) & (g != 0)
        sides = np.where(kinked, 2 * g * half_up, g * (half_up + half_down))
        others = np.where(kinked, 2 * g * half_down, g * (half_up + half_down))
        low, high = float(np.minimum(sides, others).sum()), float(np.maximum(sides, others).sum())
        return Slope(value, error, low, high, bool(kinked.any())), taken

    def element(
        self, k: int, index: tuple[int, ...], gradient: np.ndarray, rounding: float
    ) -> Sample:
        """One element of leaf k, as the gradient in that element."""
        d = np.zeros(self._leaves[k].shape)
        d[index] = t = float(self.step(k)[index])
        slope, taken = self.along(k, d)
        if slope.kink:
            slope, taken = self._closer(k, d, slope, taken)
        predicted = float(gradient[index])
        t = float(taken[index]) or t
        slope = _scaled(slope, 1 / t)
        tolerance = _SAFETY * slope.error + rounding
        size = max(_scale(gradient), abs(slope.value))
        return Sample(index, predicted, slope, size, tolerance)

    def _closer(
        self, k: int, d: np.ndarray, slope: Slope, taken: np.ndarray
    ) -> tuple[Slope, np.ndarray]:
        """The kink again with smaller steps, until it is gone: then it was only near."""
        for shrink in (2.0**-4, 2.0**-8, 2.0**-12):
            if shrink * self._eps ** (1 / 3) < 8 * self._resolution:
                break
            close, at = self._along(k, d * shrink)
            close, at = _scaled(close, 1 / shrink), at / shrink
            if not close.error <= 0.01 * max(abs(slope.high - slope.low), abs(slope.value)):
                break
            slope, taken = close, at
            if not slope.kink:
                break
        return slope, taken

    def direction(self, k: int, signs: np.ndarray, gradient: np.ndarray, rounding: float) -> Sample:
        """Leaf k along random signs times its step: every element takes part."""
        slope, taken = self.along(k, signs * self.step(k))
        predicted = float(np.sum(gradient.astype(np.float64) * taken))
        norm = float(np.linalg.norm(taken)) or 1.0
        tolerance = _SAFETY * slope.error + 4 * rounding * norm
        size = max(_scale(gradient) * norm, abs(slope.value))
        return Sample(None, predicted, slope, size, tolerance)

    def check(
        self,
        k: int,
        gradient: np.ndarray,
        rounding: float,
        elements: list[tuple[int, ...]],
        first: int,
        rng: np.random.Generator,
    ) -> list[Sample]:
        """Leaf k along random directions and in single elements.

        `elements` are tried in turn: the first `first` of them, and all where no direction could
        speak for the rest. Where a direction disagrees and no element does, halving finds one.
        """
        directions = []
        signs = np.zeros(0)
        for _ in range(_DIRECTIONS if gradient.size > first else 0):
            signs = rng.choice([-1.0, 1.0], size=gradient.shape)
            directions.append(self.direction(k, signs, gradient, rounding))
            if not directions[-1].ok:
                break
        blind = any(s.across_a_kink for s in directions)
        tried = elements if blind else elements[:first]
        singles = [self.element(k, i, gradient, rounding) for i in tried]
        if directions and not directions[-1].ok and all(s.ok for s in singles):
            singles.append(self._find(k, signs, gradient, rounding))
        return directions + singles

    def _find(self, k: int, signs: np.ndarray, gradient: np.ndarray, rounding: float) -> Sample:
        """The element where the gradient is off, by halving the range that disagrees."""
        low, high = 0, gradient.size
        while high - low > 1:
            middle = (low + high) // 2
            halves = []
            for a, b in ((low, middle), (middle, high)):
                part = np.zeros(gradient.size)
                part[a:b] = signs.ravel()[a:b]
                sample = self.direction(k, part.reshape(gradient.shape), gradient, rounding)
                misfit = sample.slope.misfit(sample.predicted)
                halves.append((misfit / (sample.tolerance or 1.0), a, b))
            _, low, high = max(halves)
        index = tuple(int(i) for i in np.unravel_index(low, gradient.shape))
        return self.element(k, index, gradient, rounding)

    def gradient(self, k: int) -> np.ndarray:
        """The whole gradient of leaf k, element by element: for small leaves."""
        zeros = np.zeros(self._leaves[k].shape)
        whole = np.empty_like(zeros)
        for index in np.ndindex(*zeros.shape):
            whole[index] = self.element(k, index, zeros, 0.0).slope.value
        return whole


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.asarray(a).astype(np.float64).ravel() for a in arrays])


def _scale(gradient: np.ndarray) -> float:
    return float(np.max(np.abs(gradient.astype(np.float64)), initial=0.0))


def _scaled(slope: Slope, by: float) -> Slope:
    low, high = sorted((slope.low * by, slope.high * by))
    return Slope(slope.value * by, slope.error * by, low, high, slope.kink)
