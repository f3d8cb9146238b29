"""Which usual mistake a wrong gradient looks like, said only where the evidence is clear.

Each test turns the right gradient into what one mistake would have made of it and asks whether that
is the wrong gradient, to the last digits. A coincidence is all but impossible, except on a leaf too
small to tell, of which nothing is said.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

# Below this there are too few elements for a coincidence to be unlikely.
_FEWEST = 3


@dataclass(frozen=True)
class Suspect:
    """One leaf: its path, the gradient in doubt, the right one, and how close equal ones come."""

    path: str
    gradient: np.ndarray
    right: np.ndarray | None
    tolerance: float
    # The same rule at other cotangents: {"other": ..., "doubled": ...}, where it could be run.
    probes: dict[str, np.ndarray] = field(default_factory=dict)


def diagnose(suspect: Suspect, others: list[Suspect], sizes: dict[int, str]) -> tuple[str, ...]:
    """What the wrong gradient looks like; empty where nothing is clear.

    Args:
        suspect: the leaf that failed.
        others: every other leaf, for gradients that were exchanged.
        sizes: lengths that a factor may come from, each with the words for it.
    """
    for test in (_non_finite, _shape, _zeros):
        found = test(suspect)
        if found:
            return (found,)
    if suspect.right is not None and suspect.gradient.shape != suspect.right.shape:
        return ()
    ignored = _ignores_cotangent(suspect)
    if ignored:
        return (ignored,)
    bent = _not_linear(suspect)
    if suspect.right is None:
        return (bent,) if bent else ()
    found = (
        _factor(suspect, sizes)
        or _exchanged(suspect, others)
        or _few(suspect)
        or _rearranged(suspect, sizes)
        or _shifted(suspect)
        or _summed(suspect)
        or _border(suspect)
        or _factor_in_places(suspect)
    )
    return tuple(words for words in (found, bent) if words)


def _close(a: np.ndarray, b: np.ndarray, s: Suspect) -> bool:
    """Whether a is b: within the tolerance, and far closer than the gradient in doubt is."""
    if a.shape != b.shape or a.size == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    apart = float(np.max(np.abs(a - b)))
    wrong = s.tolerance
    if s.right is not None and s.right.shape == s.gradient.shape:
        wrong = float(np.max(np.abs(s.gradient - s.right)))
    return apart <= 4 * s.tolerance and apart <= 0.1 * wrong


def _non_finite(s: Suspect) -> str | None:
    bad = ~np.isfinite(s.gradient)
    if not bad.any():
        return None
    what = "NaN" if np.isnan(s.gradient).any() else "infinite"
    return f"{what} in {bad.sum():,} of {bad.size:,} elements, where the right gradient is finite"


def _shape(s: Suspect) -> str | None:
    h, t = s.gradient, s.right
    if t is None or h.shape == t.shape:
        return None
    shapes = f"its shape {list(h.shape)} is not that of its primal, {list(t.shape)}"
    if h.ndim == t.ndim and sorted(h.shape) == sorted(t.shape):
        for axes in itertools.permutations(range(t.ndim)):
            if _close(h, t.transpose(axes), s):
                return f"{shapes}: transposed, axes {_listed(axes)}"
    for axis in range(t.ndim):
        if _close(h.reshape(-1), t.sum(axis).reshape(-1), s):
            return f"{shapes}: summed over axis {axis}, an axis too many"
    for axis in range(h.ndim):
        if h.ndim > t.ndim and _close(h.sum(axis), t, s):
            return f"{shapes}: not summed over axis {axis}, which was broadcast"
    return shapes


def _zeros(s: Suspect) -> str | None:
    if s.right is None or s.gradient.shape != s.right.shape:
        return None
    if not s.gradient.any() and np.max(np.abs(s.right)) > s.tolerance:
        return "zeros, where the right gradient is not zero"
    if not s.right.any():
        return "not zero, where the right gradient is zero"
    return None


def _ignores_cotangent(s: Suspect) -> str | None:
    other = s.probes.get("other")
    if other is not None and _same(other, s.gradient, s) and s.gradient.any():
        return "the cotangent is ignored: another one gives the same gradient"
    return None


def _not_linear(s: Suspect) -> str | None:
    doubled = s.probes.get("doubled")
    if doubled is not None and not _same(doubled, 2 * s.gradient, s):
        return "not linear in the cotangent: twice the cotangent does not give twice the gradient"
    return None


def _same(a: np.ndarray, b: np.ndarray, s: Suspect) -> bool:
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= 4 * s.tolerance))


def _fitted(h: np.ndarray, t: np.ndarray, s: Suspect) -> float | None:
    """The factor c with h = c t, where there is one."""
    power = float(np.sum(t * t))
    c = float(np.sum(h * t)) / power if power else 0.0
    return c if c and np.isfinite(c) and _close(h / c, t, s) else None


def _words(c: float, sizes: dict[int, str]) -> str | None:
    """A factor in words: what it is likely to be; None for one that nothing explains."""
    if abs(c - 1) < 1e-3:
        return ""
    if abs(c + 1) < 1e-3:
        return "the wrong sign"
    sign = "the wrong sign and " if c < 0 else ""
    for whole, one_over in ((abs(c), False), (1 / abs(c), True)):
        m = round(whole)
        if m >= 2 and abs(whole - m) < 1e-3 * m:
            text = f"1/{m}" if one_over else f"{m}"
            why = f", {m} being {sizes[m]}" if m in sizes else ""
            if m in sizes or m <= 4:
                return f"{sign}off by a factor {text}{why}"
    return None


def _factor(s: Suspect, sizes: dict[int, str]) -> str | None:
    assert s.right is not None
    c = _fitted(s.gradient, s.right, s)
    if c is None:
        return None
    if np.count_nonzero(s.right) < _FEWEST:
        # One number is always a multiple of another: only a factor with a reason counts.
        return _words(c, sizes) or None
    return _words(c, sizes) or (f"off by a factor {c:.6g}" if abs(c - 1) > 1e-3 else None)


def _exchanged(s: Suspect, others: list[Suspect]) -> str | None:
    for o in others:
        if o.right is None or o.right.size < _FEWEST or o.right.size != s.gradient.size:
            continue
        if o.right.shape == s.gradient.shape and _close(s.gradient, o.right, s):
            return f"it is the gradient of {o.path}: the two may be exchanged"
        if s.gradient.ndim == 2 and _close(s.gradient, o.right.T, s):
            return f"it is the transposed gradient of {o.path}: the two may be exchanged"
    return None


def _wrong(s: Suspect) -> np.ndarray:
    assert s.right is not None
    return np.abs(s.gradient - s.right) > s.tolerance


def _few(s: Suspect) -> str | None:
    assert s.right is not None
    wrong = _wrong(s)
    if wrong.sum() == 1 and wrong.size > _FEWEST:
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        return f"one element only, at {index}: {s.gradient[index]:.6g} for {s.right[index]:.6g}"
    return None


def _rearrangements(t: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    axes = [a for a in range(t.ndim) if t.shape[a] > 1]
    swaps = [(a, b) for a, b in itertools.combinations(axes, 2) if t.shape[a] == t.shape[b]]
    flips = [f for n in range(1, len(axes) + 1) for f in itertools.combinations(axes, n)]
    for a, b in swaps:
        yield f"transposed, axes {a} and {b}", t.swapaxes(a, b)
    for f in flips:
        yield f"flipped along {_axes(f)}", np.flip(t, f)
    for (a, b), f in itertools.product(swaps, flips):
        text = f"transposed, axes {a} and {b}, and flipped along {_axes(f)}"
        yield text, np.flip(t.swapaxes(a, b), f)


def _rearranged(s: Suspect, sizes: dict[int, str]) -> str | None:
    assert s.right is not None
    if np.count_nonzero(s.right) < _FEWEST:
        return None
    power = float(np.linalg.norm(s.gradient))
    for text, candidate in _rearrangements(s.right):
        # The norm survives a rearrangement, up to a factor that must have a reason.
        c = power / float(np.linalg.norm(s.right))
        for sign in (c, -c):
            words = _words(sign, sizes)
            if words is not None and _close(s.gradient / sign, candidate, s):
                return f"{text}, and {words}" if words else text
    return None


def _shifted(s: Suspect) -> str | None:
    h, t = s.gradient, s.right
    assert t is not None
    for axis, by in itertools.product(range(t.ndim), (1, -1, 2, -2, 3, -3)):
        n = t.shape[axis]
        if abs(by) * 2 > n or n < 2:
            continue
        source = np.arange(max(0, -by), n - max(0, by))
        a, b = h.take(source + by, axis), t.take(source, axis)
        if np.count_nonzero(b) >= _FEWEST and _close(a, b, s):
            return f"shifted by {by:+d} along axis {axis}"
    return None


def _summed(s: Suspect) -> str | None:
    h, t = s.gradient, s.right
    assert t is not None
    for axis in range(t.ndim):
        if t.shape[axis] < 2:
            continue
        for name, total in (("summed", t.sum(axis)), ("averaged", t.mean(axis))):
            whole = np.broadcast_to(np.expand_dims(total, axis), t.shape)
            if t.size >= _FEWEST and _close(h, whole, s):
                return f"{name} over axis {axis} and broadcast back, an axis too many"
        constant = np.ptp(t, axis).max() <= s.tolerance and np.ptp(h, axis).max() > s.tolerance
        if constant and _close(h.sum(axis), t.take(0, axis), s):
            return f"not summed over axis {axis}, along which the right gradient is constant"
    return None


def _border(s: Suspect) -> str | None:
    wrong = _wrong(s)
    if wrong.mean() > 0.75:
        return None
    for width in (1, 2):
        sides = []
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
    return None


def _factor_in_places(s: Suspect) -> str | None:
    assert s.right is not None
    wrong = _wrong(s) & (np.abs(s.right) > s.tolerance)
    if wrong.sum() < _FEWEST or not np.array_equal(wrong, _wrong(s)):
        return None
    ratio = s.gradient[wrong] / s.right[wrong]
    for c in (2.0, 0.5, -1.0, 0.0):
        if np.all(np.abs(s.gradient[wrong] - c * s.right[wrong]) <= 4 * s.tolerance):
            words = {-1.0: "the wrong sign", 0.0: "zero"}.get(c, f"off by a factor {c:g}")
            return f"{words} in {ratio.size:,} of {wrong.size:,} elements"
    return None


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {_listed(axes)}"


def _listed(axes: tuple[int, ...]) -> str:
    return ", ".join(map(str, axes[:-1])) + f" and {axes[-1]}"
