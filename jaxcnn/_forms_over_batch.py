"""The forms of dw: plain, chunked, shifted, split and exchanged.

- plain: XLA's convolution in canonical order, of x with its channels as the batch, and g, whose
  batch is the input channel, as the kernel. Autodiff's own permuted dimension numbers fall to a
  naive loop inside scan, map, cond and while: 100 times slower.
- chunked: wide layers in four parts of the batch: a step of the wide network from 159 to 134 ms.
- shifted: depthwise, a sum over rows of products of x, shifted, with g: 3x3, 32x28x28x64 from 21.7
  to 3.0 ms.
- split: one convolution a group.
- exchanged: where x is dilated (conv_transpose), x and g change places, and g is strided: 3x3,
  stride 2, 32 -> 16 from 26.9 to 1.1 ms.

What did not pay: for strides, one dense convolution for each phase of x (3x3, stride 2, 64 -> 64 at
28x28: 16.8 ms against 10.3 plain); a matrix product a tap (26 ms a wide layer against 13); a kernel
padded past the input to get XLA's Eigen path (it falls to a naive loop, 450 ms); the taps of a row
as channels of one convolution (175 ms against 32).
"""

import itertools
import math
from functools import reduce
from operator import add

import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from . import _forms
from ._taps import pad
from ._whole import whole
from ._widen import widen
from ._window import Window, span

_PARTS = 4


def choose(x: tuple[int, ...], g: tuple[int, ...], window: Window, groups: int, dtype) -> str:
    """The form for operands of these shapes."""
    k = window.output_shape(x[1:-1], g[1:-1])
    if x[-1] == groups > 1:
        return "shifted" if math.prod(k) <= 32 and g[-1] == groups else "plain"
    if groups > 1:
        return "split" if groups <= 16 else "plain"
    if set(window.lhs_dilation) != {1}:
        one = set(window.strides) == {1} and set(window.rhs_dilation) == {1}
        return "exchanged" if one else "plain"
    wide = dtype == jnp.float32 and min(x[-1], g[-1]) > 16 and x[0] % _PARTS == 0
    return "chunked" if wide and math.prod(x[:-1]) >= 4096 else "plain"


def plain(x, g, window: Window, groups=1, precision=None, out_sharding=None):
    """XLA's convolution of `[C/G, S.., G * N]` with `[S'.., N, O]`, canonical."""
    if groups > 1 and out_sharding is not None:
        # On explicit mesh axes a sharded batch cannot be merged with the groups.
        parts = zip(jnp.split(x, groups, -1), jnp.split(g, groups, -1), strict=True)
        dw = [plain(a, b, window, 1, precision, out_sharding) for a, b in parts]
        return jnp.concatenate(dw, -1)
    n, *space, c = x.shape
    c = c // groups
    image = x.reshape(n, *space, groups, c)
    image = jnp.moveaxis(jnp.moveaxis(image, -1, 0), 1, -1).reshape(c, *space, groups * n)
    kernel = jnp.moveaxis(g, 0, -2)
    if out_sharding is not None:
        *k, i, o = (*out_sharding.spec, *(None,) * (x.ndim - len(out_sharding.spec)))
        out_sharding = NamedSharding(out_sharding.mesh, PartitionSpec(i, *k, o))
    dw = _forms.plain(image, kernel, window, groups, precision, None, out_sharding)
    return jnp.moveaxis(dw, 0, -2)


def chunked(x, g, window: Window, groups=1, precision=None):
    """The sum of plain over four parts of the batch, each every fourth example.

    A part's operands stay in cache, and XLA:CPU can run two parts at a time. Every fourth, not one
    after the other: a batch sharded over devices is so cut without moving an example. Each part
    reads x anew, so it is made whole first.
    """
    n = x.shape[0]
    parts = math.gcd(n, _PARTS)
    x = whole(x).reshape(n // parts, parts, *x.shape[1:])
    g = g.reshape(n // parts, parts, *g.shape[1:])
    sums = [plain(x[:, i], g[:, i], window, groups, precision) for i in range(parts)]
    return reduce(add, sums)


def shifted(x, g, window: Window, groups=1, precision=None):
    """Depthwise: for each tap the sum of x, shifted, times g; first over rows, then the rest.

    XLA:CPU reduces over leading axes element by element; a loop that adds rows is vectorised, and
    what is left to reduce is small. The batch stays whole, and so sharded as it is.
    """
    del groups, precision
    k = window.output_shape(x.shape[1:-1], g.shape[1:-1])
    step, s = window.strides, window.rhs_dilation
    x = pad(x, [(0, 0)] * len(window.strides), 0, [d - 1 for d in window.lhs_dilation])
    n, m = x.shape[1:-1], g.shape[1:-1]
    reach = [
        (low, span(mi, si) + span(ki, di) - 1 - low - ni)
        for ni, mi, ki, si, di, (low, _) in zip(n, m, k, s, step, window.padding, strict=True)
    ]
    x, g = widen(pad(x, reach, 0)), widen(g)

    def products(row):
        g_row = lax.dynamic_slice_in_dim(g, row, 1, axis=1)
        for first, *rest in itertools.product(*map(range, k)):
            x_row = lax.dynamic_slice_in_dim(x, row * s[0] + first * step[0], 1, axis=1)
            for axis, (a, di, mi, si) in enumerate(
                zip(rest, step[1:], m[1:], s[1:], strict=True), start=2
            ):
                start = a * di
                x_row = lax.slice_in_dim(x_row, start, start + span(mi, si), si, axis)
            yield x_row * g_row

    def add_row(row, sums):
        return [total + p for total, p in zip(sums, products(row), strict=True)]

    sums = lax.fori_loop(1, m[0], add_row, list(products(0)))
    dw = [jnp.sum(total, tuple(range(total.ndim - 1))) for total in sums]
    return jnp.stack(dw).reshape(*k, 1, g.shape[-1])


def split(x, g, window: Window, groups=1, precision=None):
    """One convolution a group, concatenated."""
    parts = zip(jnp.split(x, groups, -1), jnp.split(g, groups, -1), strict=True)
    return jnp.concatenate([_best(a, b, window, precision) for a, b in parts], -1)


def exchanged(x, g, window: Window, groups=1, precision=None):
    """A dilated x: dw, flipped and with its channels exchanged, is that of g strided over x."""
    del groups
    n, m, d = x.shape[1:-1], g.shape[1:-1], window.lhs_dilation
    k, ones = window.output_shape(n, m), (1,) * len(d)
    pads = []
    for ni, mi, ki, di, (low, _) in zip(n, m, k, d, window.padding, strict=True):
        before = ki - 1 - low
        pads.append((before, ki - 1 + span(ni, di) - mi - before))
    dw = _best(g, x, Window(ones, tuple(pads), ones, d), precision)
    return jnp.swapaxes(jnp.flip(dw, tuple(range(len(k)))), -1, -2)


FORMS = {
    "plain": plain,
    "chunked": chunked,
    "shifted": shifted,
    "split": split,
    "exchanged": exchanged,
}


def _best(x, g, window: Window, precision):
    return FORMS[choose(x.shape, g.shape, window, 1, x.dtype)](x, g, window, 1, precision)
