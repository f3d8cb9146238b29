"""Every usual mistake is named, on a rule of a matrix product that makes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import compare

X = jnp.asarray(np.random.default_rng(1).normal(size=(6, 5)))
W = jnp.asarray(np.random.default_rng(2).normal(size=(5, 6)))
SQUARE = jnp.asarray(np.random.default_rng(3).normal(size=(5, 5)))
ONES = jnp.ones((6, 6))


def with_rule(bwd):
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, (x, w)), bwd)
    return product


def mistaken(mistake):
    """The right gradients, dx and dw, put through a mistake."""
    return with_rule(lambda args, g: mistake(g @ args[1].T, args[0].T @ g))


MISTAKES = {
    "factor 2": (lambda dx, dw: (2 * dx, dw), "x", "off by a factor 2"),
    "factor 1/m": (
        lambda dx, dw: (dx, dw / 6), "w",
        "off by a factor 1/6, 6 perhaps being the size of axis 0 of x or the",
    ),
    "factor m": (
        lambda dx, dw: (5 * dx, dw), "x",
        "off by a factor 5, 5 perhaps being the size of axis 1 of x or the",
    ),
    "another factor": (lambda dx, dw: (1.37 * dx, dw), "x", "off by a factor 1.37"),
    "sign": (lambda dx, dw: (dx, -dw), "w", "the wrong sign"),
    "sign and factor": (lambda dx, dw: (dx, -dw / 2), "w", "the wrong sign and off by"),
    "flip": (lambda dx, dw: (dx[::-1], dw), "x", "flipped along axis 0"),
    "flips": (lambda dx, dw: (dx, dw[::-1, ::-1]), "w", "flipped along axes 0 and 1"),
    "flip and factor": (
        lambda dx, dw: (dx[:, ::-1] / 6, dw), "x", "flipped along axis 1, and off by a factor 1/6",
    ),
    "shift": (lambda dx, dw: (jnp.roll(dx, 1, 0), dw), "x", "shifted by +1 along axis 0"),
    "zero-filled shift": (
        lambda dx, dw: (dx, jnp.zeros_like(dw).at[:, :-2].set(dw[:, 2:])),
        "w", "shifted by -2 along axis 1",
    ),
    "sum": (
        lambda dx, dw: (dx, jnp.tile(dw.sum(0, keepdims=True), (5, 1))),
        "w", "summed over axis 0 and broadcast back",
    ),
    "mean": (
        lambda dx, dw: (jnp.tile(dx.mean(1, keepdims=True), (1, 5)), dw),
        "x", "averaged over axis 1 and broadcast back",
    ),
    "zeros": (lambda dx, dw: (0 * dx, dw), "x", "zeros, where the right gradient is not zero"),
    "exchange": (lambda dx, dw: (dw.T, dx.T), "x", "it is the transposed gradient of w"),
    "border": (
        lambda dx, dw: (dx.at[0].multiply(0.5).at[:, -1].multiply(3.0), dw),
        "x", "wrong at the border only: the first cell of axis 0 and the last cell of axis 1",
    ),
    "one element": (
        lambda dx, dw: (dx, dw.at[3, 4].multiply(1.01)), "w", "one element only, at (3, 4)",
    ),
    "doubled in places": (
        lambda dx, dw: (jnp.where(X > 0.3, 2 * dx, dx), dw), "x", "off by a factor 2 in ",
    ),
    "clipped": (
        lambda dx, dw: (jnp.clip(dx, -1, 1), dw), "x", "not linear in the cotangent",
    ),
    "dtype": (
        lambda dx, dw: (dx.astype(jnp.float32), dw),
        "x", "its dtype float32 is not that of its primal, float64",
    ),
    "NaN": (lambda dx, dw: (dx.at[1, 1].set(jnp.nan), dw), "x", "NaN in 1 of 30 elements"),
    "infinity": (lambda dx, dw: (dx, dw.at[1].set(jnp.inf)), "w", "infinite in 6 of 30 elements"),
    "transposed shape": (
        lambda dx, dw: (dx.T, dw), "x", "[5, 6] is not that of its primal, [6, 5]: transposed",
    ),
    "summed shape": (
        lambda dx, dw: (dx, dw.sum(0)),
        "w", "[6] is not that of its primal, [5, 6]: summed over axis 0, an axis too many",
    ),
    "unsummed shape": (
        lambda dx, dw: (jnp.stack([dx / 2, dx / 2]), dw),
        "x", "[2, 6, 5] is not that of its primal, [6, 5]: not summed over axis 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_named(name):
    mistake, path, words = MISTAKES[name]
    result = compare(mistaken(mistake), X, W)
    assert not result.ok
    leaf = result[path]
    assert not leaf.ok
    assert any(words in d for d in leaf.diagnosis), leaf.diagnosis
    if name != "exchange":
        assert all(other.ok for other in result.leaves if other is not leaf)
        assert not any(other.diagnosis for other in result.leaves if other is not leaf)


def test_transposed():
    rule = with_rule(lambda args, g: ((g @ args[1].T).T, args[0].T @ g))
    leaf = compare(rule, SQUARE, SQUARE + 1)["x"]
    assert leaf.diagnosis == ("transposed, axes 0 and 1",)


def test_exchanged():
    add = jax.custom_vjp(lambda x, w: 2 * x + 3 * w)
    add.defvjp(lambda x, w: (2 * x + 3 * w, None), lambda _, g: (3 * jnp.sin(g), 2 * g))
    # Not exchanged: sin(g) is no gradient of anything here.
    assert not any("exchanged" in d for d in compare(add, X, X + 1)["x"].diagnosis)
    multiply = jax.custom_vjp(lambda x, w: x * w)
    multiply.defvjp(lambda x, w: (x * w, (x, w)), lambda a, g: (g * a[0], g * a[1]))
    for path, other in (("x", "w"), ("w", "x")):
        leaf = compare(multiply, X, X[::-1] + 1)[path]
        assert leaf.diagnosis == (f"it is the gradient of {other}: the two may be exchanged",)


def test_the_cotangent_ignored():
    rule = with_rule(lambda args, g: (ONES @ args[1].T, args[0].T @ g))
    assert "the cotangent is ignored" in compare(rule, X, W)["x"].diagnosis[0]


def test_not_zero_where_the_right_one_is():
    rule = jax.custom_vjp(lambda x, w: x + 0 * w)
    rule.defvjp(lambda x, w: (x, None), lambda _, g: (g, g))
    assert "not zero, where the right gradient is zero" in compare(rule, X, X)["w"].diagnosis


def test_not_summed_over_a_broadcast_axis():
    rule = jax.custom_vjp(lambda x: jnp.tile(x.sum(0, keepdims=True), (6, 1)))
    rule.defvjp(lambda x: (rule(x), None), lambda _, g: (g,))
    assert "the cotangent is passed on as it is" in compare(rule, X)["x"].diagnosis[0]


def test_nothing_is_said_without_evidence():
    noise = jnp.asarray(np.random.default_rng(4).normal(size=(6, 5)))
    result = compare(mistaken(lambda dx, dw: (dx * noise, dw)), X, W)
    assert not result["x"].ok
    assert result["x"].diagnosis == ()
    scalar = jax.custom_vjp(lambda x: x * x)
    scalar.defvjp(lambda x: (x * x, x), lambda x, g: (1.37 * g * x,))
    assert compare(scalar, jnp.array(3.0))["x"].diagnosis == ()


def test_differences_alone_name_it_too():
    tanh = jax.custom_vjp(
        lambda x: jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
    )
    tanh.defvjp(lambda x: (tanh(x), x), lambda x, g: (-g * (1 - jnp.tanh(x) ** 2),))
    assert compare(tanh, X)["x"].diagnosis == ("the wrong sign",)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_in_a_narrow_dtype(dtype):
    result = compare(mistaken(lambda dx, dw: (dx[::-1], dw / 6)), X.astype(dtype), W.astype(dtype))
    assert result["x"].diagnosis == ("flipped along axis 0",)
    assert "1/6" in result["w"].diagnosis[0]
