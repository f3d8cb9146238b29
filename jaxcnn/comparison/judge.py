"""The verdict on one leaf, from everything that was measured.

Where the gradient and the automatic one differ, one-sided differences are asked whether the
function has a kink there; central differences are taken in any case. Elements at a kink may be
excused, and so are those where the differences take this gradient's side against the automatic one.
What is left is wrong.
"""

from dataclasses import dataclass, field

import numpy as np

from .diagnosis import diagnose
from .leaf import LeafComparison
from .measure import Leaf, Measured
from .metrics import difference_check, record
from .numerical import Sample
from .places import Index, first, largest, place
from .rounding import wide
from .suspect import suspect_of
from .trial import LeafGradients

# Elements that differ are asked one by one whether they sit at a kink: the worst, and some others.
_ASKED = 64
# So many answers that there is no kink are enough.
_ENOUGH = 4
# Up to here a wrong leaf without a reference gets its whole gradient from differences.
_WHOLE = 1024


@dataclass(frozen=True)
class Options:
    """What the caller of `compare` chose."""

    numerical: bool
    samples: int
    kinks_may_differ: bool


@dataclass(frozen=True)
class _Samples:
    """Differences: asked where the gradients differ, and taken all over the leaf."""

    asked: list[Sample]
    taken: list[Sample]

    @property
    def kinks(self) -> list[Sample]:
        return [s for s in self.asked if s.slope.kink and s.ok]


@dataclass
class _Verdict:
    """The verdict as it forms: which elements are excused, which at a kink, and what to say."""

    excused: np.ndarray
    at_kinks: np.ndarray
    failures: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def judge(
    measured: Measured, leaf: Leaf, options: Options, rng: np.random.Generator
) -> LeafComparison:
    """The record of one leaf."""
    shape = leaf.own.gradient.shape
    verdict = _Verdict(np.zeros(shape, bool), np.zeros(shape, bool), _form(leaf))
    if shape != tuple(leaf.primal.shape):
        suspect = suspect_of(measured, leaf, leaf.own)
        return record(leaf, verdict.failures, diagnose(measured, suspect), verdict.notes)
    if leaf.own.gradient.size == 0:
        return record(leaf, verdict.failures, (), ["it has no elements"])

    _excuse_what_is_finite_in_neither(leaf, verdict)
    samples = _sample(measured, leaf, options, ~verdict.excused, rng)
    _find_kinks(leaf, samples, verdict)
    if options.kinks_may_differ:
        verdict.excused |= verdict.at_kinks
    _excuse_where_automatic_is_off(leaf, samples, verdict)
    _find_failures(measured, leaf, samples, verdict)
    numbers = _numbers(measured, leaf, samples, verdict)
    diagnosis: tuple[str, ...] = ()
    if verdict.failures:
        suspect = suspect_of(measured, leaf, leaf.finest, verdict.excused, numbers)
        diagnosis = diagnose(measured, suspect)
    return record(
        leaf,
        verdict.failures,
        diagnosis,
        verdict.notes,
        excused=verdict.excused,
        kinks=_count_kinks(samples, verdict),
        differences=difference_check(samples.taken),
        numerical=numbers,
    )


def _form(leaf: Leaf) -> list[str]:
    """What is wrong with the shape and the dtype."""
    failures: list[str] = []
    gradient, primal = leaf.own.gradient, leaf.primal
    if gradient.shape != tuple(primal.shape):
        failures.append(f"shape {list(gradient.shape)}, its primal {list(primal.shape)}")
    if gradient.dtype != primal.dtype:
        failures.append(f"dtype {gradient.dtype}, its primal {primal.dtype}")
    return failures


def _wrong(leaf: Leaf) -> np.ndarray:
    """Where the leaf is off in either precision, before anything is excused."""
    return leaf.own.wrong if leaf.fine is None else leaf.own.wrong | leaf.fine.wrong


def _excuse_what_is_finite_in_neither(leaf: Leaf, verdict: _Verdict) -> None:
    if leaf.own.automatic is None:
        return
    neither = ~np.isfinite(wide(leaf.own.gradient)) & ~np.isfinite(wide(leaf.own.automatic))
    if neither.any():
        verdict.notes.append(f"neither is finite in {neither.sum():,} elements: these are left out")
    verdict.excused |= neither


def _sample(
    measured: Measured, leaf: Leaf, options: Options, open_: np.ndarray, rng: np.random.Generator
) -> _Samples:
    """Take the differences, unless the gradient is not finite and has none to agree with."""
    gradient, rounding = wide(leaf.finest.gradient), leaf.finest.tolerance
    if not np.isfinite(gradient).all():
        return _Samples([], [])
    asked: list[Sample] = []
    taken: list[Sample] = []
    disputed = _wrong(leaf) & open_
    if disputed.any():
        asked = _ask(measured, leaf, gradient, disputed, rng)
    if options.numerical:
        at = _elements(gradient, leaf.finest.error, 4 * options.samples, rng)
        taken = measured.differences.check(
            leaf.number, gradient, rounding, at, options.samples, rng
        )
    return _Samples(asked, taken)


