"""The forms of y (and dx): plain, tiled, all_cores, shifted, split, phased and subpixel.

Each is the same sum; XLA:CPU runs them at very different speeds (JAX 0.10.2, 2 cores, Zen 4, where
a matrix product of 2048 cubed reaches 206 GFLOP/s and PyTorch 2.13 about 190 in a wide layer):

- plain: XLA's convolution in canonical order. With more than 16 channels, and an output no larger
  than the input, XLA hands it to YNNPACK, which runs it on one core: 94 GFLOP/s in a wide layer.
- all_cores: one output row more than is asked for, cut off again. XLA then hands the convolution
  to Eigen, which runs on all cores: 3x3, 28x28, 32 -> 32: 19.7 ms plain, 13.1 so.
- tiled: with few channels nearly all time goes into gathering patches. One application of a larger
  kernel computes s x t neighbouring outputs from one patch: s * t copies of w, each shifted by one
  and padded with zeros, stand on the channel axis, and the window strides by (s, t). 5x5, 28x28:
  1 -> 4 from 5.1 to 0.8 ms with 2 x 4, 4 -> 4 from 12.1 to 2.1 with 2 x 2, and another fifth less
  where the columns come out even and t of them are read as channels. The zeros meet neighbouring
  pixels, so a NaN or an infinity in x spreads up to s - 1 rows and t - 1 columns further than the
  kernel reaches.
- shifted: a depthwise convolution as a sum of shifted products, which XLA fuses into one loop.
- split: one convolution a group. XLA's grouped convolution is a naive loop on CPU. Groups of less
  than 16 channels share one: a NaN or an infinity in x spreads to the groups that share with it.
- phased: a dilated input (dx of a strided convolution, conv_transpose) is mostly zeros. The outputs
  at each distance modulo the dilation see one part of the kernel: one dense convolution each,
  interleaved at the end.
- subpixel: the same with all parts of the kernel in one convolution, some of them padded with
  zeros; for few channels, where what counts is that patches are gathered once. The zeros let a NaN
  in x spread to the outputs of the other phases, no further than the dilation.

What did not pay: patches gathered by hand and one matrix product (3x3, 28x28, 32 -> 32: 127 ms, 35
in a loop over single images; writing the patches costs more than the product's 13); one product a
tap (102 ms); halves of the batch as two convolutions (XLA runs them one after the other in a small
program); a three-dimensional convolution over the batch to avoid YNNPACK (51 ms); tiles for more
than 16 channels (1 x 2 at 32 -> 32: 34 ms), where XLA goes back to YNNPACK; pairs of groups as one
block-diagonal kernel (13.6 ms against 10.6 split).
"""

import itertools
import math
from functools import reduce
from operator import add

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._taps import Taps, gather, interleave, pad
from .._widen import widen
from .._window import Window


def choose(x: tuple[int, ...], w: tuple[int, ...], window: Window, groups: int, dtype) -> str:
    """The form for operands of these shapes; the figures are in the module's docstring."""
    k, c, o = w[:-2], x[-1], w[-1]
    undilated = set(window.rhs_dilation) == {1}
    if c == groups > 1:
        return "shifted" if math.prod(k) <= 64 else "plain"
    if groups > 1:
        return "split" if groups // _merged(w, groups) <= 16 else "plain"
    if set(window.lhs_dilation) != {1}:
        if not undilated or set(window.strides) != {1}:
            return "plain"
        return "subpixel" if o * math.prod(window.lhs_dilation) <= 64 else "phased"
    if len(k) != 2 or dtype != jnp.float32:
        return "plain"
    if set(window.strides) == {1} and undilated and tile(x, w, window) != (1, 1):
        return "tiled"
    if (
        min(c, o) >= 16
        and max(c, o) > 16
        and _more_rows(x, w, window) == 1
        and _flops(x, w, window) > 2e7
    ):
        return "all_cores"
    return "plain"


