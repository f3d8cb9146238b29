"""How far apart two right gradients may lie: the tolerance, from the rounding that made it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

# Roundings to the working dtype between the arguments and the gradient that are let pass.
_STEPS = 8


@dataclass(frozen=True)
class Precision:
    """In what a gradient is computed: `eps` of the coarsest dtype, and `terms` that it may sum."""

    eps: float
    terms: int

    @property
    def summing_eps(self) -> float:
        """The precision of a sum: a narrower dtype is expected to sum in float32."""
        return min(self.eps, float(jnp.finfo(jnp.float32).eps))

    @property
    def relative(self) -> float:
        """A gradient's rounding relative to its scale: a few roundings, and a sum's random walk."""
        return _STEPS * self.eps + math.sqrt(self.terms) * self.summing_eps


def precision(arrays: list[Any], narrowest: Iterable[Any]) -> Precision:
    """The precision of a computation over these arrays, which rounds to `narrowest` inside."""
    dtypes = [a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)]
    dtypes += narrowest
    terms = max(int(np.prod(np.shape(a))) for a in arrays)
    return Precision(max(float(jnp.finfo(d).eps) for d in dtypes), terms)


def scale(gradients: list[np.ndarray]) -> float:
    """The size of one leaf's gradient: its largest element, under several cotangents.

    Several, since a sum may cancel under one of them.
    """
    return max(
        float(np.max(np.abs(np.nan_to_num(wide(g), posinf=0.0, neginf=0.0)), initial=0.0))
        for g in gradients
    )


def noise(coarse: np.ndarray, fine: np.ndarray) -> float:
    """The rounding of a gradient in one dtype, beside the same one in a finer dtype."""
    apart = np.abs(wide(coarse) - wide(fine))
    return float(np.max(apart[np.isfinite(apart)], initial=0.0))


def wide(a: np.ndarray) -> np.ndarray:
    """Any floating array as float64."""
    return np.asarray(a).astype(np.float64)


def spacing(value: float, dtype: Any) -> float:
    """One unit in the last place of `value` in `dtype`."""
    info = jnp.finfo(dtype)
    _, exponent = math.frexp(max(abs(value), float(info.tiny)))
    return math.ldexp(float(info.eps), exponent - 1)
