"""Neighbouring places that share a vector of outputs: the same sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn._window import Window
from jaxcnn.lowering import Correlation, neighbours, onednn, using
from jaxcnn.lowering.correlation import Problem, Target
from tests.proof import convolution_oracles
from tests.proof.checks import assert_equal

here = pytest.mark.skipif(
    not (onednn.wanted() and onednn.available("float32")),
    reason="no proven oneDNN in this jaxlib, or turned off",
)
CPU = Target("cpu")


@pytest.fixture(autouse=True)
def _wide_vectors(monkeypatch):
    monkeypatch.setattr(onednn, "lanes", lambda: 16)


@pytest.mark.parametrize(
    ("o", "m", "k", "stride", "places"),
    [
        (8, 28, 3, 1, 2),
        (8, 28, 5, 2, 2),
        (4, 28, 3, 1, 4),
        (3, 28, 3, 1, 4),  # 5 do not divide 28
        (2, 28, 7, 1, 7),
        (1, 28, 7, 1, 7),  # 14 leave two windows
        (4, 14, 3, 1, 2),  # half a vector
        (2, 14, 3, 1, 1),  # a quarter of one
        (8, 27, 3, 1, 1),
        (8, 28, 1, 1, 1),  # two taps for one
        (8, 28, 3, 3, 1),
        (9, 28, 3, 1, 1),
    ],
)
def test_how_many_share_a_vector(o, m, k, stride, places):
    assert neighbours.together(o, m, k, stride) == places


# The size of x, of w, strides, dilation, padding, and channels in and out.
SETTINGS = {
    "5x4, two of eight": ((5, 9), (2, 4), (2, 1), (2, 1), ((1, 0), (2, 0)), (3, 8), 2),
    "stride 2, three of five": ((4, 24), (3, 5), (1, 2), (1, 1), ((1, 1), (2, 1)), (2, 5), 3),
    "cropped, four of four": ((3, 19), (2, 3), (1, 1), (1, 1), ((0, 0), (-2, 1)), (2, 4), 4),
    "one axis, five of three": ((22,), (3,), (1,), (1,), ((0, 0),), (2, 3), 5),
    "three axes, two of eight": ((3, 3, 4), (2, 1, 3), (1, 2, 1), (1, 1, 1),
                                 ((0, 1), (0, 0), (1, 1)), (2, 8), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_sums(name):
    n, k, strides, dilation, pads, (c, o), places = SETTINGS[name]
    ones, rng = (1,) * len(n), np.random.default_rng(0)
    layer = Correlation(Window(strides, pads, ones, dilation))
    x, w = rng.normal(size=(4, *n, c)), rng.normal(size=(*k, c, o))
    m = layer.window.output_shape(n, k)
    g = rng.normal(size=(4, *m, o))
    assert neighbours.together(o, m[-1], k[-1], strides[-1]) == places
    y, _, dw = convolution_oracles.correlate(x, w, g, strides, pads, ones, dilation, 1)
    assert_equal(neighbours.y(jnp.asarray(x), jnp.asarray(w), layer), y, "y")
    of_dw = layer.of_dw(n, k)
    assert_equal(neighbours.dw(jnp.asarray(x), jnp.asarray(g), of_dw), dw, "dw")
    b = rng.normal(size=o)
    activated = layer.with_(activation="relu")
    found = neighbours.y(jnp.asarray(x), jnp.asarray(w), activated, jnp.asarray(b))
    assert_equal(found, np.maximum(y + b, 0), "y with bias and relu")


def test_how_far_a_nan_spreads():
    rng = np.random.default_rng(0)
    layer = Correlation(Window((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)))
    x, w = rng.normal(size=(4, 6, 12, 2)), rng.normal(size=(3, 3, 2, 8))
    g = jnp.asarray(rng.normal(size=(4, 6, 12, 8)))
    finite = neighbours.y(jnp.asarray(x), jnp.asarray(w), layer)
    x[1, 3, 6, 0] = np.nan
    spoilt = neighbours.y(jnp.asarray(x), jnp.asarray(w), layer)
    reached = np.zeros(spoilt.shape, bool)
    reached[1, 2:5, 5:8] = True  # by the kernel
    beside = np.zeros(spoilt.shape, bool)
    beside[1, 2:5, 4:9] = True  # and one place further
    assert np.isnan(spoilt[reached]).all()
    assert_equal(spoilt[~beside], finite[~beside], "y elsewhere")
    dw = neighbours.dw(jnp.asarray(x), g, layer.of_dw((6, 12), (3, 3)))
    assert np.isnan(dw[..., 0, :]).all()
    assert np.isfinite(dw[..., 1, :]).all()


@here
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_call_each_for_y_dx_and_dw(dtype):
    if not onednn.available(dtype):
        pytest.skip(f"no {dtype} by oneDNN on this processor")
    rng = np.random.default_rng(0)
    shapes = (8, 12, 12, 8), (5, 5, 8, 8), (8,)
    arrays = [jnp.asarray(rng.normal(size=s), jnp.float32).astype(dtype) for s in shapes]

    def loss(layers):
        def of(x, w, b):
            y = layers.conv(x, w, b, activation="relu")
            return jnp.sum(jnp.sin(y.astype(jnp.float32)))

        return jax.jit(jax.value_and_grad(of, (0, 1, 2)))

    text = loss(jaxcnn).lower(*arrays).as_text()
    assert text.count("__onednn$convolution") == 3
    # Of each the kernel of six taps, two places beside each other.
    assert text.count("tensor<5x6x8x16x") >= 2
    wide = [a.astype(jnp.float32) for a in arrays]
    (y, found), (expected_y, expected) = loss(jaxcnn)(*arrays), loss(reference)(*wide)
    rounding = 1e-4 if dtype == "float32" else 0.1
    np.testing.assert_allclose(y, expected_y, rtol=0, atol=100 * rounding)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            a.astype(jnp.float32), b, rtol=0, atol=rounding * np.abs(b).max()
        )


@here
@pytest.mark.parametrize("of", ["float64", "several devices", "groups", "zeros alone"])
def test_what_the_engine_does_not_take_stays(of):
    target = Target("cpu", one_device=False) if of == "several devices" else CPU
    dtype = jnp.dtype("float64" if of == "float64" else "float32")
    groups = 2 if of == "groups" else 1
    layer = Correlation(Window((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)), groups=groups)
    x, w, g = (4, 2, 2, 4), (3, 3, 4 // groups, 8), (4, 2, 2, 8)
    of_y = Problem(layer, x, w, dtype, target)
    of_dw = Problem(layer.of_dw((2, 2), (3, 3)), x, g, dtype, target)
    # Of one pair of places the outermost taps of dw would read zeros alone.
    assert neighbours.fits(of_y) == (of == "zeros alone")
    assert not neighbours.fits(of_dw)
    assert onednn.fits(of_dw) == (of in ("groups", "zeros alone"))


def test_second_order_and_vmap_when_forced():
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(2, 3, 4, 6, 2))), jnp.asarray(rng.normal(size=(3, 3, 2, 8)))

    def twice(layers):
        def first(x, w):
            return jax.grad(lambda x: jnp.sum(jnp.sin(layers.conv(x, w))))(x)

        return jax.jit(jax.vmap(jax.grad(lambda x, w: jnp.sum(first(x, w) ** 2), 1), (0, None)))

    with using("neighbours"):
        found = twice(jaxcnn)(x, w)
    assert_equal(found, twice(reference)(x, w), "second order")
