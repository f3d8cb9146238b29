"""Drop-ins: a Flax model with these layers trains with the same losses as the original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from tests.proof.checks import require_peer

STEPS = 6


def build(nnx, optax, ours: bool):
    """The losses of a few steps: 1-D, 2-D and 3-D layers, strided, dilated and grouped."""
    convolve = {"conv_general_dilated": jaxcnn.conv_general_dilated} if ours else {}
    max_pool = jaxcnn.max_pool if ours else nnx.max_pool
    avg_pool = jaxcnn.avg_pool if ours else nnx.avg_pool
    cross_entropy = (
        jaxcnn.softmax_cross_entropy_with_integer_labels
        if ours
        else optax.softmax_cross_entropy_with_integer_labels
    )

    def conv(i, o, kernel, rngs, **options):
        return nnx.Conv(
            i, o, kernel, **options, **convolve,
            dtype=jnp.float32, param_dtype=jnp.float32, rngs=rngs,
        )  # fmt: skip

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.flat = conv(2, 4, (3,), rngs, kernel_dilation=2)
            self.strided = conv(1, 4, (3, 3), rngs, strides=2)
            self.grouped = conv(4, 4, (3, 3), rngs, feature_group_count=4, padding="VALID")
            self.dilated = conv(4, 4, (3, 2), rngs, kernel_dilation=(2, 1), padding="CIRCULAR")
            self.deep = conv(4, 2, (2, 2, 2), rngs, strides=(1, 2, 1))
            self.out = nnx.Linear(48, 3, dtype=jnp.float32, param_dtype=jnp.float32, rngs=rngs)

        def __call__(self, x):
            n = x.shape[0]
            y = nnx.relu(self.strided(x))  # [n, 8, 8, 4]
            y = max_pool(y, (3, 3), strides=(1, 1), padding="SAME")
            y = nnx.relu(self.dilated(self.grouped(y)))  # [n, 6, 6, 4]
            y = avg_pool(y, (2, 2), strides=(2, 2), padding="SAME")  # [n, 3, 3, 4]
            deep = self.deep(y.reshape(n, 3, 3, 1, 4))  # [n, 3, 2, 1, 2]
            flat = self.flat(y.reshape(n, 18, 2))[:, :9]  # [n, 9, 4]
            return self.out(jnp.concatenate([deep.reshape(n, 12), flat.reshape(n, 36)], 1))

    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.05, momentum=0.9), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(8, 16, 16, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 8), jnp.int32)

    @nnx.jit
    def step(model, optimizer):
        def loss_of(model):
            return cross_entropy(model(images), labels).mean()

        loss, grads = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, grads)
        return loss

    return [float(step(model, optimizer)) for _ in range(STEPS)]


def test_flax_model_trains_with_the_same_losses():
    require_peer("flax")
    from flax import nnx

    optax = require_peer("optax")
    # Flax and Optax promote and stretch where these tests forbid it; users run them like this.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs, ours = build(nnx, optax, False), build(nnx, optax, True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert theirs[-1] < 0.8 * theirs[0]


@pytest.mark.parametrize("count", [True, False])
def test_pools_are_those_of_flax(count):
    """The same positional signature, and the same numbers."""
    require_peer("flax")
    from flax import linen

    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 3)))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        arguments = (2, 3), (2, 1), "SAME"
        expected = linen.avg_pool(x, *arguments, count_include_pad=count)
        found = jaxcnn.avg_pool(x, *arguments, count_include_pad=count)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        expected = linen.max_pool(x, *arguments)
        np.testing.assert_array_equal(jaxcnn.max_pool(x, *arguments), expected)
