"""How PyTorch's transposed convolution and ceil mode map onto the layers, as docstrings say."""

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


CEIL = [
    (n, k, s, p, d)
    for n, k, s, p, d in itertools.product([5, 6], [2, 3], [2, 3], [0, 1], [1, 2])
    if 2 * p <= k and (d == 1 or (n, s) == (6, 2))
]


@pytest.mark.parametrize(("n", "k", "s", "p", "d"), CEIL)
def test_ceil_mode_of_pytorch_is_more_padding(n, k, s, p, d):
    """The recipe of both docstrings; values and gradients."""
    torch = require_peer("torch")
    span = (k - 1) * d + 1
    e = (span - n - 2 * p) % s
    e = 0 if p + e >= span else e
    wide = np.random.default_rng(0).normal(size=(2, n, n, 3))
    pairs = {"x": ((p, p + e),) * 2, "padded": ((0, e),) * 2}

    def pad(x):
        return jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))

    functional = torch.nn.functional
    cases = {
        "max": (
            lambda x: jaxcnn.max_pool(x, (k, k), s, pairs["x"], window_dilation=d),
            lambda x: functional.max_pool2d(x, k, s, p, d, ceil_mode=True),
        )
    }
    if d == 1:
        cases["avg"] = (
            lambda x: jaxcnn.avg_pool(x, (k, k), s, pairs["x"], count_include_pad=False),
            lambda x: functional.avg_pool2d(x, k, s, p, True, False),
        )
        cases["avg, padding counted"] = (
            lambda x: jaxcnn.avg_pool(pad(x), (k, k), s, pairs["padded"], count_include_pad=False),
            lambda x: functional.avg_pool2d(x, k, s, p, True, True),
        )
    for name, (ours, theirs) in cases.items():
        tx = torch.tensor(wide.transpose(0, 3, 1, 2), requires_grad=True)
        expected = theirs(tx)
        g = np.random.default_rng(1).normal(size=tuple(expected.shape))
        expected.backward(torch.tensor(g))

        @jax.jit
        def program(x, g, ours=ours):
            y, pull = jax.vjp(ours, x)
            return y, pull(g)[0]

        y, dx = program(jnp.asarray(wide), jnp.asarray(g.transpose(0, 2, 3, 1)))
        assert_equal(y.transpose(0, 3, 1, 2), expected.detach().numpy(), name)
        assert_equal(dx.transpose(0, 3, 1, 2), np.asarray(tx.grad), f"{name}: dx")
