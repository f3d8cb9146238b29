"""Where a function has no derivative: what excuses a gradient there, and what does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import compare
from tests.comparison.ruled import ruled


def test_kinks_are_reported_and_are_no_failure():
    x = jnp.array([-1.0, 0.0, 2.0])
    for fn, convention in [(jax.nn.relu, 0), (jaxcnn.relu, 0), (lambda x: jnp.maximum(x, 0.0), 1)]:
        leaf = compare(fn, x, reference=lambda x: jnp.maximum(x, jnp.zeros_like(x)))["x"]
        assert leaf.ok
        assert leaf.kinks == 1, convention
    result = compare(
        functools.partial(jaxcnn.max_pool, window_shape=(2, 2), strides=2, ties="all"),
        jnp.asarray(np.random.default_rng(0).integers(0, 2, (1, 6, 6, 2)), float),
        reference=functools.partial(jaxcnn.reference.max_pool, window_shape=(2, 2), strides=2),
    )
    assert result.ok, result
    assert result["x"].kinks > 3
    assert "kink" in result["x"].notes[0]


def test_kinks_fail_where_the_convention_is_promised():
    x = jnp.array([-1.0, 0.0, 2.0])
    half = ruled(jax.nn.relu, lambda args, g: (g * jnp.heaviside(args[0], 0.5),))
    assert compare(half, x, reference=jax.nn.relu).ok
    leaf = compare(half, x, reference=jax.nn.relu, kinks="fail")["x"]
    assert not leaf.ok
    assert leaf.kinks == 1
    assert leaf.worst_index == (1,)
    assert compare(jaxcnn.relu, x, kinks="fail").ok


def test_a_kink_nearby_is_no_excuse():
    # The post's isclose takes values that are 1e-6 apart for ties.
    x = jnp.array([[1.0], [1.0 + 1e-6], [3.0], [2.0]])
    pool = functools.partial(jaxcnn.reference.max_pool, window_shape=(2,), strides=2)
    close = ruled(pool, lambda args, g: (jax.vjp(pool, jnp.round(args[0], 4))[1](g)[0],))
    leaf = compare(close, x, reference=pool)["x"]
    assert not leaf.ok
    assert leaf.kinks == 0


def test_a_kink_excuses_only_what_lies_between_its_slopes():
    at_zero = jnp.array([-1.0, 0.0, 2.0, 3.0])
    outside = ruled(
        lambda x: jnp.maximum(x, 0.0), lambda args, g: (jnp.where(args[0] >= 0, g * 1.0, 0.0),)
    )
    assert compare(outside, at_zero).ok
    doubled = ruled(
        lambda x: jnp.maximum(x, 0.0),
        lambda args, g: (g * jnp.where(args[0] == 0, 2.0, jnp.heaviside(args[0], 0.0)),),
    )
    leaf = compare(doubled, at_zero)["x"]
    assert not leaf.ok
    assert leaf.worst_index == (1,)


def test_an_unknown_treatment_of_kinks():
    options: dict = {"kinks": "no"}
    with pytest.raises(ValueError, match="kinks must be 'report' or 'fail', got 'no'"):
        compare(jnp.sin, jnp.ones(2), **options)
