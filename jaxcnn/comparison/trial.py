"""A function's gradients, and the automatic ones, at one point in one precision."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from .places import largest
from .pullback import Pullback
from .rounding import Precision, noise, precision, scale, wide


@dataclass(frozen=True)
class Point:
    """Where the gradients are taken: leaves, arrays held fixed, and a few cotangents."""

    leaves: list[Any]
    fixed: list[Any]
    cotangents: list[list[Any]]

    def cast(self, dtype: Any) -> "Point":
        """The same point in one floating dtype."""
        g = [_cast(c, dtype) for c in self.cotangents]
        return Point(_cast(self.leaves, dtype), _cast(self.fixed, dtype), g)


def _cast(arrays: list[Any], dtype: Any) -> list[Any]:
    """The floating arrays among them in `dtype`, as NumPy arrays."""
    return [
        np.asarray(a).astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in arrays
    ]


@dataclass(frozen=True)
class LeafGradients:
    """One leaf's gradient, the automatic one (None without), and how far apart the two may lie."""

    gradient: np.ndarray
    automatic: np.ndarray | None
    tolerance: float
    # That tolerance in words.
    reason: str

    @cached_property
    def error(self) -> np.ndarray:
        """|gradient - automatic|: infinite where only one is finite, zero without an automatic."""
        if self.automatic is None:
            return np.zeros(self.gradient.shape)
        with np.errstate(invalid="ignore"):
            apart = np.abs(wide(self.gradient) - wide(self.automatic))
        return np.where(np.isnan(apart), np.inf, apart)

    @property
    def wrong(self) -> np.ndarray:
        """Where the gradient is off, before anything is excused."""
        return ~np.isfinite(wide(self.gradient)) | ~(self.error <= self.tolerance)


@dataclass(frozen=True)
class Trial:
    """Everything that was run in one precision, for all leaves.

    `right` are the automatic gradients, and `others` the same under the other cotangents, which
    show the scale of a leaf; both are empty where there is nothing automatic. `noise` is the
    rounding of the automatic gradients, measured in another dtype, leaf by leaf. `hand` is None
    where JAX refuses to run the rule.
    """

    point: Point
    hand: Pullback | None
    automatic: Pullback | None
    values: list[np.ndarray]
    gradients: list[np.ndarray]
    right_values: list[np.ndarray]
    right: list[np.ndarray]
    others: list[list[np.ndarray]]
    precision: Precision
    noise: list[float]

    def leaf(self, k: int) -> LeafGradients:
        """What is known of leaf k."""
        right = self.right[k] if self.automatic else None
        return LeafGradients(self.gradients[k], right, self._tolerance(k), self._reason(k))

    def _tolerance(self, k: int) -> float:
        gradients = [*(o[k] for o in self.others), (self.right or self.gradients)[k]]
        # Below this, results may be flushed to zero.
        floor = float(np.finfo(np.float32).tiny) / self.precision.eps
        return self.precision.relative * max(scale(gradients), floor) + 4 * self.noise[k]

    def _reason(self, k: int) -> str:
        p = self.precision
        text = f"(8 eps + sqrt({p.terms:,}) eps') times the scale of the leaf, eps = {p.eps:.2g}"
        if p.summing_eps != p.eps:
            text += f", eps' = {p.summing_eps:.2g} since sums are expected in float32"
        else:
            text += " = eps'"
        if self.noise[k]:
            text += f"; and 4 times {self.noise[k]:.2g}, the automatic gradient's own rounding"
        return text

    def probes(self, k: int) -> dict[str, np.ndarray]:
        """The rule's gradient of leaf k at other cotangents, by name; empty where it cannot run."""
        return {name: wide(gradients[k]) for name, gradients in self._probes.items()}

    @cached_property
    def _probes(self) -> dict[str, list[np.ndarray]]:
        if self.hand is None:
            return {}
        p = self.point
        doubled = [np.asarray(c) * np.asarray(2, c.dtype) for c in p.cotangents[0]]
        cotangents = {"other": p.cotangents[1], "doubled": doubled}
        return {name: self.hand(p.leaves, p.fixed, c)[1] for name, c in cotangents.items()}


def attempt(
    hand: Pullback | None,
    automatic: Pullback | None,
    point: Point,
    found: tuple[list[np.ndarray], list[np.ndarray]],
    narrowest: list[Any],
) -> Trial:
    """Run the automatic function at a point; `found` is what `fn` gave for the first cotangent."""
    values, gradients = found
    right_values, right, others = [], [], []
    if automatic is not None:
        first, *rest = point.cotangents
        right_values, right = automatic(point.leaves, point.fixed, first)
        others = [automatic(point.leaves, point.fixed, g)[1] for g in rest]
        narrowest = narrowest + automatic.narrowest
    p = precision([*point.leaves, *point.fixed, *values], narrowest)
    return Trial(
        point=point,
        hand=hand,
        automatic=automatic,
        values=values,
        gradients=gradients,
        right_values=right_values,
        right=right,
        others=others,
        precision=p,
        noise=[0.0] * len(gradients),
    )


def with_noise(own: Trial, fine: Trial | None) -> tuple[Trial, Trial | None]:
    """Both trials with the rounding of their automatic gradients measured against each other.

    The rounding of one dtype, times the ratio of the two eps, is that of the other: it covers what
    cancels inside the function, of which the scale of the gradient knows nothing.
    """
    if own.automatic is None:
        return own, fine
    if fine is not None:
        measured = [noise(a, b) for a, b in zip(own.right, fine.right, strict=True)]
        by = fine.precision.eps / own.precision.eps
        return replace(own, noise=measured), replace(fine, noise=[n * by for n in measured])
    if own.precision.eps > 1e-15 or not _seem_apart(own):
        return own, None
    coarse = own.point.cast(np.float32)
    try:
        _, rounded = own.automatic(coarse.leaves, coarse.fixed, coarse.cotangents[0])
    except Exception:  # a function may insist on float64
        return own, None
    by = own.precision.eps / float(np.finfo(np.float32).eps)
    measured = [noise(a, b) * by for a, b in zip(rounded, own.right, strict=True)]
    return replace(own, noise=measured), None


def _seem_apart(trial: Trial) -> bool:
    """Whether some gradient differs from the automatic one by more than its tolerance."""
    leaves = map(trial.leaf, range(len(trial.gradients)))
    return any(
        leaf.automatic is not None
        and leaf.gradient.shape == leaf.automatic.shape
        and not noise(leaf.gradient, leaf.automatic) <= leaf.tolerance
        for leaf in leaves
    )


def unlike_values(trial: Trial, outs: list[np.ndarray], automatic: str | None) -> list[str]:
    """Values that differ beyond rounding, in words: then the gradients are of two functions."""
    found: list[str] = []
    pairs = [("its rule's forward pass", trial.values)]
    if automatic is not None:
        pairs.append((automatic, trial.right_values))
    for words, values in pairs:
        for out, v in zip(outs, values, strict=True):
            a, b = wide(out), wide(v)
            apart = np.abs(a - b)
            if not np.max(apart, initial=0.0) <= 4 * trial.precision.relative * scale([a]):
                index = largest(apart)
                found.append(
                    f"the value is not that of {words}: at {index} {a[index]:.6g} for "
                    f"{b[index]:.6g}"
                )
                break
    return found
