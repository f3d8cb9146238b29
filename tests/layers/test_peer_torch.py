"""How PyTorch's transposed convolution maps onto conv_transpose, as the docstring says."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from tests.proof.checks import assert_equal, require_peer

CASES = [
    (axes, k, stride, padding, output_padding, dilation)
    for axes, k, stride, padding, output_padding, dilation in itertools.product(
        [1, 2, 3], [2, 3], [1, 2, 3], [0, 1], [0, 1], [1, 2]
    )
    # PyTorch's own bound, and fewer of the slow ones.
    if output_padding < max(stride, dilation) and (axes < 3 or k + stride + dilation < 6)
]


@pytest.mark.parametrize(("axes", "k", "stride", "padding", "output_padding", "dilation"), CASES)
def test_conv_transpose_is_that_of_pytorch(axes, k, stride, padding, output_padding, dilation):
    torch = require_peer("torch")
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(2, 3, *range(3, 3 + axes))), rng.normal(size=2)
    w = rng.normal(size=(3, 2, *[k] * axes))  # PyTorch: [Cin, Cout, K..]
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    transpose = getattr(torch.nn.functional, f"conv_transpose{axes}d")
    y = transpose(tx, tw, tb, stride, padding, output_padding, 1, dilation)
    g = rng.normal(size=tuple(y.shape))
    y.backward(torch.tensor(g))

    reach = (k - 1) * dilation
    low, high = reach - padding, reach - padding + output_padding

    @jax.jit
    def by_jaxcnn(x, w, b, g):
        def layer(x, w, b):
            y = jaxcnn.conv_transpose(
                jnp.moveaxis(x, 1, -1),
                jnp.moveaxis(w, (0, 1), (-1, -2)),  # [K.., Cout, Cin]
                b,
                strides=stride,
                padding=((low, high),) * axes,
                kernel_dilation=dilation,
                transpose_kernel=True,
            )
            return jnp.moveaxis(y, -1, 1)

        y, pull = jax.vjp(layer, x, w, b)
        return y, *pull(g)

    found = by_jaxcnn(x, w, b, g)
    for what, a, expected in zip(
        ("y", "dx", "dw", "db"), found, (y.detach(), tx.grad, tw.grad, tb.grad), strict=True
    ):
        assert_equal(a, np.asarray(expected), what)


def test_conv_is_the_layer_of_pytorch():
    """[N, C, S..] and [O, I, K..] are a transpose away; padding=1 is padding=1."""
    torch = require_peer("torch")
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    layer = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1, dtype=torch.float64)
    layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b)
    y = jaxcnn.conv(
        jnp.asarray(x.transpose(0, 2, 3, 1)), jnp.asarray(w.transpose(2, 3, 1, 0)),
        jnp.asarray(b), strides=2, padding=1,
    )  # fmt: skip
    assert_equal(y.transpose(0, 3, 1, 2), layer(torch.tensor(x)).detach().numpy(), "y")
