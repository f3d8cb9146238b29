"""The forms of dw: plain, rows, quarters, shifted, split and exchanged.

Times: JAX 0.10.2, 2 cores; Intel (AVX-512, a matrix product of 2048 cubed at 302 GFLOP/s) or Zen 4.

- plain: XLA's convolution in canonical order, of x with its channels as the batch, and g, whose
  batch is the input channel, as the kernel. Autodiff's own permuted dimension numbers fall to a
  naive loop inside scan, map, cond and while: 100 times slower.
- rows: one-dimensional convolutions, which XLA does not hand to YNNPACK and its one core, over
  parts of the batch that stay in cache: 3x3, 128x28x28, 32 -> 32 from 58 to 20 ms, 14x14, 64 -> 64
  from 52 to 12, 1x1, 64 -> 64 from 18 to 4, stride 2 from 8.8 to 5.7, 4 groups from 10.9 to 8
  (Intel); a step of the wide network from 154 to 124 ms.
- quarters: a narrow layer's sum in four parts, which XLA runs at the same time as each other and as
  dx: a step of the post's network from 12.4 to 10.0 ms (Intel); eight parts 12.0, and rows, which
  run one after the other, 13.9.
- shifted: depthwise, a sum over rows of products of x, shifted, with g: 3x3, 32x28x28x64 from 21.7
  to 3.0 ms (Zen 4).
- split: one convolution a group.
- exchanged: where x is dilated (conv_transpose), x and g change places, and g is strided: 3x3,
  stride 2, 32 -> 16 from 26.9 to 1.1 ms (Zen 4). So they do where x is the wider one, since the
  kernel should be: rows, 3x3, 64 -> 16 from 7.5 to 4.0 ms (Intel).

What did not pay, in ms beside those of rows on Intel, 28x28, 32 -> 32: rows over the whole batch at
once (43 for 20: the transposed copies leave the cache); four parts, each a plain convolution (57);
patches by hand and one matrix product (147; 60 over parts); rows of x and columns of g laid side by
side and one product (27 over parts); the rows as one batch of a single convolution (23 over parts);
a three-dimensional convolution of depth one (52). For 5x5, 4 -> 4 none of these beats plain (3.7).
For strides, one dense convolution for each phase of x (16.8 against 10.3 plain, Zen 4), and a
product a tap (6.0 to 9.2 against 5.1). A kernel padded past the input to get XLA's Eigen path falls
to a naive loop (450, Zen 4).
"""

import itertools
import math
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .._taps import Taps, gather, pad
from .._widen import widen
from .._window import Window, span
from . import forms_of_y

# What of x and g stays in a core's cache, in elements.
_CACHED = 2**19


def choose(x: tuple[int, ...], g: tuple[int, ...], window: Window, groups: int, dtype) -> str:
    """The form for operands of these shapes."""
    k = window.output_shape(x[1:-1], g[1:-1])
    if x[-1] == groups > 1:
        return "shifted" if math.prod(k) <= 64 and g[-1] == groups else "plain"
    one = groups == 1 and set(window.strides) == {1} and set(window.rhs_dilation) == {1}
    if set(window.lhs_dilation) != {1}:
        return "exchanged" if one else "plain"
    # Several devices would exchange the sum of every part: many times the traffic.
    one_device = jax.device_count() == 1
    if one_device and dtype == jnp.float32 and groups <= 16 and math.prod(k[:-1]) <= 16:
        widest = max(x[-1], g[-1]) // groups
        many = x[0] * math.prod(g[1:-2]) >= 128 and (len(k) > 1 or _parts(x, g) > 1)
        if many and (widest > 16 or (widest == 16 and (groups > 1 or x[0] < 64))):
            return "exchanged" if one and x[-1] > g[-1] else "rows"
        if groups == 1 and len(k) == 2 and x[0] % 4 == 0 and x[0] >= 64:
            return "quarters"
    return "split" if 1 < groups <= 16 else "plain"


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
    dw = forms_of_y.plain(image, kernel, window, groups, precision, None, out_sharding)
    return jnp.moveaxis(dw, 0, -2)


def quarters(x, g, window: Window, groups=1, precision=None):
    """The sum of four convolutions over a quarter of the batch each."""
    parts = zip(jnp.split(x, 4), jnp.split(g, 4), strict=True)
    return reduce(add, [plain(a, b, window, groups, precision) for a, b in parts])


def rows(x, g, window: Window, groups=1, precision=None):
    """For each row of the kernel a convolution along the last axis; the other axes join the batch.

    `[C, S, S'.. * N]`, shifted by the row, with `[S', S'.. * N, O]`, and so for one part of the
    batch after the other, whose operands stay in cache. Part i holds the examples whose number is
    i modulo the parts: a batch sharded over devices is cut without moving an example.
    """
    n, *space, c = x.shape
    m, o, r = g.shape[1:-1], g.shape[-1], len(space)
    k = window.output_shape(space, m)
    parts = _parts(x.shape, g.shape)
    x = x.reshape(n // parts, parts, *space, c)
    g = g.reshape(n // parts, parts, *m, o)
    s, padding, d = window.rhs_dilation, window.padding, window.strides
    upper = Taps(Window(s[:-1], padding[:-1], (1,) * (r - 1), d[:-1]), k[:-1], tuple(space[:-1]))
    along = Window(d[-1:], padding[-1:], (1,), s[-1:])

    def part(i):
        image = jnp.transpose(x[:, i], (r + 1, r, *range(1, r), 0))
        kernel = jnp.transpose(g[:, i], (r, *range(1, r), 0, r + 1)).reshape(m[-1], -1, o)
        kernels = jnp.split(kernel, groups, -1)
        dw = []
        for row in gather(image, upper, 0):
            images = jnp.split(row.reshape(c, space[-1], -1), groups)
            sums = [
                forms_of_y.plain(a, b, along, 1, precision)
                for a, b in zip(images, kernels, strict=True)
            ]
            dw.append(jnp.concatenate(sums, -1))
        return jnp.stack(dw)

    dw = part(0)
    if parts > 1:
        dw = lax.fori_loop(1, parts, lambda i, dw: dw + part(i), dw)
    return jnp.swapaxes(dw, 1, 2).reshape(*k, c // groups, o)


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
    """Dw, flipped and with its channels exchanged, is that of g over x, strided by x's dilation."""
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
    "rows": rows,
    "quarters": quarters,
    "shifted": shifted,
    "split": split,
    "exchanged": exchanged,
}


def _best(x, g, window: Window, precision):
    return FORMS[choose(x.shape, g.shape, window, 1, x.dtype)](x, g, window, 1, precision)


def _parts(x: tuple[int, ...], g: tuple[int, ...]) -> int:
    """The least divisor of the batch whose parts stay in cache; 1 where the whole nearly does."""
    size = math.prod(x) + math.prod(g)
    if size < 2 * _CACHED:
        return 1
    divisors = [d for d in range(1, x[0] + 1) if x[0] % d == 0]
    return next((d for d in divisors if size <= d * _CACHED), x[0])
