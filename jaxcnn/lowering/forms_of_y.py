"""The forms of y (and dx) that put the sum over the channels to XLA in another way.

Each is the same sum. MEASURED.md says what each is for, what it gains, and what did not pay.

- taps: to few outputs: one product of every place of x with every tap of w; each output adds up
  its own.
- patches: from few channels to many: what each tap sees, side by side, and one product with w.
- tiled: with few channels nearly all time goes into gathering patches. One application of a larger
  kernel computes s x t neighbouring outputs from one patch: s * t copies of w, each shifted by one
  and padded with zeros, stand on the channel axis, and the window strides by (s, t). The zeros meet
  neighbouring pixels, so a NaN or an infinity in x spreads up to s - 1 rows and t - 1 columns
  further than the kernel reaches.
- all_cores: one output row more than is asked for, cut off again.
- shifted: depthwise, or with few channels: a sum of shifted products, which XLA fuses into one
  loop.
- split: one convolution a group. Narrow groups share one: a NaN or an infinity in x spreads to the
  groups that share with it.
- phased: a dilated input (dx of a strided convolution, conv_transpose) is mostly zeros. The outputs
  at each distance modulo the dilation see one part of the kernel: one dense convolution each,
  interleaved at the end.
- subpixel: the same with all parts of the kernel in one convolution, some of them padded with
  zeros. They let a NaN in x spread to the outputs of the other phases, no
  further than the dilation.
- spread: all phases of a depthwise layer in one sum of shifted products; no NaN spreads.
"""

import itertools
from dataclasses import replace
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._taps import Taps, gather, interleave, pad, seen
from .._widen import widen
from .._window import Window
from . import plain
from .correlation import Correlation
from .phases import Phases
from .primitive import correlate
from .tile import tile

# The channels of the narrow groups that share a convolution: a vector or two.
_SHARED = 16


