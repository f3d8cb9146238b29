"""The forms of dw: plain, shifted, split, phased and exchanged.

- plain: XLA's convolution in canonical order, of x with its channels as the batch, and g, whose
  batch is the input channel, as the kernel. Autodiff's own permuted dimension numbers fall to a
  naive loop inside scan, map, cond and while: 100 times slower.
- shifted: depthwise, a sum over rows of products of x, shifted, with g.
- split: one convolution a group.
- phased: strides dilate g, and a dilated kernel is mostly zeros. Every s-th row and column of x
  meets g densely: one convolution for each part of the kernel, interleaved.
- exchanged: where x is dilated (conv_transpose), x and g change places, and it is g that is strided.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from . import _forms
from ._taps import Taps, gather, interleave, pad
from ._widen import widen
from ._window import Window, span


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
    if set(window.rhs_dilation) != {1} and set(window.strides) == {1}:
        return "phased"
    return "plain"


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


def shifted(x, g, window: Window, groups=1, precision=None):
    """Depthwise: for each tap the sum of x, shifted, times g; first over rows, then the rest.

    XLA:CPU reduces over leading axes element by element; a sum of whole rows is one vectorised
    loop, and what is left to reduce is small.
    """
    del groups, precision
    k = window.output_shape(x.shape[1:-1], g.shape[1:-1])
    ones = (1,) * len(k)
    x = pad(x, [(0, 0)] * len(k), 0, [d - 1 for d in window.lhs_dilation])
    taps = Taps(Window(window.rhs_dilation, window.padding, ones, window.strides), k, x.shape[1:-1])
    g = widen(g)
    rows = g.shape[1]
    dw = []
    for tap in gather(widen(x), taps, 0):
        total = tap[:, 0] * g[:, 0]
        for row in range(1, rows):
            total = total + tap[:, row] * g[:, row]
        dw.append(jnp.sum(total, tuple(range(total.ndim - 1))))
    return jnp.stack(dw).reshape(*k, 1, g.shape[-1]).astype(x.dtype)


def split(x, g, window: Window, groups=1, precision=None):
    """One convolution a group, concatenated."""
    parts = zip(jnp.split(x, groups, -1), jnp.split(g, groups, -1), strict=True)
    return jnp.concatenate([_best(a, b, window, precision) for a, b in parts], -1)


def phased(x, g, window: Window, groups=1, precision=None):
    """A strided window: tap s * q + r meets every s-th element of x from r on."""
    del groups
    n, m, s = x.shape[1:-1], g.shape[1:-1], window.rhs_dilation
    k, ones = window.output_shape(n, m), (1,) * len(s)
    most = tuple(-(-ki // si) for ki, si in zip(k, s, strict=True))
    reach = [
        (low, (mi + ki - 1) * si - ni - low)
        for (low, _), mi, ki, si, ni in zip(window.padding, m, most, s, n, strict=True)
    ]
    x = pad(x, reach, 0)
    phases = {}
    for phase in itertools.product(*map(range, s)):
        part = x[(slice(None), *(slice(r, None, si) for r, si in zip(phase, s, strict=True)))]
        dw = _best(part, g, Window(ones, ((0, 0),) * len(s), ones, ones), precision)
        phases[phase] = dw.reshape(*dw.shape[:-2], -1)
    full = interleave(phases, s)[tuple(slice(ki) for ki in k)]
    return full.reshape(*k, x.shape[-1], g.shape[-1])


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
    "shifted": shifted,
    "split": split,
    "phased": phased,
    "exchanged": exchanged,
}


def _best(x, g, window: Window, precision):
    return FORMS[choose(x.shape, g.shape, window, 1, x.dtype)](x, g, window, 1, precision)
