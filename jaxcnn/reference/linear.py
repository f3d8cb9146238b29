"""A dense layer."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def dense(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    activation: Literal["relu"] | None = None,
) -> jax.Array:
    """`x @ w + b`, as `jaxcnn.dense`."""
    y = jnp.matmul(jnp.asarray(x), jnp.asarray(w))
    y = y if b is None else plus_bias(y, b)
    return y if activation is None else jax.nn.relu(y)


def plus_bias(y: jax.Array, b: ArrayLike) -> jax.Array:
    return y + jnp.asarray(b).reshape((1,) * (y.ndim - 1) + (-1,))
