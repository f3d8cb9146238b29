"""The verdict on one leaf, from everything that was run."""

from typing import Any

import numpy as np

from .diagnosis import Suspect, diagnose
from .evidence import Evidence, Run
from .numerical import Sample
from .result import DifferenceCheck, LeafComparison
from .rounding import scale, spacing, wide

# Elements that differ are asked one by one whether they sit at a kink: the worst, and some others.
_ASKED = 64
# Up to here a wrong leaf without a reference gets its whole gradient from differences.
_WHOLE = 1024


def judge(
    e: Evidence,
    k: int,
    numerical: bool,
    samples: int,
    kinks_may_differ: bool,
    rng: np.random.Generator,
) -> LeafComparison:
    """The record of leaf k."""
    primal, h = e.primals[k], e.own.gradients[k]
    failures, notes = _form(h, primal), []
    if h.shape != tuple(primal.shape):
        return _record(e, k, failures, _diagnosis(e, k, e.own, None, None), notes)
    if h.size == 0:
        return _record(e, k, failures, (), ["it has no elements"])

    # The rule itself is clearest in float64, without the rounding of the caller's dtype.
    runs = [e.own] if e.fine is None else [e.own, e.fine]
    finest = runs[-1]
    sharpest = next((r for r in reversed(runs) if r.right is not None), finest)
    wrong = np.logical_or.reduce([_wrong(r, k) for r in runs])
    excused = np.zeros(h.shape, bool)
    if e.own.right is not None:
        excused = ~np.isfinite(wide(h)) & ~np.isfinite(wide(e.own.right[k]))
        if excused.any():
            notes.append(f"neither is finite in {excused.sum():,} elements: these are left out")

    asked: list[Sample] = []
    taken: list[Sample] = []
    gradient, rounding = wide(finest.gradients[k]), finest.tolerance(k)
    if np.isfinite(gradient).all():
        error = _error(sharpest, k)
        open_ = wrong & ~excused
        if open_.any():
            asked = _ask(e, k, gradient, rounding, open_, error, rng)
        if numerical:
            at = _elements(gradient, error, 4 * samples, rng)
            taken = e.differences.check(k, gradient, rounding, at, samples, rng)
    kinks = [s for s in asked if s.slope.kink and s.ok]
    differ = wrong & ~excused
    if kinks and len(kinks) < len(asked):
        differ[:] = False
        for s in kinks:
            differ[s.index] = True
    differ &= bool(kinks)
    if kinks:
        notes.append(
            f"{differ.sum():,} elements differ because the function has a kink there: the gradient "
            f"lies between the one-sided slopes ({len(kinks)} tested)"
        )
    if kinks_may_differ:
        excused |= differ
    disputed = wrong & ~excused & ~differ
    if disputed.any() and _confirmed(asked, taken, sharpest, k):
        notes.append(
            f"the automatic gradient is off in {disputed.sum():,} elements: the central "
            "differences agree with this one"
        )
        excused |= disputed

    found = [(run, _differs(run, k, excused, e.against)) for run in runs]
    found = [(run, words) for run, words in found if words]
    if found:
        # The coarse dtype has nothing to add where float64 says it too.
        run, words = found[-1]
        failures.append(f"in float64 it {words}" if run is e.fine else words)
    missed = [s for s in taken if not s.ok]
    if missed:
        failures.append(_missed(missed))
    if sharpest.right is None and not any(s.conclusive for s in taken):
        failures.append("nothing to judge it by: no reference, and no conclusive difference")

    numbers = _numbers(taken, h.shape)
    if failures and sharpest.right is None and h.size <= _WHOLE and np.isfinite(gradient).all():
        numbers = e.differences.gradient(k)
    diagnosis = _diagnosis(e, k, sharpest, excused, numbers) if failures else ()
    met = {s.index for s in taken if s.slope.kink and s.ok and not differ[s.index or ...].any()}
    kinked = int(differ.sum()) + len(met)
    return _record(e, k, failures, diagnosis, notes, excused, kinked, taken, numbers)


