"""Which usual mistake a wrong gradient looks like, said only where the evidence is clear.

Each test turns the right gradient into what one mistake would have made of it and asks whether that
is the wrong gradient, to the last digits. A coincidence is all but impossible, except on a leaf too
small to tell, of which nothing is said.
"""

import itertools

import numpy as np

from .factor import Lengths, factor
from .likeness import exchanged, listed, rearranged, wrong_in_places
from .measure import Measured
from .mistakes import Scene, usual_mistakes, windows
from .rounding import wide
from .suspect import FEWEST, Suspect

# So many explanations that fit alike are named.
_NAMED = 3
# Cells that a wrong padding may add or leave out.
_STARTS = range(-4, 5)


def diagnose(measured: Measured, s: Suspect) -> tuple[str, ...]:
    """What the wrong gradient looks like; empty where nothing is clear."""
    found = _looks_like(measured, s)
    gradient, primal = s.dtypes
    if gradient != primal:
        found += (f"its dtype {gradient} is not that of its primal, {primal}",)
    return found


def _looks_like(measured: Measured, s: Suspect) -> tuple[str, ...]:
    scene = None if s.right is None else Scene.of_leaf(s.number, measured.finest, s.right)
    found = _not_finite(s) or _wrong_shape(s, scene) or _zero(s)
    if found:
        return (found,)
    if s.right is not None and s.gradient.shape != s.right.shape:
        return ()
    ignored = _ignores_cotangent(s)
    if ignored:
        return (ignored,)
    bent = _not_linear(s)
    likely = "" if s.right is None else _likely(measured, s, s.right, scene)
    return tuple(words for words in (likely, bent) if words)


def _likely(measured: Measured, s: Suspect, right: np.ndarray, scene: Scene | None) -> str:
    """The first mistake that makes the gradient in doubt of the right one, if any."""
    lengths = Lengths.of(measured.shapes, windows(scene) if scene else ())
    others = {
        leaf.path: wide(leaf.finest.automatic)
        for leaf in measured.leaves
        if leaf.number != s.number and leaf.finest.automatic is not None
    }
    return (
        factor(s, right, lengths)
        or exchanged(s, others)
        or (_usual(s, scene) if scene else "")
        or rearranged(s, right, lengths)
        or wrong_in_places(s, right)
    )


def _usual(s: Suspect, scene: Scene) -> str:
    """The usual mistakes of one topic that give just this gradient; of several, each perhaps."""
    if np.count_nonzero(scene.right) < FEWEST:
        return ""
    for topic in usual_mistakes(scene):
        found = list(dict.fromkeys(words for words, h in topic if s.is_made_by(h)))
        if len(found) == 1:
            return found[0]
        if found:
            return ", or ".join(f"perhaps {words}" for words in found[:_NAMED])
    return ""


def _not_finite(s: Suspect) -> str:
    bad = ~np.isfinite(s.gradient)
    if not bad.any():
        return ""
    what = "NaN" if np.isnan(s.gradient).any() else "infinite"
    return f"{what} in {bad.sum():,} of {bad.size:,} elements, where the right gradient is finite"


def _wrong_shape(s: Suspect, scene: Scene | None) -> str:
    h, t = s.gradient, s.right
    if t is None or h.shape == t.shape:
        return ""
    shapes = f"its shape {list(h.shape)} is not that of its primal, {list(t.shape)}"
    why = _permuted(s, t) or _summed_too_much_or_little(s, t) or _cut(s, t)
    if not why and scene is not None and h.ndim == t.ndim:
        # A mistake that makes fewer elements: the others would have been zeros, or are missing.
        corner = tuple(slice(0, n) for n in h.shape)
        mistakes = itertools.chain.from_iterable(usual_mistakes(scene))
        cut = ((words, a[corner]) for words, a in mistakes)
        why = next((words for words, a in cut if s.is_close(h, a)), "")
    return f"{shapes}: {why}" if why else shapes


def _permuted(s: Suspect, right: np.ndarray) -> str:
    if sorted(s.gradient.shape) != sorted(right.shape):
        return ""
    permutations = itertools.permutations(range(right.ndim))
    fit = (axes for axes in permutations if s.is_close(s.gradient, right.transpose(axes)))
    return next((f"transposed, axes {listed(axes)}" for axes in fit), "")


def _summed_too_much_or_little(s: Suspect, right: np.ndarray) -> str:
    h = s.gradient
    for axis in range(right.ndim):
        if s.is_close(h.reshape(-1), right.sum(axis).reshape(-1)):
            return f"summed over axis {axis}, an axis too many"
    for axis in range(h.ndim):
        if h.ndim > right.ndim and s.is_close(h.sum(axis), right):
            return f"not summed over axis {axis}, which was broadcast"
    return ""


def _cut(s: Suspect, right: np.ndarray) -> str:
    """The right gradient with some cells more or less at its ends, as a wrong padding leaves it."""
    h = s.gradient
    if h.ndim != right.ndim:
        return ""
    axes = [i for i in range(h.ndim) if h.shape[i] != right.shape[i]]
    for starts in itertools.product(_STARTS, repeat=len(axes)):
        mine, its = [slice(None)] * h.ndim, [slice(None)] * h.ndim
        for axis, start in zip(axes, starts, strict=True):
            mine[axis], its[axis] = _overlap(h.shape[axis], right.shape[axis], start)
        if s.is_close(h[tuple(mine)], right[tuple(its)]):
            more = [h.shape[axis] - right.shape[axis] for axis in axes]
            ends = [n - start for n, start in zip(more, starts, strict=True)]
            return "the padding is off: " + " and ".join(
                f"{start:+d} before and {end:+d} after along axis {axis}"
                for axis, start, end in zip(axes, starts, ends, strict=True)
            )
    return ""


def _overlap(n: int, m: int, start: int) -> tuple[slice, slice]:
    """Where an axis of n cells and one of m have the same ones, the first with `start` more."""
    length = min(n - max(start, 0), m - max(-start, 0))
    mine, its = max(start, 0), max(-start, 0)
    return slice(mine, mine + length), slice(its, its + length)


def _zero(s: Suspect) -> str:
    if s.right is None or s.gradient.shape != s.right.shape:
        return ""
    if not s.gradient.any() and np.max(np.abs(s.right)) > s.tolerance:
        return "zeros, where the right gradient is not zero"
    if not s.right.any():
        return "not zero, where the right gradient is zero"
    return ""


def _ignores_cotangent(s: Suspect) -> str:
    other = s.probes.get("other")
    if other is not None and s.is_within(other, s.gradient) and s.gradient.any():
        return "the cotangent is ignored: another one gives the same gradient"
    return ""


def _not_linear(s: Suspect) -> str:
    doubled = s.probes.get("doubled")
    if doubled is not None and not s.is_within(doubled, 2 * s.gradient):
        return "not linear in the cotangent: twice the cotangent does not give twice the gradient"
    return ""
