"""`compare` on rules that are not this package's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import compare


@pytest.fixture(autouse=True)
def _ordinary_promotion():
    # Others' code relies on JAX's defaults, which the tests of this package switch off.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16])
def test_optax_safe_softmax_cross_entropy(dtype):
    logits, labels = normal(4, 5).astype(dtype), jax.nn.softmax(normal(4, 5, seed=1)).astype(dtype)
    result = compare(optax.safe_softmax_cross_entropy, logits, labels)
    assert result.ok, result
    assert "without its custom_jvp" in result.against
    assert [leaf.path for leaf in result.leaves] == ["logits", "labels"]


def test_optax_projection_simplex():
    result = compare(optax.projections.projection_simplex, normal(6))
    assert result.ok, result
    assert "without its custom_jvp" in result.against


def test_optax_scale_gradient_is_off_by_its_scale():
    # A rule that is wrong on purpose.
    result = compare(lambda x: optax.scale_gradient(x, 0.25), normal(3, 4))
    assert not result.ok
    # A small number is as likely a constant as a length.
    words = "off by a factor 1/4, 4 perhaps being the size of axis 1 of x"
    assert result["x"].diagnosis == (words,)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["relu", "silu", "softmax", "gelu", "log_softmax"])
def test_jax_nn(name, dtype):
    result = compare(getattr(jax.nn, name), normal(5, 6).astype(dtype))
    assert result.ok, result
