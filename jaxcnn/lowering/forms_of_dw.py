"""The forms of dw that put the sum over the batch to XLA in another way.

Each is the same sum. MEASURED.md says what each is for, what it gains, and what did not pay. The
strides of the layer are the window's `rhs_dilation` here, and its dilation the window's strides:
`Window.of_dw` of this window is the layer's.

- rows: a one-dimensional convolution for each row of the kernel, over parts of the batch that stay
  in cache.
- quarters: a narrow layer's sum in four parts, which XLA runs at the same time as each other and as
  dx.
- planes: a sum over the other axes for each tap of the first, whose places join the batch.
- shifted: depthwise, a sum over rows of products of x, shifted, with g.
- patches: from few channels to many: what each tap sees, a row each, and one product with g.
- pairs: each pair of an input and an output channel of a group as a depthwise layer.
- product: windows that do not meet, as those of 1x1 and of a stride as wide as the kernel.
- split: one convolution a group.
- exchanged: x and g change places; g is then strided where x was dilated (conv_transpose). Also
  where x is the wider one, since the kernel should be.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from .._taps import Taps, gather, pad, seen
from .._widen import widen
from .._window import Window, span
from . import plain
from .correlation import Correlation, Shape
from .parts import parts_in_cache
from .primitive import correlate


def quarters(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """The sum of four convolutions over a quarter of the batch each."""
    parts = zip(jnp.split(x, 4), jnp.split(g, 4), strict=True)
    return reduce(add, [plain.correlation(a, b, c) for a, b in parts])


def rows(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """For each row of the kernel a convolution along the last axis; the other axes join the batch.

    `[C, S, S'.. * N]`, shifted by the row, with `[S', S'.. * N, O]`, and so for one part of the
    batch after the other, whose operands stay in cache. Part i holds the examples whose number is
    i modulo the parts: a batch sharded over devices is cut without moving an example.
    """
    (n, *space, channels), m, o, r = x.shape, g.shape[1:-1], g.shape[-1], len(x.shape) - 2
    layer = c.window.of_dw(space, m)
    k, groups = c.window.output_shape(space, m), c.groups
    parts = parts_in_cache(x.shape, g.shape)
    x = x.reshape(n // parts, parts, *space, channels)
    g = g.reshape(n // parts, parts, *m, o)
    upper = Taps(of_axes(layer, slice(-1)), k[:-1], tuple(space[:-1]))
    along = c.with_(window=of_axes(c.window, slice(-1, None)), over_batch=False, groups=1)

    def part(i: int | jax.Array) -> jax.Array:
        image = jnp.transpose(x[:, i], (r + 1, r, *range(1, r), 0))
        kernel = jnp.transpose(g[:, i], (r, *range(1, r), 0, r + 1)).reshape(m[-1], -1, o)
        kernels = jnp.split(kernel, groups, -1)
        dw = []
        for row in gather(image, upper, 0):
            images = jnp.split(row.reshape(channels, space[-1], -1), groups)
            pairs = zip(images, kernels, strict=True)
            sums = [plain.correlation(a, b, along) for a, b in pairs]
            dw.append(jnp.concatenate(sums, -1))
        return jnp.stack(dw)

    dw = part(0)
    if parts > 1:
        dw = lax.fori_loop(1, parts, lambda i, dw: dw + part(i), dw)
    return jnp.swapaxes(dw, 1, 2).reshape(*k, channels // groups, o)


def shifted(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """Depthwise: for each tap the sum of x, shifted, times g; first over rows, then the rest.

    XLA:CPU reduces over leading axes element by element; a loop that adds rows, a few at a time, is
    vectorised, and what is left to reduce is small. The batch stays whole, and so sharded as it is.
    """
    k, m = c.window.output_shape(x.shape[1:-1], g.shape[1:-1]), g.shape[1:-1]
    copies = g.shape[-1] // c.groups
    if copies > 1:
        x = jnp.repeat(x, copies, axis=-1)
    x = pad(x, [(0, 0)] * len(k), 0, [d - 1 for d in c.window.lhs_dilation])
    layer = replace(c.window, lhs_dilation=(1,) * len(k)).of_dw(x.shape[1:-1], m)
    strides, dilation = layer.strides, layer.rhs_dilation
    reach = [
        (low, span(mi, s) + span(ki, d) - 1 - low - ni)
        for ni, mi, ki, s, d, (low, _) in zip(
            x.shape[1:-1], m, k, strides, dilation, layer.padding, strict=True
        )
    ]
    x, g = widen(pad(x, reach, 0)), widen(g)

    def products(row: int | jax.Array) -> Iterator[jax.Array]:
        g_row = lax.dynamic_slice_in_dim(g, row, 1, axis=1)
        for first, *rest in itertools.product(*map(range, k)):
            x_row = lax.dynamic_slice_in_dim(x, row * strides[0] + first * dilation[0], 1, axis=1)
            for axis, (a, d, mi, s) in enumerate(
                zip(rest, dilation[1:], m[1:], strides[1:], strict=True), start=2
            ):
                start = a * d
                x_row = lax.slice_in_dim(x_row, start, start + span(mi, s), s, axis)
            yield x_row * g_row

    def sums_of(row: int | jax.Array, rows: int) -> list[jax.Array]:
        each = (products(row + i) for i in range(rows))
        return [reduce(add, tap) for tap in zip(*each, strict=True)]

    # More at a time are fewer passes over the sums.
    rows = max(min(4, m[0] // 3), 1)
    first = m[0] % rows or rows

    def add_rows(i: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        return list(map(add, sums, sums_of(first + i * rows, rows)))

    sums = lax.fori_loop(0, (m[0] - first) // rows, add_rows, sums_of(0, first))
    dw = [jnp.sum(total, tuple(range(total.ndim - 1))) for total in sums]
    return jnp.stack(dw).reshape(*k, 1, g.shape[-1])


def patches(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """The product of `[K.., C, N, S'..]`, what each tap sees of each channel, with g."""
    (_, *space, channels), o = x.shape, g.shape[-1]
    layer = c.window.of_dw(space, g.shape[1:-1])
    taps = Taps(layer, c.window.output_shape(space, g.shape[1:-1]), tuple(space))
    planes = jnp.moveaxis(x, -1, 0)
    rows = [seen(planes, taps, place).reshape(channels, -1) for place in taps.places()]
    dw = jnp.matmul(jnp.concatenate(rows), g.reshape(-1, o), precision=c.precision)
    return dw.reshape(*taps.k, channels, o)


def pairs(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """Groups of few channels: x repeated for each output channel, g for each input channel."""
    (*_, channels), (*lead, o), groups = x.shape, g.shape, c.groups
    each, of_each = channels // groups, o // groups
    x = jnp.repeat(x, of_each, axis=-1)
    g = jnp.repeat(g.reshape(*lead, groups, 1, of_each), each, axis=-2)
    g = g.reshape(*lead, -1)
    dw = correlate(x, g, c.with_(groups=g.shape[-1], copies=1))
    k = dw.shape[:-2]
    dw = jnp.swapaxes(dw.reshape(*k, groups, each, of_each), -3, -2)
    return dw.reshape(*k, each, o)


def product(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """Taps of windows that do not meet: blocks of x, as large as a stride, times g, one product."""
    (n, *space, channels), m = x.shape, g.shape[1:-1]
    layer, axes = c.window.of_dw(space, m), len(m)
    k, s = c.window.output_shape(space, m), layer.strides
    sides = zip(layer.padding, m, s, space, strict=True)
    x = pad(x, [(low, mi * si - ni - low) for (low, _), mi, si, ni in sides], 0)
    x = x.reshape(n, *(size for pair in zip(m, s, strict=True) for size in pair), channels)
    for axis, (ki, si) in enumerate(zip(k, s, strict=True)):
        x = x if ki == si else lax.slice_in_dim(x, 0, ki, axis=2 + 2 * axis)
    of_x, of_g = (0, *range(1, 2 * axes, 2)), tuple(range(axes + 1))
    if channels <= g.shape[-1]:
        return lax.dot_general(x, g, ((of_x, of_g), ((), ())), c.precision)
    # The wider one belongs on the right.
    dw = lax.dot_general(g, x, ((of_g, of_x), ((), ())), c.precision)
    return jnp.moveaxis(dw, 0, -1)


def split(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """One convolution a group, concatenated."""
    parts = zip(jnp.split(x, c.groups, -1), jnp.split(g, c.groups, -1), strict=True)
    return jnp.concatenate([correlate(a, b, c.with_(groups=1, copies=1)) for a, b in parts], -1)


def exchanged(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """`dw`, flipped and its channels exchanged, is that of g over x, strided by x's dilation."""
    n, m = x.shape[1:-1], g.shape[1:-1]
    k = c.window.output_shape(n, m)
    dw = correlate(g, x, c.with_(window=window_of_exchanged(c.window, n, m, k)))
    return jnp.swapaxes(jnp.flip(dw, tuple(range(len(k)))), -1, -2)


