"""Sums of 16-bit numbers are kept in float32."""

import jax
import jax.numpy as jnp


def widen(x: jax.Array) -> jax.Array:
    """X in float32 if it is of 16 bits or less, else x."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
