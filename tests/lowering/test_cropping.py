"""Padding past the kernel makes that of dx negative, which XLA:CPU reads wrongly in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference

CASES = [
    ((3, 8, 2), (2, 2, 8), {"padding": ((2, 0),)}),
    ((3, 8, 2), (2, 2, 8), {"padding": ((0, 3),)}),
    ((2, 6, 7, 3), (2, 1, 3, 8), {"padding": ((2, 3), (1, 2))}),
    ((2, 6, 7, 4), (2, 2, 2, 8), {"padding": ((2, 3), (4, 2)), "feature_group_count": 2}),
    ((2, 7, 3), (3, 3, 4), {"padding": ((5, 4),), "strides": 2}),
    ((1, 2, 3), (1, 3, 4), {"padding": ((-1, 4),), "kernel_dilation": 2}),
    # dw cuts off more of x than there is.
    ((2, 2, 5, 1), (3, 2, 1, 3), {"padding": ((4, -1), (-1, 2)), "strides": (3, 2)}),
]


@pytest.mark.parametrize(("x", "w", "options"), CASES, ids=str)
def test_padding_past_the_kernel_in_float32(x, w, options, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in (x, w)]

    def gradients(layers, dtype):
        def loss(x, w):
            return jnp.sum(jnp.sin(layers.conv(x, w, **options)))

        return jax.jit(jax.grad(loss, (0, 1)))(*(jnp.asarray(a, dtype) for a in arrays))

    expected = gradients(reference, jnp.float64)
    for engine in ("0", "1"):
        monkeypatch.setenv("JAXCNN_ONEDNN", engine)
        with jax.enable_x64(False):
            found = gradients(jaxcnn, jnp.float32)
        for name, a, e in zip(("dx", "dw"), found, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4, err_msg=name)
