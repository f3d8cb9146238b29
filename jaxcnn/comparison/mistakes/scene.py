"""The automatic function at its point, in which mistakes are planted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ...lowering import plain
from ..jaxpr import equations, rewritten
from ..pullback import vjp, working
from ..rounding import wide
from ..trial import Point, Trial

# What a mistake is called, and the gradient that it gives.
Mistake = tuple[str, np.ndarray]


@dataclass(frozen=True)
class Scene:
    """One leaf's automatic gradient, and all that a rule for it has at hand."""

    number: int
    call: Callable[[Any, Any], Any]
    float64: bool
    point: Point
    outs: list[np.ndarray]
    right: np.ndarray

    @classmethod
    def of_leaf(cls, number: int, trial: Trial, right: np.ndarray) -> "Scene | None":
        """The scene of a trial; None where nothing was differentiated automatically."""
        if trial.automatic is None:
            return None
        # The correlations of this package's own layers, put in terms that a mistake is planted in.
        call = rewritten(trial.automatic.call, "correlation", _as_lax)
        return cls(number, call, trial.automatic.float64, trial.point, trial.right_values, right)

    @property
    def primal(self) -> np.ndarray:
        """The leaf itself."""
        return wide(self.point.leaves[self.number])

    @property
    def cotangents(self) -> list[np.ndarray]:
        """One an output."""
        return [wide(g) for g in self.point.cotangents[0]]

    @cached_property
    def equations(self) -> list[Any]:
        """Every equation of the automatic function."""
        with working(self.float64):
            traced = jax.make_jaxpr(self.call)(self.point.leaves, self.point.fixed)
        return list(equations(traced))

    def of(self, *primitives: str) -> list[Any]:
        """The equations of these primitives."""
        return [eqn for eqn in self.equations if eqn.primitive.name in primitives]

    def gradient(
        self,
        *,
        call: Callable[[Any, Any], Any] | None = None,
        fixed: Sequence[Any] | None = None,
        cotangents: Sequence[Any] | None = None,
    ) -> np.ndarray:
        """The leaf's automatic gradient, of another function or at others of the arguments."""
        p = self.point
        with working(self.float64):
            _, gradients = vjp(
                call or self.call,
                p.leaves,
                p.fixed if fixed is None else list(fixed),
                p.cotangents[0] if cotangents is None else list(cotangents),
            )
            return wide(gradients[self.number])

    def planted(self, primitive: str, replacement: Callable[[Any, list[Any]], Any]) -> np.ndarray:
        """The leaf's gradient with the equations of a primitive replaced, as in `rewritten`."""
        return self.gradient(call=rewritten(self.call, primitive, replacement))


def _as_lax(eqn: Any, operands: list[Any]) -> Any:
    x, w, *b = operands
    c = eqn.params["c"]
    return plain.finished(plain.correlation(x, w, c), b[0] if b else None, c.activation)


def with_gradient(
    fn: Callable[..., Any], cotangents: Callable[[tuple[Any, ...], Any], tuple[Any, ...]]
) -> Callable[..., Any]:
    """`fn` with a rule: `cotangents(operands, g)` are those of its operands."""
    ruled = jax.custom_vjp(fn)
    ruled.defvjp(lambda *operands: (fn(*operands), operands), cotangents)
    return ruled


Mistakes = Iterator[Mistake]