def window_of_exchanged(window: Window, n: Shape, m: Shape, k: Shape) -> Window:
    """The window of x over g that gives dw, flipped."""
    d, ones, pads = window.lhs_dilation, (1,) * len(k), []
    for ni, mi, ki, di, (low, _) in zip(n, m, k, d, window.padding, strict=True):
        before = ki - 1 - low
        pads.append((before, ki - 1 + span(ni, di) - mi - before))
    return Window(ones, tuple(pads), ones, d)


def planes(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """For each tap of the first axis the sum over the other axes; the first joins the batch."""
    (_, *space, channels), m = x.shape, g.shape[1:-1]
    k = c.window.output_shape(space, m)
    first = Taps(of_axes(c.window.of_dw(space, m), slice(1)), k[:1], tuple(space[:1]))
    others = c.with_(window=of_axes(c.window, slice(1, None)))
    flat = g.reshape(-1, *g.shape[2:])
    # The axes behind the first are channels to it.
    planes = gather(x.reshape(*x.shape[:2], -1), first, 0)
    joined = (plane.reshape(-1, *space[1:], channels) for plane in planes)
    return jnp.stack([correlate(plane, flat, others) for plane in joined])


def of_axes(window: Window, axes: slice) -> Window:
    """The window along some of its axes."""
    return Window(
        window.strides[axes],
        window.padding[axes],
        window.lhs_dilation[axes],
        window.rhs_dilation[axes],
    )
