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
from .rounding import wide
from .suspect import Suspect


def diagnose(measured: Measured, s: Suspect) -> tuple[str, ...]:
    """What the wrong gradient looks like; empty where nothing is clear."""
    found = _looks_like(measured, s)
    gradient, primal = s.dtypes
    if gradient != primal:
        found += (f"its dtype {gradient} is not that of its primal, {primal}",)
    return found


def _looks_like(measured: Measured, s: Suspect) -> tuple[str, ...]:
    found = _not_finite(s) or _wrong_shape(s) or _zero(s)
    if found:
        return (found,)
    if s.right is not None and s.gradient.shape != s.right.shape:
        return ()
    ignored = _ignores_cotangent(s)
    if ignored:
        return (ignored,)
    bent = _not_linear(s)
    likely = "" if s.right is None else _likely(measured, s, s.right)
    return tuple(words for words in (likely, bent) if words)


def _likely(measured: Measured, s: Suspect, right: np.ndarray) -> str:
    """The first mistake that makes the gradient in doubt of the right one, if any."""
    lengths = Lengths.of(measured.shapes)
    others = {
        leaf.path: wide(leaf.finest.automatic)
        for leaf in measured.leaves
        if leaf.number != s.number and leaf.finest.automatic is not None
    }
    return (
        factor(s, right, lengths)
        or exchanged(s, others)
        or rearranged(s, right, lengths)
        or wrong_in_places(s, right)
    )


def _not_finite(s: Suspect) -> str:
    bad = ~np.isfinite(s.gradient)
    if not bad.any():
        return ""
    what = "NaN" if np.isnan(s.gradient).any() else "infinite"
    return f"{what} in {bad.sum():,} of {bad.size:,} elements, where the right gradient is finite"


def _wrong_shape(s: Suspect) -> str:
    h, t = s.gradient, s.right
    if t is None or h.shape == t.shape:
        return ""
    shapes = f"its shape {list(h.shape)} is not that of its primal, {list(t.shape)}"
    if h.ndim == t.ndim and sorted(h.shape) == sorted(t.shape):
        for axes in itertools.permutations(range(t.ndim)):
            if s.is_close(h, t.transpose(axes)):
                return f"{shapes}: transposed, axes {listed(axes)}"
    for axis in range(t.ndim):
        if s.is_close(h.reshape(-1), t.sum(axis).reshape(-1)):
            return f"{shapes}: summed over axis {axis}, an axis too many"
    for axis in range(h.ndim):
        if h.ndim > t.ndim and s.is_close(h.sum(axis), t):
            return f"{shapes}: not summed over axis {axis}, which was broadcast"
    return shapes


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
