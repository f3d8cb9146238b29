"""The forms of a pool, those for other platforms too: the same numbers as on CPU."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import pooling, reference
from jaxcnn._taps import scatter_equal, window_sum
from jaxcnn.lowering.pooling import (
    by_blocks,
    by_product,
    by_taps,
    chained_maximum,
    reduced_maximum,
    shared_on_cpu,
    sliced_maximum,
    sum_on_cpu,
)
from jaxcnn.lowering.pooling_primitives import shared, summed

# Input, window, strides, padding, dilation.
WINDOWS = [
    ((4, 4), (2, 2), (2, 2), "VALID", 1),
    ((7, 6), (2, 2), (2, 2), "VALID", 1),
    ((7, 8), (3, 3), (2, 2), 1, 1),
    ((7, 8), (3, 2), (1, 2), "SAME", 1),
    ((9, 9), (3, 3), (3, 2), ((2, 0), (-1, 1)), 1),
    ((9, 7), (2, 1), (3, 3), "VALID", 1),
    ((8, 9), (3, 3), (2, 1), 2, 2),
    ((10,), (4,), (3,), "SAME_LOWER", 1),
    ((4, 5, 4), (2, 2, 2), (2, 1, 2), "VALID", 1),
]
# More taps than become slices.
MANY = ((9, 9), (6, 6), (1, 1), "SAME", 1)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_every_form_is_the_same(window):
    n, k, strides, padding, dilation = window
    x = np.random.default_rng(0).integers(-3, 3, (2, *n, 3)).astype(np.float64)
    x[0, :2] = -np.inf
    x[1, 1] = np.nan
    x = jnp.asarray(x)
    taps = pooling._taps("max_pool", x, k, strides, padding, dilation)
    y = chained_maximum(x, taps, -np.inf)
    np.testing.assert_array_equal(y, sliced_maximum(x, taps, -np.inf))
    if dilation == 1:
        np.testing.assert_array_equal(y, reduced_maximum(x, taps, -np.inf))
    winner = pooling._winners(x, taps)
    g = jnp.asarray(np.random.default_rng(1).normal(size=y.shape))
    expected = by_taps(winner, g, taps)
    np.testing.assert_allclose(by_blocks(winner, g, taps), expected, rtol=1e-14, atol=1e-14)
    assert jnp.isclose(expected.sum(), g.sum())  # padding wins nothing, not at -inf either


@pytest.mark.parametrize("window", [*(w for w in WINDOWS if w[-1] == 1), MANY], ids=str)
@pytest.mark.parametrize("lead", [(2,), (), (2, 3)], ids=str)
def test_both_passes_of_an_average_are_sums_over_windows(window, lead):
    n, k, strides, padding, _ = window
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(*lead, *n, 3)))
    taps = pooling._taps("avg_pool", x, k, strides, padding, 1)
    g = jnp.asarray(rng.normal(size=(*lead, *taps.m, 3)))
    for form, plain, operand in (
        (sum_on_cpu, window_sum, x),
        (shared_on_cpu, scatter_equal, g),
    ):
        expected = plain(operand, taps)
        np.testing.assert_allclose(form(operand, taps), expected, rtol=1e-13, atol=1e-13)
    transposed = jax.linear_transpose(lambda x: summed(x, taps), x)(g)[0]
    np.testing.assert_allclose(transposed, shared(g, taps), rtol=1e-13, atol=1e-13)
    assert jnp.isclose(jnp.vdot(summed(x, taps), g), jnp.vdot(x, transposed))


def test_what_no_window_reaches_gets_no_nan():
    """Of the phases side by side, those that a share does not reach stay as they are."""
    taps = pooling._taps("avg_pool", jnp.zeros((1, 9, 1)), (2,), (3,), "VALID", 1)
    g = jnp.array([1.0, jnp.nan, jnp.inf]).reshape(1, 3, 1)
    found = shared(g, taps).ravel()
    np.testing.assert_array_equal(found, [1, 1, 0, np.nan, np.nan, 0, np.inf, np.inf, 0])


@pytest.mark.parametrize(
    ("window", "channels", "left"), [(3, 2, 0), (2, 16, 0), (2, 32, 1), (2, 64, 0), (3, 32, 0)]
)
def test_an_average_on_a_cpu_has_no_reduce_window(window, channels, left):
    """XLA runs that element by element there, and dx of 2x2 alone as fast; others keep it."""
    x, g = jnp.zeros((1, 7, 7, channels)), jnp.zeros((1, 3, 3, channels))

    def both(x, g):
        y, to_x = jax.vjp(lambda x: pooling.avg_pool(x, (window, window), 2), x)
        return y, to_x(g)

    def text(platform):
        return jax.export.export(jax.jit(both), platforms=(platform,))(x, g).mlir_module()

    assert text("cpu").count("stablehlo.reduce_window") == left
    assert all(text(platform).count("stablehlo.reduce_window") == 2 for platform in ("tpu", "cuda"))


def test_a_tpu_gets_another_form():
    """As lowered: the blocks' barrier is there for a TPU, and for no other platform."""
    x, g = jnp.zeros((1, 4, 4, 2)), jnp.zeros((1, 2, 2, 2))

    def dx(x, g):
        return jax.vjp(lambda x: pooling.max_pool(x, (2, 2), 2), x)[1](g)

    def text(platform):
        return jax.export.export(jax.jit(dx), platforms=(platform,))(x, g).mlir_module()

    assert "optimization_barrier" in text("tpu")
    assert "optimization_barrier" not in text("cpu") + text("cuda")


