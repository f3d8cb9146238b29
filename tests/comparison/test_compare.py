"""What `compare` finds, where, and what it must not mistake for an error."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import assert_gradients_match, compare
from tests.comparison.ruled import ruled


def normal(*shape, seed=0, dtype=None):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


sine = ruled(jnp.sin, lambda args, g: (g * jnp.cos(args[0]),))
wrong_sine = ruled(jnp.sin, lambda args, g: (g * jnp.sin(args[0]),))


def callback(fn):
    """`fn` of NumPy, of which JAX can take no derivative."""
    return lambda x: jax.pure_callback(fn, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def test_a_layer_is_held_against_its_twin():
    layer = functools.partial(jaxcnn.conv, strides=2, padding="VALID")
    result = compare(layer, normal(2, 5, 5, 2), normal(3, 3, 2, 3), normal(3))
    assert result.ok
    assert [leaf.path for leaf in result.leaves] == ["x", "w", "b"]
    assert result.against == "jaxcnn.reference.conv and central differences"
    assert result.name == "conv(strides=2, padding='VALID')"
    for leaf in result.leaves:
        assert leaf.max_abs_error is not None
        assert leaf.max_abs_error <= leaf.tolerance < 1e-10
        assert leaf.cosine == pytest.approx(1)
        assert leaf.differences is not None
        assert leaf.differences.inconclusive == 0


def test_one_percent_in_one_element_of_a_hundred_thousand():
    spoilt = (57, 913)
    scaled = ruled(
        lambda x: 3 * x * x, lambda args, g: ((6 * args[0] * g).at[spoilt].multiply(1.01),)
    )
    x = normal(100, 1000)
    result = compare(scaled, x, reference=lambda x: 3 * x * x)
    leaf = result["x"]
    assert not leaf.ok
    assert leaf.worst_index == spoilt
    assert leaf.max_rel_error == pytest.approx(0.01, rel=1e-6)
    assert "one element only" in leaf.diagnosis[0]


def test_the_same_error_is_located_by_differences_alone():
    spoilt = (57, 913)
    scaled = ruled(
        callback(lambda x: 3 * x * x),
        lambda args, g: ((6 * args[0] * g).at[spoilt].multiply(1.01),),
    )
    result = compare(scaled, normal(100, 1000))
    leaf = result["x"]
    assert not leaf.ok
    assert leaf.automatic is None
    assert leaf.differences is not None
    assert leaf.differences.worst_index == spoilt
    assert "no" in result.notes[0] or "does not exist" in result.notes[0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_float64_finds_what_a_narrow_dtype_hides(dtype):
    spoilt = ruled(jnp.sin, lambda args, g: ((g * jnp.cos(args[0])).at[3].multiply(1.000001),))
    leaf = compare(spoilt, normal(40, dtype=dtype))["x"]
    assert not leaf.ok
    assert leaf.max_abs_error is not None
    assert leaf.max_abs_error <= leaf.tolerance
    assert leaf.float64_error is not None
    assert leaf.float64_tolerance is not None
    assert leaf.float64_error > leaf.float64_tolerance
    assert "(3,)" in leaf.failures[0]


def test_the_caller_without_float64_keeps_it_off():
    with jax.enable_x64(False):
        x = normal(4, 3)
        assert x.dtype == jnp.float32
        result = compare(sine, x)
        assert jnp.zeros(1).dtype == jnp.float32
        assert result.ok
        assert result["x"].dtype == "float32"
        assert result["x"].float64_error == 0
        assert not compare(wrong_sine, x).ok


def test_rules_are_found_under_jit_scan_cond_and_closures():
    @jax.jit
    def fn(x):
        x, _ = jax.lax.scan(lambda c, _: (wrong_sine(c), None), x, None, length=2)
        return jax.lax.cond(x.sum() > 1e9, lambda x: x, wrong_sine, jax.checkpoint(sine)(x))

    result = compare(fn, normal(5) + 2)
    assert "without its custom_vjp" in result.against
    assert not result.ok
    by_hand = jax.vjp(lambda x: jnp.sin(jnp.sin(jnp.sin(jnp.sin(x)))), normal(5) + 2)[1]
    g = np.random.default_rng(0)
    ones = g.uniform(0.5, 1.5, 5) * g.choice([-1.0, 1.0], 5)
    automatic = result["x"].automatic
    assert automatic is not None
    np.testing.assert_allclose(automatic, by_hand(jnp.asarray(ones))[0], rtol=1e-12)


def test_without_a_rule_the_differences_judge_alone():
    result = compare(lambda x: jnp.tanh(x) ** 2, normal(3, 4))
    assert result.ok
    assert result.against == "central differences"
    assert result["x"].max_abs_error is None


def test_a_rule_that_agrees_where_autodiff_fails():
    def sinc(x):
        return jnp.where(x == 0, 1.0, jnp.sin(x) / x)

    def bwd(args, g):
        (x,) = args
        safe = jnp.where(x == 0, 1.0, x)
        slope = (safe * jnp.cos(safe) - jnp.sin(safe)) / safe**2
        return (jnp.where(x == 0, 0.0, g * slope),)

    result = compare(ruled(sinc, bwd), jnp.array([-1.0, 0.0, 0.5, 2.0]))
    assert result.ok, result
    assert "the automatic gradient is off in 1 elements" in result["x"].notes[0]


def test_float32_inside_is_said_and_no_failure():
    def inside(x):
        return jnp.sin(x.astype(jnp.float32)).astype(x.dtype)

    def bwd(args, g):
        return ((g.astype(jnp.float32) * jnp.cos(args[0].astype(jnp.float32))).astype(g.dtype),)

    result = compare(ruled(inside, bwd), normal(30))
    assert result.ok, result
    assert any("rounds to float32 inside" in note for note in result.notes)
    assert result["x"].tolerance > 1e-7
    assert not compare(ruled(inside, lambda args, g: (bwd(args, g)[0] * 1.01,)), normal(30)).ok


def test_a_function_that_insists_on_its_dtype_is_compared_in_it():
    w = normal(3, 2, dtype=jnp.float32)
    result = compare(lambda x: jaxcnn.dense(x, w), normal(4, 3, dtype=jnp.float32))
    assert result.ok, result
    assert any("not checked again in float64" in note for note in result.notes)
    assert any("differences are taken in float32" in note for note in result.notes)


def test_pytrees_argnums_and_fixed_arguments():
    def loss(params, x, labels, scale):
        logits = jaxcnn.dense(sine(x), params["dense"]["w"], params["dense"]["b"])
        return scale * jaxcnn.softmax_cross_entropy_with_integer_labels(logits, labels)

    params = {"dense": {"w": normal(3, 4), "b": normal(4)}}
    args = params, normal(5, 3), jnp.array([0, 3, 1, 2, 0]), 2.0
    paths = ["params['dense']['b']", "params['dense']['w']", "x"]
    assert [leaf.path for leaf in compare(loss, *args).leaves] == paths
    assert [leaf.path for leaf in compare(loss, *args, argnums=(0, 3)).leaves] == [
        *paths[:2],
        "scale",
    ]
    assert [leaf.path for leaf in compare(loss, *args, argnums=-3).leaves] == ["x"]
    assert_gradients_match(loss, *args, cotangent=jnp.array([1.0, -2.0, 0.5, 3.0, 1.0]))


def test_a_function_that_python_decides_in():
    def fn(x):
        return x * 2 if x.sum() > 0 else x * 3

    assert compare(fn, jnp.array([1.0, 2.0])).ok


def test_a_given_cotangent_is_used():
    g = jnp.array([1.0, 0.0, -2.0])
    leaf = compare(sine, jnp.zeros(3), cotangent=g)["x"]
    np.testing.assert_array_equal(leaf.gradient, g)


def test_the_rules_of_a_function_may_change_its_value():
    skewed = jax.custom_vjp(lambda x: x * 2)
    skewed.defvjp(lambda x: (x * 2.1, None), lambda _, g: (2 * g,))
    result = compare(skewed, normal(3))
    assert not result.ok
    assert "its rule's forward pass" in result.failures[0]
    other = compare(sine, normal(3), reference=lambda x: jnp.sin(x) + 1)
    assert "the value is not that of" in other.failures[0]


def test_empty_leaves_pass():
    assert compare(jaxcnn.dense, jnp.zeros((0, 3)), normal(3, 2)).ok


def test_another_functions_dropout_is_not_an_error():
    def noisy(x):
        return x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)

    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        assert compare(noisy, normal(20)).ok


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: compare(sine), TypeError, "at least one argument with a floating array"),
        (lambda: compare(sine, jnp.arange(3)), TypeError, "floating array to differentiate"),
        (lambda: compare(lambda x, n: x, normal(2), 3, argnums=1), TypeError, "argnums names n"),
        (lambda: compare(sine, normal(2), argnums=1), ValueError, "argnums must be positions"),
        (lambda: compare(sine, normal(2, dtype=complex)), TypeError, "floating array"),
        (
            lambda: compare(lambda x: x, [normal(1), normal(1, dtype=complex)]),
            TypeError,
            "is complex",
        ),
        (lambda: compare(sine, jnp.array([1.0, jnp.nan])), ValueError, "x must be finite"),
        (lambda: compare(jnp.log, jnp.zeros(2)), ValueError, "the output of log must be finite"),
        (lambda: compare(jnp.argmax, normal(2)), TypeError, "must return a floating array"),
        (
            lambda: compare(sine, normal(2), reference=lambda x: x[:1]),
            ValueError,
            r"output of the reference has the shape \[1\]",
        ),
        (
            lambda: compare(sine, normal(2), reference=lambda x: (x, x)),
            ValueError,
            "output of the reference has the tree",
        ),
        (
            lambda: compare(sine, normal(2), cotangent=[normal(2)]),
            ValueError,
            "cotangent has the tree",
        ),
        (
            lambda: compare(sine, normal(2), cotangent=normal(3)),
            ValueError,
            r"cotangent has the shape \[3\]",
        ),
        (
            lambda: compare(sine, normal(2), cotangent=jnp.array([1.0, jnp.inf])),
            ValueError,
            "cotangent must be finite",
        ),
        (lambda: compare(jnp.sin, normal(2), numerical=False), ValueError, "nothing to compare"),
        (lambda: compare(sine, normal(2), samples=0), ValueError, "samples must be at least 1"),
    ],
)
def test_bad_use_gets_one_clear_error(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_assert_gradients_match_fails_with_the_table():
    with pytest.raises(AssertionError) as failure:
        assert_gradients_match(wrong_sine, normal(4))
    text = str(failure.value)
    assert "WRONG: 0 of 1 gradients match" in text
    assert "tolerance" in text
    assert_gradients_match(sine, normal(4))
