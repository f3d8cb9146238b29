"""oneDNN, the engine inside jaxlib's own CPU wheel, called from a compiled program."""

import jax

from .correlation import Correlation, Problem


def fits(p: Problem) -> bool:
    """Whether oneDNN takes the problem and is the best for it."""
    return False


def run(x: jax.Array, w: jax.Array, *b: jax.Array, c: Correlation) -> jax.Array:
    """The correlation, its bias and its activation, in one call."""
    raise NotImplementedError