def test_every_winner_takes_each_of_many_cotangents():
    """The Jacobian maps over g alone; backwards through it, what was placed is picked again."""
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, 5, 3)))

    def pool(layers, x):
        return layers.max_pool(x, (3, 3), 2, 1)

    own = jax.jacrev(lambda x: pool(jaxcnn, x))(x)
    np.testing.assert_array_equal(own, jax.jacrev(lambda x: pool(reference, x))(x))

    def power(layers, x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(pool(layers, x) ** 3))(x) ** 2)

    np.testing.assert_allclose(
        jax.grad(lambda x: power(jaxcnn, x))(x),
        jax.grad(lambda x: power(reference, x))(x),
        rtol=1e-12,
    )


def test_a_pool_is_a_primitive_for_each_platform():
    """Nothing is traced for a platform that the program is not compiled for."""
    jaxpr = str(
        jax.make_jaxpr(jax.grad(lambda x: pooling.max_pool(x, (3, 3), 2).sum()))(
            jnp.zeros((1, 5, 5, 2))
        )
    )
    assert "platform_index" not in jaxpr
    for name in ("maximum", "routed", "materialized"):
        assert re.search(rf" {name}[\[ ]", jaxpr), name
    jaxpr = str(
        jax.make_jaxpr(jax.grad(lambda x: pooling.avg_pool(x, (3,), 2).sum()))(jnp.zeros((1, 5, 2)))
    )
    for name in ("summed", "shared"):
        assert re.search(rf" {name}[\[ ]", jaxpr), name


@pytest.mark.parametrize("ties", ["first", "split"])
@pytest.mark.parametrize("channels", [16, 17])
@pytest.mark.parametrize("between", ["two batch axes", "reshape", "vmap"])
def test_dx_is_not_written_over_an_input_that_is_still_read(between, channels, ties):
    """The mask of the relu before a pool and the pool itself read one array in two shapes.

    In one loop that writes dx over it the windows were read too late, and every gradient below was
    wrong: XLA does not see that the two are the same.
    """
    rng = np.random.default_rng(0)
    x, w, b = (
        jnp.asarray(rng.normal(size=s), jnp.float32)
        for s in ((8, 1, 14, 14, 8), (3, 3, 8, channels), (channels,))
    )

    def loss(x, w, b, layers):
        def pooled(x):
            y = layers.conv(x, w, b, activation="relu")
            y = y[:, None] if between == "reshape" else y
            return jnp.sum(jnp.sin(layers.max_pool(y, (2, 2), 2, ties=ties)))

        return jnp.sum(jax.vmap(pooled)(x)) if between == "vmap" else pooled(x)

    x = x[:, 0] if between == "reshape" else x
    got, expected = (
        jax.jit(jax.grad(partial(loss, layers=layers), (0, 1, 2)))(x, w, b)
        for layers in (jaxcnn, reference)
    )
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4 * float(jnp.abs(e).max()))


@pytest.mark.parametrize("channels", [1, 3, 16, 131, 256])
def test_whole_numbers_pass_through_the_product(channels):
    numbers = np.random.default_rng(0).integers(0, 127, (2, 3, channels)).astype(np.float32)
    with jax.default_matmul_precision("TF32_TF32_F32"):
        np.testing.assert_array_equal(jax.jit(by_product)(numbers), numbers)
