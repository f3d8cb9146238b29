"""relu and softmax."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike


def relu(x: ArrayLike) -> jax.Array:
    """`jax.nn.relu`: the derivative at 0 is 0."""
    return jax.nn.relu(jnp.asarray(x))


def softmax(x: ArrayLike, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """exp(x - max) over its sum, as `jaxcnn.softmax`."""
    x = jnp.asarray(x)
    e = jnp.exp(x - lax.stop_gradient(x.max(axis, keepdims=True, initial=-jnp.inf)))
    return e / e.sum(axis, keepdims=True)