def tile(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> tuple[int, int]:
    """Rows and columns of outputs that one application of the tiled kernel computes.

    The largest tile, up to 2 x 4, whose outputs have at most 16 channels in all, where XLA stays
    with Eigen on all cores, or 32 while a patch is so small that gathering it is all the work.
    With more than 16 channels in, gathering is no longer what it spends its time on.
    """
    (kh, kw, c, o), m = w, window.output_shape(x[1:-1], w[:-2])

    def patch(s: int, t: int) -> int:
        return (kh + s - 1) * (kw + t - 1) * c

    def fits(s: int, t: int) -> bool:
        filled = all(-(-mi // step) * step <= 1.25 * mi for mi, step in zip(m, (s, t), strict=True))
        few = c <= 2 and patch(s, t) <= 64
        return filled and s * t * o <= (32 if few else 16)

    tiles = [st for st in itertools.product((1, 2), (1, 2, 4)) if fits(*st)]
    if kh * kw == 1 or c > 16 or not tiles:
        return 1, 1
    return max(tiles, key=lambda st: (st[0] * st[1], -patch(*st)))


def plain(x, w, window: Window, groups=1, precision=None, dtype=None, out_sharding=None):
    """XLA's convolution, canonical: `b01f_01io->b01f` and its kin in one and three dimensions."""
    last = x.ndim - 1
    image, kernel = (0, last, *range(1, last)), (last, last - 1, *range(last - 1))
    return lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding,
        window.lhs_dilation,
        window.rhs_dilation,
        dimension_numbers=lax.ConvDimensionNumbers(image, kernel, image),
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=dtype,
        out_sharding=out_sharding,
    )


def all_cores(x, w, window: Window, groups=1, precision=None):
    """One output row more, so that XLA hands the convolution to Eigen and not to YNNPACK."""
    rows = window.output_shape(x.shape[1:-1], w.shape[:-2])[0]
    (low, high), *rest = window.padding
    more = _more_rows(x.shape, w.shape, window) * window.strides[0]
    taller = Window(
        window.strides, ((low, high + more), *rest), window.lhs_dilation, window.rhs_dilation
    )
    return plain(x, w, taller, groups, precision)[:, :rows]


def tiled(x, w, window: Window, groups=1, precision=None):
    """An s x t tile of outputs from one patch, by s * t shifted copies of w."""
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
    window = Window((s, stride), (upper, across), window.lhs_dilation, window.rhs_dilation)
    y = plain(x, w, window, 1, precision)
    y = y.reshape(n, th, tw, s, t, o)
    y = jnp.swapaxes(y, 2, 3).reshape(n, th * s, tw * t, o)
    return y[:, :mh, :mw]


def shifted(x, w, window: Window, groups=1, precision=None):
    """Depthwise: a sum over the taps of x, shifted, times one weight a channel."""
    del precision
    x = _dilated(x, window)
    k, copies = w.shape[:-2], w.shape[-1] // groups
    if copies > 1:
        x = jnp.repeat(x, copies, axis=-1)
    taps = Taps(_undilated(window), k, x.shape[1:-1])
    weights = widen(w).reshape(-1, w.shape[-1])
    places = zip(gather(widen(x), taps, 0), weights, strict=True)
    y = reduce(add, [tap * jnp.expand_dims(v, tuple(range(tap.ndim - 1))) for tap, v in places])
    return y.astype(x.dtype)


def split(x, w, window: Window, groups=1, precision=None):
    """One convolution a group, concatenated; narrow groups share one, with zeros between them."""
    merged = _merged(w.shape, groups)
    if merged > 1:
        w = _block_diagonal(w, groups, merged)
    blocks = groups // merged
    parts = zip(jnp.split(x, blocks, -1), jnp.split(w, blocks, -1), strict=True)
    return jnp.concatenate([_best(a, b, window, precision) for a, b in parts], -1)


def phased(x, w, window: Window, groups=1, precision=None):
    """A dilated input: one dense convolution for each phase of the outputs, interleaved.

    Output d * q + r sees tap a where r + a - low is a multiple of the dilation d: every d-th tap.
    """
    del groups
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
            phases[phase] = _best(x, part, Window(ones, tuple(pads), ones, ones), precision)
    if not phases:
        return jnp.zeros((x.shape[0], *m, w.shape[-1]), x.dtype)
    full = interleave(phases, d)
    return full[(slice(None), *(slice(mi) for mi in m))]


def subpixel(x, w, window: Window, groups=1, precision=None):
    """A dilated input: the phases of the outputs are the channels of one convolution.

    Output d * q + r sees x at q + t through tap d * t + low - r: w, arranged by t and r.
    """
    del groups
    n, d, o, axes = x.shape[1:-1], window.lhs_dilation, w.shape[-1], len(w.shape) - 2
    m = window.output_shape(n, w.shape[:-2])
    rows = tuple(-(-mi // di) for mi, di in zip(m, d, strict=True))
    pads = []
    for i, (k, di, (low, _)) in enumerate(zip(w.shape[:-2], d, window.padding, strict=True)):
        t = np.arange(-(low // di), (k + di - 2 - low) // di + 1)
        tap = di * t[:, None] + low - np.arange(di)
        w = jnp.concatenate([w, jnp.zeros_like(w[(slice(None),) * 2 * i + (slice(1),)])], 2 * i)
        w = jnp.take(w, np.where((tap >= 0) & (tap < k), tap, k), 2 * i)
        pads.append((low // di, rows[i] - 1 + len(t) - n[i] - low // di))
    w = jnp.transpose(w, (*range(0, 2 * axes, 2), 2 * axes, *range(1, 2 * axes, 2), 2 * axes + 1))
    w = w.reshape(*w.shape[: axes + 1], -1)  # [T.., C, R.. * O]
    ones = (1,) * axes
    y = _best(x, w, Window(ones, tuple(pads), ones, ones), precision).reshape(-1, *rows, *d, o)
    phases = [i + 1 + j * axes for i in range(axes) for j in (0, 1)]
    y = jnp.transpose(y, (0, *phases, 2 * axes + 1))
    y = y.reshape(-1, *(r * di for r, di in zip(rows, d, strict=True)), o)
    return y[(slice(None), *(slice(mi) for mi in m))]


FORMS = {
    "plain": plain,
    "all_cores": all_cores,
    "tiled": tiled,
    "shifted": shifted,
    "split": split,
    "phased": phased,
    "subpixel": subpixel,
}


def _best(x, w, window: Window, precision):
    return FORMS[choose(x.shape, w.shape, window, 1, x.dtype)](x, w, window, 1, precision)


def _merged(w: tuple[int, ...], groups: int) -> int:
    """How many neighbouring groups share a convolution: up to 16 channels in all."""
    widest = max(w[-2], w[-1] // groups)
    return max((m for m in range(1, 17) if groups % m == 0 and m * widest <= 16), default=1)


def _block_diagonal(w, groups: int, merged: int):
    """`[K.., merged * C, O]`: of each input channel the outputs of its own group, else zeros."""
    *k, c, o = w.shape
    w = w.reshape(*k, 1, c, groups // merged, merged, o // groups)
    own = np.eye(merged, dtype=bool)[:, None, None, :, None]
    return jnp.where(own, w, 0).reshape(*k, merged * c, o)


def _more_rows(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> int:
    """How many output rows more than now make the output taller than the input."""
    return max(x[1] - window.output_shape(x[1:-1], w[:-2])[0] + 1, 0)


def _flops(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> int:
    return 2 * x[0] * math.prod(window.output_shape(x[1:-1], w[:-2])) * math.prod(w)


def _dilated(x, window: Window):
    if set(window.lhs_dilation) == {1}:
        return x
    return pad(x, [(0, 0)] * len(window.lhs_dilation), 0, [d - 1 for d in window.lhs_dilation])


def _undilated(window: Window) -> Window:
    ones = (1,) * len(window.strides)
    return Window(window.strides, window.padding, ones, window.rhs_dilation)
