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
    # What counts as right there, whatever it is: `gradient` is `right` at these elements.
    excused: np.ndarray
    # The same rule at other cotangents: {"other": ..., "doubled": ...}, where it could be run.
    probes: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    def is_made_by(self, gradient: np.ndarray) -> bool:
        """Whether a mistake that gives this gradient gives the one in doubt."""
        if self.right is not None and gradient.shape == self.right.shape == self.excused.shape:
            gradient = np.where(self.excused, self.right, gradient)
        return self.is_close(self.gradient, gradient)

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
        """Whether a is b within the tolerance alone, where nothing is excused."""
        if a.shape != b.shape:
            return False
        same = np.abs(a - b) <= 4 * self.tolerance
        return bool(np.all(same | self.excused)) and not self.excused.all()


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
    if excused is None:
        excused = np.zeros(h.shape, bool)
    if right is not None and right.shape == h.shape:
        h = np.where(excused, right, h)
    dtypes = str(leaf.own.gradient.dtype), str(leaf.primal.dtype)
    probes = {} if measured.failures else measured.finest.probes(leaf.number)
    return Suspect(leaf.number, leaf.path, dtypes, h, right, tolerance, excused, probes)