def taps(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """Unit strides: the product `[K.., O, N, S..]` of w and x, a tap shifted onto its outputs."""
    (*k, channels, o), n = w.shape, x.shape[1:-1]
    # Of two matrices whose rows are summed over; of more axes XLA makes them by a copy.
    each = jnp.swapaxes(w, -1, -2).reshape(-1, channels)
    rows = (((1,), (1,)), ((), ()))
    products = lax.dot_general(each, x.reshape(-1, channels), rows, c.precision)
    products = products.reshape(*k, o, x.shape[0], *n)
    taps = Taps(c.window, tuple(k), n)
    y = reduce(add, [seen(products[place], taps, place) for place in taps.places()])
    return jnp.moveaxis(y, 0, -1)


def patches(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """The product of `[N, S'.., K.. * C]`, what each tap sees of each channel, with w."""
    taps = Taps(c.window, w.shape[:-2], x.shape[1:-1])
    rows = jnp.concatenate(list(gather(x, taps, 0)), -1)
    return jnp.matmul(rows, w.reshape(-1, w.shape[-1]), precision=c.precision)


def all_cores(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """One output row more, so that XLA hands the convolution to Eigen and not to YNNPACK."""
    window = c.window
    rows = window.output_shape(x.shape[1:-1], w.shape[:-2])[0]
    (low, high), *rest = window.padding
    more = more_rows(x.shape, w.shape, window) * window.strides[0]
    taller = replace(window, padding=((low, high + more), *rest))
    return plain.correlation(x, w, c.with_(window=taller))[:, :rows]


def tiled(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """An s x t tile of outputs from one patch, by s * t shifted copies of w."""
    window = c.window
    s, t = tile(x.shape, w.shape, window)
    n, o = x.shape[0], w.shape[-1]
    (kh, kw), (mh, mw) = w.shape[:2], window.output_shape(x.shape[1:-1], w.shape[:2])
    copies = [
        jnp.pad(w, ((i, s - 1 - i), (j, t - 1 - j), (0, 0), (0, 0)))
        for i, j in itertools.product(range(s), range(t))
    ]
    th, tw = -(-mh // s), -(-mw // t)
    upper, across = (
        (low, (tiles - 1) * step + k + step - 1 - size - low)
        for (low, _), tiles, step, k, size in zip(
            window.padding, (th, tw), (s, t), (kh, kw), x.shape[1:-1], strict=True
        )
    )
    w = jnp.concatenate(copies, -1)
    stride = t
    if all(v % t == 0 for v in (x.shape[2], *across, w.shape[1])):
        # t columns are t times the channels, without a copy, and the stride is gone.
        x = x.reshape(n, x.shape[1], -1, t * x.shape[3])
        w = w.reshape(w.shape[0], -1, t * w.shape[2], w.shape[3])
        across, stride = (across[0] // t, across[1] // t), 1
    window = replace(window, strides=(s, stride), padding=(upper, across))
    y = plain.correlation(x, w, c.with_(window=window))
    y = y.reshape(n, th, tw, s, t, o)
    y = jnp.swapaxes(y, 2, 3).reshape(n, th * s, tw * t, o)
    return y[:, :mh, :mw]


def shifted(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """A sum over the taps, and the channels of a group, of x, shifted, times a weight an output."""
    x = _dilated(x, c.window)
    *k, each, o = w.shape
    if c.groups > 1:  # Of every output the channels of its group, side by side.
        groups = x.reshape(*x.shape[:-1], c.groups, each)
        x = jnp.repeat(groups, o // c.groups, axis=-2).reshape(*x.shape[:-1], -1)
    taps = Taps(_undilated(c.window), tuple(k), x.shape[1:-1])
    places = zip(gather(widen(x), taps, 0), widen(w).reshape(-1, each, o), strict=True)
    y = reduce(
        add,
        [
            tap[..., i::each] * jnp.expand_dims(v[i], tuple(range(tap.ndim - 1)))
            for tap, v in places
            for i in range(each)
        ],
    )
    return y.astype(x.dtype)


def split(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """One convolution a group, concatenated; narrow groups share one, with zeros between them."""
    together = merged(w.shape, c)
    if together > 1:
        w = _block_diagonal(w, c.groups, together)
    blocks = c.groups // together
    parts = zip(jnp.split(x, blocks, -1), jnp.split(w, blocks, -1), strict=True)
    return jnp.concatenate([correlate(a, b, c.with_(groups=1, copies=1)) for a, b in parts], -1)


def phased(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """A dilated input: one dense convolution for each phase of the outputs, interleaved.

    Output d * q + r sees tap a where r + a - low is a multiple of the dilation d: every d-th tap.
    """
    window = c.window
    n, k, d = x.shape[1:-1], w.shape[:-2], window.lhs_dilation
    m = window.output_shape(n, k)
    rows = tuple(-(-mi // di) for mi, di in zip(m, d, strict=True))
    phases = {}
    for phase in itertools.product(*map(range, d)):
        first, pads = [], []
        for r, (low, _), di, ki, ni, row in zip(phase, window.padding, d, k, n, rows, strict=True):
            a = (low - r) % di
            before = (low - r - a) // di
            first.append(a)
            pads.append((before, row - 1 + len(range(a, ki, di)) - ni - before))
        part = w[tuple(slice(a, None, di) for a, di in zip(first, d, strict=True))]
        if part.size:
            ones = (1,) * len(k)
            phases[phase] = correlate(
                x, part, c.with_(window=Window(ones, tuple(pads), ones, ones))
            )
    if not phases:
        return jnp.zeros((x.shape[0], *m, w.shape[-1]), x.dtype)
    full = interleave(phases, d)
    return full[(slice(None), *(slice(mi) for mi in m))]


def subpixel(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """A dilated input: the phases of the outputs are the channels of one convolution."""
    n, d, o, axes = x.shape[1:-1], c.window.lhs_dilation, w.shape[-1], w.ndim - 2
    phases = Phases(c.window, w.shape[:-2], n)
    w, rows = phases.kernel(w), phases.rows
    w = jnp.transpose(w, (*range(0, 2 * axes, 2), 2 * axes, *range(1, 2 * axes, 2), 2 * axes + 1))
    w = w.reshape(*w.shape[: axes + 1], -1)  # [T.., C, R.. * O]
    pads = [
        (-t, row - 1 + taps - ni + t)
        for t, row, taps, ni in zip(phases.first, rows, w.shape[:axes], n, strict=True)
    ]
    ones = (1,) * axes
    y = correlate(x, w, c.with_(window=Window(ones, tuple(pads), ones, ones)))
    # The last axis has its phases beside its places already. Fewer axes are transposed faster.
    y = y.reshape(-1, *rows[1:], *d[:-1], d[-1] * o)
    between = [axis for i in range(axes - 1) for axis in (axes + i, i + 1)]
    y = jnp.transpose(y, (0, *between, 2 * axes - 1))
    return phases.joined(y.reshape(-1, *(v for pair in zip(rows, d, strict=True) for v in pair), o))


def spread(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """A dilated input, depthwise: what each place of x adds to the outputs of all phases.

    One loop reads x and writes y: what is repeated and masked along a phase costs it nothing.
    """
    phases = Phases(c.window, w.shape[:-2], x.shape[1:-1])
    x = jnp.repeat(widen(x), w.shape[-1] // c.groups, axis=-1)
    w = phases.kernel(widen(w))[..., 0, :]
    places = [0, *range(1, w.ndim, 2)]
    shares = []
    for shift, shifted, mask in phases.shifts(x):
        at = tuple(index for t in shift for index in (t, slice(None)))
        # To the phases without this tap a NaN in x does not spread.
        shares.append(jnp.where(mask, shifted * jnp.expand_dims(w[at], places), 0))
    return phases.joined(reduce(add, shares))


def merged(w: tuple[int, ...], c: Correlation) -> int:
    """How many neighbouring groups of a copy share a convolution: up to `_SHARED` channels."""
    widest, groups = max(w[-2], w[-1] // c.groups), c.groups // c.copies
    fitting = [m for m in range(1, groups + 1) if groups % m == 0 and m * widest <= _SHARED]
    return max(fitting, default=1)


def _block_diagonal(w: jax.Array, groups: int, together: int) -> jax.Array:
    """`[K.., together * C, O]`: of each input channel the outputs of its own group, else zeros."""
    *k, c, o = w.shape
    w = w.reshape(*k, 1, c, groups // together, together, o // groups)
    own = np.eye(together, dtype=bool)[:, None, None, :, None]
    return jnp.where(own, w, 0).reshape(*k, together * c, o)


def more_rows(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> int:
    """How many output rows more than now make the output taller than the input."""
    return max(x[1] - window.output_shape(x[1:-1], w[:-2])[0] + 1, 0)


def _dilated(x: jax.Array, window: Window) -> jax.Array:
    if set(window.lhs_dilation) == {1}:
        return x
    return pad(x, [(0, 0)] * len(window.lhs_dilation), 0, [d - 1 for d in window.lhs_dilation])


def _undilated(window: Window) -> Window:
    return replace(window, lhs_dilation=(1,) * len(window.strides))
