"""The forms of a max-pool, those for other platforms too: the same numbers as on CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import pooling
from jaxcnn.lowering.pooling import by_blocks, by_taps, chained_maximum, reduced_maximum

# Input, window, strides, padding, dilation.
WINDOWS = [
    ((4, 4), (2, 2), (2, 2), "VALID", 1),
    ((7, 6), (2, 2), (2, 2), "VALID", 1),
    ((7, 8), (3, 3), (2, 2), 1, 1),
    ((7, 8), (3, 2), (1, 2), "SAME", 1),
    ((9, 9), (3, 3), (3, 2), ((2, 0), (-1, 3)), 1),
    ((9, 7), (2, 1), (3, 3), "VALID", 1),
    ((8, 9), (3, 3), (2, 1), 2, 2),
    ((10,), (4,), (3,), "SAME_LOWER", 1),
    ((4, 5, 4), (2, 2, 2), (2, 1, 2), "VALID", 1),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_every_form_is_the_same(window):
    n, k, strides, padding, dilation = window
    x = np.random.default_rng(0).integers(-3, 3, (2, *n, 3)).astype(np.float64)
    x[0, :2] = -np.inf
    x[1, 1] = np.nan
    x = jnp.asarray(x)
    taps = pooling._taps("max_pool", x, k, strides, padding, dilation)
    y = chained_maximum(x, taps, -np.inf)
    if dilation == 1:
        np.testing.assert_array_equal(y, reduced_maximum(x, taps, -np.inf))
    winner = pooling._winners(x, taps)
    g = jnp.asarray(np.random.default_rng(1).normal(size=y.shape))
    expected = by_taps(winner, g, taps)
    np.testing.assert_allclose(by_blocks(winner, g, taps), expected, rtol=1e-14, atol=1e-14)
    assert jnp.isclose(expected.sum(), g.sum())  # padding wins nothing, not at -inf either


def test_a_tpu_gets_another_form():
    """As lowered: the blocks' barrier is there for a TPU, and for no other platform."""
    x, g = jnp.zeros((1, 4, 4, 2)), jnp.zeros((1, 2, 2, 2))

    def dx(x, g):
        return jax.vjp(lambda x: pooling.max_pool(x, (2, 2), 2), x)[1](g)

    def text(platform):
        return jax.export.export(jax.jit(dx), platforms=(platform,))(x, g).mlir_module()

    assert "optimization_barrier" in text("tpu")
    assert "optimization_barrier" not in text("cpu") + text("cuda")
