"""A part of a program that XLA compiles by itself."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`f` as a call that XLA leaves as it is.

    A sum is otherwise fused into what reads it, and computed anew for every place that is read: by
    a max-pool of 2x2, four times.
    """

    def within(*operands: Any) -> jax.Array:
        with set_xla_metadata(inlineable=None):
            return f(*operands)

    def call(*operands: Any) -> jax.Array:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(within)(*operands)

    return call


# Of larger operands one pass is the faster: they are read from memory once.
_IN_CACHE = 2**25


def beforehand(total: jax.Array, operand: jax.Array) -> jax.Array:
    """`total`, a sum over `operand`, on a CPU computed before what reads both.

    XLA 0.12 otherwise puts the sum and what reads it into one fusion, which is the slower one.
    """
    if operand.nbytes > _IN_CACHE:
        return total
    return lax.platform_dependent(total, cpu=lax.optimization_barrier, default=lambda t: t)