def _ask(
    measured: Measured,
    leaf: Leaf,
    gradient: np.ndarray,
    disputed: np.ndarray,
    rng: np.random.Generator,
) -> list[Sample]:
    """One-sided differences where the gradients differ: the worst elements, and some at random."""
    places = np.argwhere(disputed)
    order = np.argsort(-leaf.finest.error[disputed], kind="stable")
    worst, rest = order[: _ASKED // 2], order[_ASKED // 2 :]
    asked: list[Sample] = []
    for i in [*worst, *rng.permutation(rest)[: _ASKED // 2]]:
        index = tuple(int(j) for j in places[i])
        tolerance = leaf.finest.tolerance
        asked.append(measured.differences.element(leaf.number, index, gradient, tolerance))
        if sum(not (s.slope.kink and s.ok) for s in asked) >= _ENOUGH:
            break
    return asked


def _elements(
    gradient: np.ndarray, error: np.ndarray, count: int, rng: np.random.Generator
) -> list[Index]:
    """The elements to try alone: the worst, the largest, the corners, then some at random."""
    size = gradient.size
    special = [int(np.argmax(error)), int(np.argmax(np.abs(gradient))), 0, size - 1]
    chosen = list(dict.fromkeys([*special, *rng.permutation(size)[:count].tolist()]))[:count]
    return [place(i, gradient.shape) for i in chosen]


def _find_kinks(leaf: Leaf, samples: _Samples, verdict: _Verdict) -> None:
    """Mark the elements at a kink: all that differ where every one asked is at one, else those."""
    kinks = samples.kinks
    if not kinks:
        return
    if len(kinks) == len(samples.asked):
        verdict.at_kinks = _wrong(leaf) & ~verdict.excused
    else:
        for s in kinks:
            verdict.at_kinks[s.index] = True
    verdict.notes.append(
        f"{verdict.at_kinks.sum():,} elements differ because the function has a kink there: the "
        f"gradient lies between the one-sided slopes ({len(kinks)} tested)"
    )


def _count_kinks(samples: _Samples, verdict: _Verdict) -> int:
    """The elements at a kink: those that differ, and those that differences happened to meet."""
    at = verdict.at_kinks
    met = {s.index for s in samples.taken if s.slope.kink and s.ok and not at[s.index or ...].any()}
    return int(at.sum()) + len(met)


def _excuse_where_automatic_is_off(leaf: Leaf, samples: _Samples, verdict: _Verdict) -> None:
    disputed = _wrong(leaf) & ~verdict.excused & ~verdict.at_kinks
    if disputed.any() and _confirmed(leaf.finest, samples):
        verdict.notes.append(
            f"the automatic gradient is off in {disputed.sum():,} elements: the central "
            "differences agree with this one"
        )
        verdict.excused |= disputed


def _confirmed(gradients: LeafGradients, samples: _Samples) -> bool:
    """Whether the differences confirm the gradient and contradict the automatic one."""
    if gradients.automatic is None or not samples.asked or not samples.taken:
        return False
    if not all(s.ok and s.conclusive for s in [*samples.asked, *samples.taken]):
        return False
    right = wide(gradients.automatic)
    smooth = [s for s in samples.asked if not s.slope.kink]
    # A NaN is no agreement either.
    contradicted = [
        s.slope.misfit(float(right[s.index])) > s.tolerance or not np.isfinite(right[s.index])
        for s in smooth
    ]
    return bool(smooth) and all(contradicted)


def _find_failures(measured: Measured, leaf: Leaf, samples: _Samples, verdict: _Verdict) -> None:
    own = _differs(leaf.own, verdict.excused, measured.against)
    fine = leaf.fine and _differs(leaf.fine, verdict.excused, measured.against)
    # The coarse dtype has nothing to add where float64 says it too.
    if fine:
        verdict.failures.append(f"in float64 it {fine}")
    elif own:
        verdict.failures.append(own)
    missed = [s for s in samples.taken if not s.ok]
    if missed:
        verdict.failures.append(_missed(missed))
    if leaf.finest.automatic is None and not any(s.conclusive for s in samples.taken):
        verdict.failures.append(
            "nothing to judge it by: no reference, and no conclusive difference"
        )


def _differs(g: LeafGradients, excused: np.ndarray, against: str | None) -> str | None:
    """How the gradient differs from the automatic one, in words; None where it does not."""
    h = wide(g.gradient)
    bad = ~np.isfinite(h) & ~excused
    if bad.any():
        return f"is not finite in {bad.sum():,} elements, the first at {first(bad)}"
    wrong = g.wrong & ~excused
    if g.automatic is None or not wrong.any():
        return None
    index = largest(np.where(excused, 0.0, g.error))
    return (
        f"differs from {against} in {wrong.sum():,} of {h.size:,} elements, most at {index}: "
        f"{h[index]:.6g} for {float(wide(g.automatic)[index]):.6g}"
    )


def _missed(missed: list[Sample]) -> str:
    """How the gradient differs from the differences, in words."""
    elements = [s for s in missed if s.index is not None]
    if not elements:
        return f"differs from the central differences along a random direction: {_both(missed[0])}"
    s = max(elements, key=lambda s: s.slope.misfit(s.predicted))
    return f"differs from the central difference at {s.index}: {_both(s)}"


def _both(s: Sample) -> str:
    if s.slope.kink:
        between = f"{s.slope.low:.6g} and {s.slope.high:.6g}"
        return f"{s.predicted:.6g}, the one-sided slopes of a kink being {between}"
    return f"{s.predicted:.6g} for {s.slope.value:.6g} (error {s.slope.error:.1g})"


def _numbers(
    measured: Measured, leaf: Leaf, samples: _Samples, verdict: _Verdict
) -> np.ndarray | None:
    """The numerical gradient where it was taken, NaN elsewhere; None where it was taken nowhere."""
    gradient = wide(leaf.finest.gradient)
    alone = leaf.finest.automatic is None and gradient.size <= _WHOLE
    if verdict.failures and alone and np.isfinite(gradient).all():
        return measured.differences.gradient(leaf.number)
    numbers = np.full(gradient.shape, np.nan)
    for s in samples.taken:
        if s.index is not None:
            numbers[s.index] = s.slope.value
    return None if np.isnan(numbers).all() else numbers