def _record(
    e: Evidence,
    k: int,
    failures: list[str],
    diagnosis: tuple[str, ...],
    notes: list[str],
    excused: np.ndarray | None = None,
    kinks: int = 0,
    taken: list[Sample] | None = None,
    numerical: np.ndarray | None = None,
) -> LeafComparison:
    h, primal = e.own.gradients[k], e.primals[k]
    metrics, fine_error, fine_tolerance = _NO_METRICS, None, None
    if excused is not None and e.own.right is not None:
        metrics = _metrics(e.own, k, excused)
    if excused is not None and e.fine is not None and e.fine.right is not None:
        fine_error = float(np.max(np.where(excused, 0.0, _error(e.fine, k)), initial=0.0))
        fine_tolerance = e.fine.tolerance(k)
    return LeafComparison(
        path=e.paths[k],
        shape=tuple(primal.shape),
        dtype=str(primal.dtype),
        gradient_shape=h.shape,
        gradient_dtype=str(h.dtype),
        **metrics,
        tolerance=e.own.tolerance(k),
        reason=e.own.reason(k),
        float64_error=fine_error,
        float64_tolerance=fine_tolerance,
        differences=_summary(taken) if taken else None,
        kinks=kinks,
        failures=tuple(failures),
        diagnosis=diagnosis,
        notes=tuple(notes),
        gradient=h,
        automatic=None if e.own.right is None else e.own.right[k],
        numerical=numerical,
    )


_NO_METRICS: dict[str, Any] = dict.fromkeys(
    ("max_abs_error", "max_rel_error", "max_ulp_error", "worst_index", "cosine")
)


def _form(h: np.ndarray, primal: Any) -> list[str]:
    failures = []
    if h.shape != tuple(primal.shape):
        failures.append(f"shape {list(h.shape)}, its primal {list(primal.shape)}")
    if h.dtype != primal.dtype:
        failures.append(f"dtype {h.dtype}, its primal {primal.dtype}")
    return failures


def _error(run: Run, k: int) -> np.ndarray:
    """|gradient - automatic|, infinite where only one is finite, zero without an automatic one."""
    if run.right is None:
        return np.zeros(run.gradients[k].shape)
    with np.errstate(invalid="ignore"):
        apart = np.abs(wide(run.gradients[k]) - wide(run.right[k]))
    return np.where(np.isnan(apart), np.inf, apart)


def _wrong(run: Run, k: int) -> np.ndarray:
    """Where leaf k is off, before anything is excused."""
    return ~np.isfinite(wide(run.gradients[k])) | ~(_error(run, k) <= run.tolerance(k))


