"""The usual mistakes of a rule, written as their author would, get their names."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxcnn
from jaxcnn import compare, reference
from jaxcnn.comparison.mistakes import usual

NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True)
def _no_mistake_fails_to_be_planted(monkeypatch):
    monkeypatch.setattr(usual, "BROKEN", ())


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def ruled(fn, bwd):
    """`fn` with a rule that keeps its arguments."""
    rule = jax.custom_vjp(fn)
    rule.defvjp(lambda *args: (fn(*args), args), bwd)
    return rule


def lax_conv(x, w, strides=(1, 1), padding: Any = "SAME"):
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=NHWC)


@pytest.mark.parametrize("conv", [lax_conv, jaxcnn.conv], ids=["lax", "jaxcnn"])
@pytest.mark.parametrize(
    ("image", "kernel"),
    [((2, 7, 6, 3), (3, 3, 3, 4)), ((1, 5, 5, 1), (3, 3, 1, 1)), ((2, 6, 6, 2), (2, 4, 2, 2))],
)
def test_a_kernel_that_is_not_flipped(conv, image, kernel):
    def bwd(args, g):
        x, w = args
        pull = jax.vjp(lambda x, w: lax_conv(x, w), x, jnp.flip(w, (0, 1)))[1]
        return pull(g)[0], jax.vjp(lambda x, w: lax_conv(x, w), x, w)[1](g)[1]

    rule = ruled(lambda x, w: conv(x, w), bwd)
    result = compare(rule, normal(*image), normal(*kernel, seed=1), numerical=False)
    assert result["x"].diagnosis == ("the kernel is not flipped",)
    assert result["w"].ok


PADDINGS = {
    "nothing padded": (1, (0, 0), (0, 0), "-2 before and -2 after along axis 1"),
    "one too many": (1, (3, 3), (2, 2), "+1 before and +1 after along axis 1"),
    "shifted": (
        1, (1, 3), (2, 2), "off by one along spatial axis 0: one more before, one less after",
    ),
    "strides forgotten": (2, (2, 2), (2, 2), ": the strides are forgotten"),
}  # fmt: skip


@pytest.mark.parametrize("name", PADDINGS)
def test_paddings_and_strides_of_dx(name):
    strides, high, low, words = PADDINGS[name]
    conv = functools.partial(lax_conv, strides=(strides, strides), padding="VALID")

    def bwd(args, g):
        x, w = args
        turned = jnp.swapaxes(jnp.flip(w, (0, 1)), 2, 3)
        return lax_conv(g, turned, padding=(high, low)), jax.vjp(conv, x, w)[1](g)[1]

    rule = ruled(lambda x, w: conv(x, w), bwd)
    result = compare(rule, normal(2, 7, 7, 3), normal(3, 3, 3, 4, seed=1), numerical=False)
    (found,) = result["x"].diagnosis
    assert words in found
    assert result["w"].ok


def spread(g):
    """Every element of a cotangent, over its window of 2 by 2."""
    return jnp.repeat(jnp.repeat(g, 2, 1), 2, 2)


POOLS = {
    "reduce_window": lambda x: reference.avg_pool(x, (2, 2), 2),
    "a mean over axes": lambda x: x.reshape(1, 2, 2, 2, 2, 1).mean((2, 4)),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_window_is_preferred_to_an_axis_of_its_size(name):
    rule = ruled(POOLS[name], lambda args, g: (spread(g),))
    (words,) = compare(rule, normal(1, 4, 4, 1), numerical=False)["x"].diagnosis
    assert words == "off by a factor 4, 4 being the elements of the 2x2 window"


def test_the_mask_of_a_maximum_is_forgotten():
    rule = ruled(lambda x: reference.max_pool(x, (2, 2), 2), lambda args, g: (spread(g),))
    (words,) = compare(rule, normal(1, 4, 4, 2), numerical=False)["x"].diagnosis
    assert words == "the mask is forgotten: every element of a window gets the cotangent"


def test_overlapping_windows_that_overwrite_each_other():
    def pool(x):
        return reference.max_pool(x, (3,), 2)

    def bwd(args, g):
        x = np.asarray(args[0])
        dx = np.zeros_like(x)
        for n, o, c in np.ndindex(*g.shape):
            window = x[n, 2 * o : 2 * o + 3, c]
            dx[n, 2 * o : 2 * o + 3, c] = np.where(window == window.max(), g[n, o, c], 0)
        return (jnp.asarray(dx),)

    def through_numpy(args, g):
        shape = jax.ShapeDtypeStruct(args[0].shape, args[0].dtype)
        return (jax.pure_callback(lambda x, g: np.asarray(bwd((x,), g)[0]), shape, args[0], g),)

    (words,) = compare(ruled(pool, through_numpy), normal(2, 9, 3), numerical=False)["x"].diagnosis
    assert words == "where windows overlap, the last one overwrites the others"


def test_every_tied_element_gets_the_full_gradient():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (1, 6, 6, 2)), float)

    def pool(x):
        return reference.max_pool(x, (2, 2), 2)

    def bwd(args, g):
        return (jnp.where(args[0] == spread(pool(args[0])), spread(g), 0),)

    result = compare(ruled(pool, bwd), x, numerical=False, kinks="fail")
    # Where equal and close are one, both fit.
    (words,) = result["x"].diagnosis
    assert words.startswith("perhaps every tied element of a window gets the full gradient, or ")
    assert "jnp.isclose" in words


def test_the_short_formula_below_a_mean():
    def loss(z, y):
        return reference.softmax_cross_entropy(z, y).mean()

    def bwd(args, g):
        z, y = args
        return g / 3 * (jax.nn.softmax(z) - y), jax.vjp(loss, z, y)[1](g)[1]

    result = compare(ruled(loss, bwd), normal(3, 5), jnp.abs(normal(3, 5, seed=1)))
    (words,) = result["z"].diagnosis
    assert words.startswith("p - y, which is right where the labels sum to 1")
    assert result["y"].ok


def test_two_explanations_are_each_a_perhaps():
    conv = functools.partial(lax_conv, padding=((0, 1), (0, 1)))

    def bwd(args, g):
        return jax.vjp(functools.partial(lax_conv, padding=((1, 0), (1, 0))), *args)[1](g)

    rule = ruled(lambda x, w: conv(x, w), bwd)
    result = compare(rule, normal(1, 5, 5, 2), normal(2, 2, 2, 2, seed=1), numerical=False)
    assert result["w"].diagnosis == (
        "perhaps the padding is off by one: one more before, one less after, or "
        "perhaps the paddings before and after are exchanged",
    )


def test_a_mistake_that_cannot_be_planted_costs_the_diagnosis_alone(monkeypatch):
    def broken(scene):
        raise RuntimeError("no such mistake")
        yield

    monkeypatch.setattr(usual, "BROKEN", (Exception,))
    monkeypatch.setattr(usual, "TOPICS", (broken, *usual.TOPICS))
    rule = ruled(lambda x: reference.relu(x), lambda args, g: (g,))
    assert compare(rule, normal(4, 3))["x"].diagnosis == ("the mask of the ReLU is forgotten",)
