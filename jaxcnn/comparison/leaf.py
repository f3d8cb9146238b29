"""What a comparison found about one leaf."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DifferenceCheck:
    """How the central differences of one leaf came out.

    Attributes:
        directions, elements: how many random directions and single elements were taken.
        kinks: how many of them met a kink and agreed with its one-sided slopes.
        inconclusive: how many were too noisy to have seen an error of a tenth of the leaf's scale.
        wrong: how many disagreed.
        worst: the largest misfit in a single element; `worst_index` is where, `error` its estimated
            error.
    """

    directions: int
    elements: int
    kinks: int
    inconclusive: int
    wrong: int
    worst: float
    error: float
    worst_index: tuple[int, ...] | None


@dataclass(frozen=True)
class LeafComparison:
    """One differentiable leaf.

    Attributes:
        path: the argument's name and the keys inside it, such as `params['conv1']['w']`.
        shape, dtype: of the primal.
        gradient_shape, gradient_dtype: of its gradient, which should be the same.
        max_abs_error: the largest |gradient - automatic|; elements at a kink are left out.
        max_rel_error: the largest |gradient - automatic| / |automatic|, among the elements that are
            larger than the tolerance.
        max_ulp_error: the largest absolute error in units of the last place of the leaf's largest
            element, so that an element near zero does not blow it up.
        worst_index: where the largest absolute error is.
        cosine: the cosine similarity of the two gradients.
        tolerance, reason: the absolute error let pass, and why that much.
        float64_error, float64_tolerance: the same two where both ran again in float64; None where
            they already did, or could not.
        differences: the central differences; None where none were taken.
        kinks: elements that differ because the function has a kink there; not a failure.
        failures: what is wrong, in words; empty where nothing is.
        diagnosis: the usual mistake that it looks like, where that is clear.
        notes: what else there is to know.
        gradient, automatic, numerical: the arrays; None where there is none.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    gradient_shape: tuple[int, ...]
    gradient_dtype: str
    max_abs_error: float | None
    max_rel_error: float | None
    max_ulp_error: float | None
    worst_index: tuple[int, ...] | None
    cosine: float | None
    tolerance: float
    reason: str
    float64_error: float | None
    float64_tolerance: float | None
    differences: DifferenceCheck | None
    kinks: int
    failures: tuple[str, ...]
    diagnosis: tuple[str, ...]
    notes: tuple[str, ...]
    gradient: np.ndarray = field(repr=False, compare=False)
    automatic: np.ndarray | None = field(repr=False, compare=False)
    numerical: np.ndarray | None = field(repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with this leaf's gradient."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The record without its arrays, ready for JSON."""
        fields = asdict(self)
        for name in ("gradient", "automatic", "numerical"):
            del fields[name]
        return {**fields, "ok": self.ok}