def _ask(
    e: Evidence,
    k: int,
    gradient: np.ndarray,
    rounding: float,
    wrong: np.ndarray,
    error: np.ndarray,
    rng: np.random.Generator,
) -> list[Sample]:
    """One-sided differences where the gradients differ: the worst elements, and some at random."""
    places = np.argwhere(wrong)
    order = np.argsort(-error[wrong], kind="stable")
    worst, rest = order[: _ASKED // 2], order[_ASKED // 2 :]
    chosen = [*worst, *rng.permutation(rest)[: _ASKED // 2]]
    asked = []
    for i in chosen:
        index = tuple(int(j) for j in places[i])
        asked.append(e.differences.element(k, index, gradient, rounding))
        if sum(not (s.slope.kink and s.ok) for s in asked) >= 4:
            break
    return asked


def _elements(
    h: np.ndarray, error: np.ndarray, count: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """The elements to try alone: the worst, the largest, the corners, then some at random."""
    special = [int(np.argmax(error)), int(np.argmax(np.abs(h))), 0, h.size - 1]
    chosen = list(dict.fromkeys([*special, *rng.permutation(h.size)[:count].tolist()]))[:count]
    return [tuple(int(j) for j in np.unravel_index(i, h.shape)) for i in chosen]


def _confirmed(asked: list[Sample], taken: list[Sample], run: Run, k: int) -> bool:
    """Whether the differences confirm the gradient and contradict the automatic one."""
    if run.right is None or not asked or not taken:
        return False
    if not all(s.ok and s.conclusive for s in [*asked, *taken]):
        return False
    right = wide(run.right[k])
    smooth = [s for s in asked if not s.slope.kink]
    misses = [s.slope.misfit(float(right[s.index])) > s.tolerance for s in smooth]
    # A NaN is no agreement either.
    misses = [m or not np.isfinite(right[s.index]) for m, s in zip(misses, smooth, strict=True)]
    return bool(smooth) and all(misses)


def _differs(run: Run, k: int, excused: np.ndarray, against: str | None) -> str | None:
    h = wide(run.gradients[k])
    bad = ~np.isfinite(h) & ~excused
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        return f"is not finite in {bad.sum():,} elements, the first at {index}"
    wrong = _wrong(run, k) & ~excused
    if run.right is None or not wrong.any():
        return None
    error = np.where(excused, 0.0, _error(run, k))
    index = tuple(int(i) for i in np.unravel_index(np.argmax(error), h.shape))
    return (
        f"differs from {against} in {wrong.sum():,} of {h.size:,} elements, most at {index}: "
        f"{h[index]:.6g} for {float(wide(run.right[k])[index]):.6g}"
    )


def _missed(missed: list[Sample]) -> str:
    elements = [s for s in missed if s.index is not None]
    if not elements:
        s = missed[0]
        return f"differs from the central differences along a random direction: {_held(s)}"
    s = max(elements, key=lambda s: s.slope.misfit(s.predicted))
    return f"differs from the central difference at {s.index}: {_held(s)}"


def _held(s: Sample) -> str:
    if s.slope.kink:
        between = f"{s.slope.low:.6g} and {s.slope.high:.6g}"
        return f"{s.predicted:.6g}, the one-sided slopes of a kink being {between}"
    return f"{s.predicted:.6g} for {s.slope.value:.6g} (error {s.slope.error:.1g})"


def _numbers(samples: list[Sample], shape: tuple[int, ...]) -> np.ndarray | None:
    """The single elements that were taken, the others NaN; None where none was."""
    taken = np.full(shape, np.nan)
    for s in samples:
        if s.index is not None:
            taken[s.index] = s.slope.value
    return None if np.isnan(taken).all() else taken


def _diagnosis(
    e: Evidence,
    k: int,
    run: Run,
    excused: np.ndarray | None,
    numerical: np.ndarray | None,
) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    h, primal = e.own.gradients[k], e.primals[k]
    suspect = _suspect(e, k, run, excused, numerical, e.probe(k, run is e.fine))
    others = [_suspect(e, j, run) for j in range(len(e.paths)) if j != k]
    found = diagnose(suspect, others, e.sizes)
    if h.dtype != primal.dtype:
        found += (f"its dtype {h.dtype} is not that of its primal, {primal.dtype}",)
    return found


def _suspect(
    e: Evidence,
    k: int,
    run: Run,
    excused: np.ndarray | None = None,
    numerical: np.ndarray | None = None,
    probes: dict[str, np.ndarray] | None = None,
) -> Suspect:
    h, right = wide(run.gradients[k]), None if run.right is None else wide(run.right[k])
    tolerance = run.tolerance(k)
    if right is None and numerical is not None and np.isfinite(numerical).all():
        right, tolerance = numerical, max(tolerance, 1e-6 * scale([numerical]))
    if right is not None and excused is not None:
        h = np.where(excused, right, h)
    return Suspect(e.paths[k], h, right, tolerance, probes or {})


def _metrics(run: Run, k: int, excused: np.ndarray) -> dict[str, Any]:
    assert run.right is not None
    h, right = wide(run.gradients[k]), wide(run.right[k])
    error = np.where(excused, 0.0, _error(run, k))
    size = np.where(np.isfinite(right), np.abs(right), 0.0)
    counted = size > run.tolerance(k)
    worst = float(np.max(error, initial=0.0))
    index = tuple(int(i) for i in np.unravel_index(np.argmax(error), h.shape))
    a, b = (np.where(np.isfinite(h * right), v, 0.0) for v in (h, right))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    both_zero = float(not a.any() and not b.any())
    return {
        "max_abs_error": worst,
        "max_rel_error": float(np.max(error[counted] / size[counted], initial=0.0)),
        "max_ulp_error": worst / spacing(float(size.max()), run.right[k].dtype),
        "worst_index": index,
        "cosine": float(np.sum(a * b)) / norms if norms else both_zero,
    }


def _summary(samples: list[Sample]) -> DifferenceCheck:
    elements = [s for s in samples if s.index is not None]
    worst = max(elements, key=lambda s: s.slope.misfit(s.predicted), default=None)
    return DifferenceCheck(
        directions=len(samples) - len(elements),
        elements=len(elements),
        kinks=sum(s.slope.kink and s.ok for s in samples),
        inconclusive=sum(s.ok and not s.conclusive for s in samples if not s.across_a_kink),
        wrong=sum(not s.ok for s in samples),
        worst=worst.slope.misfit(worst.predicted) if worst else 0.0,
        error=worst.slope.error if worst else 0.0,
        worst_index=worst.index if worst else None,
    )
