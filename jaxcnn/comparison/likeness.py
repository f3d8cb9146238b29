"""What a wrong gradient has in common with the right one, by their numbers alone."""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from .factor import Lengths
from .places import first
from .suspect import FEWEST, Suspect

_SHIFTS = (1, -1, 2, -2, 3, -3)


def exchanged(s: Suspect, others: Mapping[str, np.ndarray]) -> str:
    """Whether it is the right gradient of another leaf."""
    for path, right in others.items():
        if right.size < FEWEST or right.size != s.gradient.size:
            continue
        if s.is_close(s.gradient, right):
            return f"it is the gradient of {path}: the two may be exchanged"
        if s.gradient.ndim == 2 and s.is_close(s.gradient, right.T):
            return f"it is the transposed gradient of {path}: the two may be exchanged"
    return ""


def rearranged(s: Suspect, right: np.ndarray, lengths: Lengths) -> str:
    """Whether its elements are the right ones in other places, or sums of them."""
    if np.count_nonzero(_wrong(s, right)) == 1:
        return ""
    return _moved(s, right, lengths) or _shifted(s, right) or _summed(s, right)


def wrong_in_places(s: Suspect, right: np.ndarray) -> str:
    """Which elements are wrong, where only some are."""
    return _one_element(s, right) or _border(s, right) or _factor_in_places(s, right)


def listed(axes: tuple[int, ...]) -> str:
    """Several axes in words."""
    return ", ".join(map(str, axes[:-1])) + f" and {axes[-1]}"


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {listed(axes)}"


def _wrong(s: Suspect, right: np.ndarray) -> np.ndarray:
    return np.abs(s.gradient - right) > s.tolerance


def _moves(right: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The right gradient transposed, flipped, or both."""
    axes = [a for a in range(right.ndim) if right.shape[a] > 1]
    swaps = [(a, b) for a, b in itertools.combinations(axes, 2) if right.shape[a] == right.shape[b]]
    flips = [f for n in range(1, len(axes) + 1) for f in itertools.combinations(axes, n)]
    for a, b in swaps:
        yield f"transposed, axes {a} and {b}", right.swapaxes(a, b)
    for f in flips:
        yield f"flipped along {_axes(f)}", np.flip(right, f)
    for (a, b), f in itertools.product(swaps, flips):
        text = f"transposed, axes {a} and {b}, and flipped along {_axes(f)}"
        yield text, np.flip(right.swapaxes(a, b), f)


def _moved(s: Suspect, right: np.ndarray, lengths: Lengths) -> str:
    if np.count_nonzero(right) < FEWEST:
        return ""
    # The norm survives a rearrangement, up to a factor that must have a reason.
    c = float(np.linalg.norm(s.gradient)) / float(np.linalg.norm(right))
    for text, candidate in _moves(right):
        for signed in (c, -c):
            words = lengths.words(signed)
            if words is not None and s.is_close(s.gradient / signed, candidate):
                return f"{text}, and {words}" if words else text
    return ""


def _shifted(s: Suspect, right: np.ndarray) -> str:
    for axis, by in itertools.product(range(right.ndim), _SHIFTS):
        n = right.shape[axis]
        # Of too few cells that stay on the axis, a shift is a guess.
        if abs(by) * 3 > n:
            continue
        source = np.arange(max(0, -by), n - max(0, by))
        a, b = s.gradient.take(source + by, axis), right.take(source, axis)
        if np.count_nonzero(b) >= FEWEST and s.is_close(a, b):
            return f"shifted by {by:+d} along axis {axis}"
    return ""


def _summed(s: Suspect, right: np.ndarray) -> str:
    h, t = s.gradient, right
    for axis in range(t.ndim):
        if t.shape[axis] < 2:
            continue
        for name, total in (("summed", t.sum(axis)), ("averaged", t.mean(axis))):
            whole = np.broadcast_to(np.expand_dims(total, axis), t.shape)
            if t.size >= FEWEST and s.is_close(h, whole):
                return f"{name} over axis {axis} and broadcast back, an axis too many"
        constant = np.ptp(t, axis).max() <= s.tolerance and np.ptp(h, axis).max() > s.tolerance
        if constant and s.is_close(h.sum(axis), t.take(0, axis)):
            return f"not summed over axis {axis}, along which the right gradient is constant"
    return ""


def _one_element(s: Suspect, right: np.ndarray) -> str:
    wrong = _wrong(s, right)
    if wrong.sum() != 1 or wrong.size <= FEWEST:
        return ""
    index = first(wrong)
    return f"one element only, at {index}: {s.gradient[index]:.6g} for {right[index]:.6g}"


def _border(s: Suspect, right: np.ndarray) -> str:
    wrong = _wrong(s, right)
    if wrong.mean() > 0.75:
        return ""
    for width in (1, 2):
        sides: list[str] = []
        covered = np.zeros_like(wrong)
        for axis, n in enumerate(wrong.shape):
            if n < 2 * width + 2:
                continue
            for name, side in (("first", slice(0, width)), ("last", slice(n - width, n))):
                at = (slice(None),) * axis + (side,)
                if wrong[at].any() and wrong[at].mean() > 1.2 * wrong.mean():
                    covered[at] = True
                    cells = "cell" if width == 1 else f"{width} cells"
                    sides.append(f"the {name} {cells} of axis {axis}")
        if sides and not wrong[~covered].any():
            return "wrong at the border only: " + " and ".join(sides)
    return ""


def _factor_in_places(s: Suspect, right: np.ndarray) -> str:
    wrong = _wrong(s, right)
    if wrong.sum() < FEWEST or (wrong & (np.abs(right) <= s.tolerance)).any():
        return ""
    for c in (2.0, 0.5, -1.0, 0.0):
        if np.all(np.abs(s.gradient[wrong] - c * right[wrong]) <= 4 * s.tolerance):
            words = {-1.0: "the wrong sign", 0.0: "zero"}.get(c, f"off by a factor {c:g}")
            return f"{words} in {wrong.sum():,} of {wrong.size:,} elements"
    return ""
