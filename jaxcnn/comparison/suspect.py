"""A gradient in doubt, and how to tell that another one equals it."""

from dataclasses import dataclass, field

import numpy as np

from .measure import Leaf, Measured
from .rounding import scale, wide
from .trial import LeafGradients

# Below this there are too few elements for a coincidence to be unlikely.
FEWEST = 3


@dataclass(frozen=True)
class Suspect:
    """One leaf: its path, the gradient in doubt, the right one, and how close equal ones come."""

    number: int
    path: str
    dtypes: tuple[str, str]
    gradient: np.ndarray
    right: np.ndarray | None
    tolerance: float
    # The same rule at other cotangents: {"other": ..., "doubled": ...}, where it could be run.
    probes: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def is_close(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether a is b: within the tolerance, and far closer than the gradient in doubt is."""
        if a.shape != b.shape or a.size == 0 or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return False
        apart = float(np.max(np.abs(a - b)))
        wrong = self.tolerance
        if self.right is not None and self.right.shape == self.gradient.shape:
            wrong = float(np.max(np.abs(self.gradient - self.right)))
        return apart <= 4 * self.tolerance and apart <= 0.1 * wrong

    def is_within(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether a is b within the tolerance alone."""
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= 4 * self.tolerance))


def suspect_of(
    measured: Measured,
    leaf: Leaf,
    gradients: LeafGradients,
    excused: np.ndarray | None = None,
    numerical: np.ndarray | None = None,
) -> Suspect:
    """A leaf under suspicion; what is excused counts as right."""
    h, right = wide(gradients.gradient), None
    tolerance = gradients.tolerance
    if gradients.automatic is not None:
        right = wide(gradients.automatic)
    elif numerical is not None and np.isfinite(numerical).all():
        right, tolerance = numerical, max(tolerance, 1e-6 * scale([numerical]))
    if right is not None and excused is not None:
        h = np.where(excused, right, h)
    dtypes = str(leaf.own.gradient.dtype), str(leaf.primal.dtype)
    probes = {} if measured.failures else measured.finest.probes(leaf.number)
    return Suspect(leaf.number, leaf.path, dtypes, h, right, tolerance, probes)
