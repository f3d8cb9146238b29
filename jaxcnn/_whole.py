"""Keeping XLA:CPU from computing an array again in every loop that reads it."""

import jax
import jax.numpy as jnp
from jax import lax


def whole(x: jax.Array) -> jax.Array:
    """X, computed once and written to memory; x is of 32-bit floats.

    XLA:CPU fuses a cheap producer into each of its readers, and drops `optimization_barrier` before
    it does. A ReLU is then computed again in the order of a transposed copy, and the winners of a
    pooling window once for every tap. A division is never computed twice: this one is by a 1 that
    XLA cannot know, the sign bit of x shifted away. Elsewhere x is returned as it is.
    """

    def divided(x):
        bits = lax.bitcast_convert_type(x, jnp.uint32)
        never = lax.shift_right_logical(
            lax.shift_right_logical(bits, jnp.uint32(31)), jnp.uint32(1)
        )
        return x / (1 + never.astype(x.dtype))

    return lax.platform_dependent(x, cpu=divided, default=lambda x: x)
