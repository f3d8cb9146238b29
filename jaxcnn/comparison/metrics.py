"""The numbers of a leaf's record."""

from typing import Any

import numpy as np

from .leaf import DifferenceCheck, LeafComparison
from .measure import Leaf
from .numerical import Sample
from .places import largest
from .rounding import spacing, wide
from .trial import LeafGradients


def record(
    leaf: Leaf,
    failures: list[str],
    diagnosis: tuple[str, ...],
    notes: list[str],
    *,
    excused: np.ndarray | None = None,
    kinks: int = 0,
    differences: DifferenceCheck | None = None,
    numerical: np.ndarray | None = None,
) -> LeafComparison:
    """The record of a leaf; without `excused` its errors are not measured."""
    own, fine = leaf.own, leaf.fine
    numbers: dict[str, Any] = dict.fromkeys(
        ("max_abs_error", "max_rel_error", "max_ulp_error", "worst_index", "cosine")
    )
    fine_error, fine_tolerance = None, None
    if excused is not None and own.automatic is not None:
        numbers = _metrics(own, own.automatic, excused)
    if excused is not None and fine is not None and fine.automatic is not None:
        fine_error = float(np.max(np.where(excused, 0.0, fine.error), initial=0.0))
        fine_tolerance = fine.tolerance
    return LeafComparison(
        path=leaf.path,
        shape=tuple(leaf.primal.shape),
        dtype=str(leaf.primal.dtype),
        gradient_shape=own.gradient.shape,
        gradient_dtype=str(own.gradient.dtype),
        **numbers,
        tolerance=own.tolerance,
        reason=own.reason,
        float64_error=fine_error,
        float64_tolerance=fine_tolerance,
        differences=differences,
        kinks=kinks,
        failures=tuple(failures),
        diagnosis=diagnosis,
        notes=tuple(notes),
        gradient=own.gradient,
        automatic=own.automatic,
        numerical=numerical,
    )


def _metrics(g: LeafGradients, automatic: np.ndarray, excused: np.ndarray) -> dict[str, Any]:
    h, right = wide(g.gradient), wide(automatic)
    error = np.where(excused, 0.0, g.error)
    size = np.where(np.isfinite(right), np.abs(right), 0.0)
    counted = size > g.tolerance
    worst = float(np.max(error, initial=0.0))
    return {
        "max_abs_error": worst,
        "max_rel_error": float(np.max(error[counted] / size[counted], initial=0.0)),
        "max_ulp_error": worst / spacing(float(size.max()), automatic.dtype),
        "worst_index": largest(error),
        "cosine": _cosine(h, right),
    }


def _cosine(h: np.ndarray, right: np.ndarray) -> float:
    """The cosine of the angle between two gradients, 1 where both are zero."""
    a, b = (np.where(np.isfinite(h * right), v, 0.0) for v in (h, right))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a * b)) / norms if norms else float(not a.any() and not b.any())


def difference_check(samples: list[Sample]) -> DifferenceCheck | None:
    """The summary of the differences of one leaf; None where none was taken."""
    if not samples:
        return None
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
