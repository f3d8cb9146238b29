"""Layers to few outputs: neighbouring places of the last axis stand beside each other as outputs.

oneDNN computes a vector of outputs at a time; of eight outputs half of it lies idle. The r places
from r i on have r O outputs, of a kernel that is longer by their distance. With the stride s along
that axis,

    y[n, r i + q, o] = sum over t, c of  x[n, r s i + t - low, c] * w[t - s q, c, o]

and, for dw, with D for what each of the r places of g gives by itself,

    D[t, c, q, o] = sum over n, i of  x[n, r s i + t - low, c] * g[n, r i + q, o]
    dw[a, c, o] = sum over q of  D[a + s q, c, q, o]

Neither y nor g is copied: these places lie beside each other in memory. The zeros around the copies
of w meet neighbours, so a NaN or an infinity in x spreads to up to r - 1 places of y further than
the kernel reaches. In dw there are none.
"""

from dataclasses import replace
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp

from .._window import Window
from . import onednn
from .correlation import Correlation, Problem, Shape
from .primitive import correlate

# Fewer windows than this along the axis are computed no faster than one by one.
FEWEST_WINDOWS = 4
# Of what the places take one by one the longer kernel must leave no more than this.
MOST_LEFT = 0.85
# And they fill more than one part in so many of a vector.
PARTS_FILLED = 4


def together(o: int, m: int, k: int, stride: int) -> int:
    """How many of m places share a vector of o outputs each: 1 where it does not pay."""
    lanes = onednn.lanes()
    most = min(lanes // o, max(2, m // FEWEST_WINDOWS))
    for r in range(most, 1, -1):
        pays = k + stride * (r - 1) <= MOST_LEFT * k * r
        if pays and m % r == 0 and PARTS_FILLED * r * o > lanes:
            return r
    return 1


def fits(p: Problem) -> bool:
    """Whether places share a vector, and oneDNN takes them so."""
    r = _together(p.x, p.w, p.c)
    if r == 1:
        return False
    c, w = _packed(p.c, r), list(p.w)
    w[-1] *= r
    if p.c.over_batch:
        w[-2] //= r
    else:
        w[-3] += (r - 1) * p.window.strides[-1]
    return onednn.fits(replace(p, c=c, w=tuple(w)))


def y(x: jax.Array, w: jax.Array, c: Correlation, b: jax.Array | None = None) -> jax.Array:
    """A copy of w for each of r neighbouring outputs, one stride further than the last."""
    r, (*_, m, o) = _together(x.shape, w.shape, c), c.output_shape(x.shape, w.shape)
    stride, others = c.window.strides[-1], [(0, 0)] * (w.ndim - 3)
    copies = [
        jnp.pad(w, (*others, (stride * q, stride * (r - 1 - q)), (0, 0), (0, 0))) for q in range(r)
    ]
    bias = None if b is None else jnp.tile(b, r)
    places = correlate(x, jnp.concatenate(copies, -1), _packed(c, r), bias)
    return places.reshape(*places.shape[:-2], m, o)


def dw(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """D in one sum over the batch, and dw as the sum of its r places, each on its own taps."""
    r, (*lead, m, o) = _together(x.shape, g.shape, c), g.shape
    *_, k, channels, _ = c.output_shape(x.shape, g.shape)
    stride = c.window.rhs_dilation[-1]
    sums = correlate(x, g.reshape(*lead, m // r, r * o), _packed(c, r))
    sums = sums.reshape(*sums.shape[:-2], channels, r, o)
    return reduce(add, [sums[..., stride * q : stride * q + k, :, q, :] for q in range(r)])


def _together(x: Shape, w: Shape, c: Correlation) -> int:
    window, y_or_dw = c.window, c.output_shape(x, w)
    m, k = (w[-2], y_or_dw[-3]) if c.over_batch else (y_or_dw[-2], w[-3])
    stride, dilation = window.strides[-1], window.rhs_dilation[-1]
    if c.over_batch:  # there the layer's strides dilate g
        stride, dilation = dilation, stride
    alone = c.groups == 1 and dilation == window.lhs_dilation[-1] == 1
    return together(w[-1], m, k, stride) if alone else 1


def _packed(c: Correlation, r: int) -> Correlation:
    """The window moves r places at a time, and reaches from side to side as before."""
    window = c.window
    strides, dilation = window.strides, window.rhs_dilation
    if c.over_batch:
        dilation = (*dilation[:-1], dilation[-1] * r)
    else:
        strides = (*strides[:-1], strides[-1] * r)
    window = Window(strides, window.padding, window.lhs_dilation, dilation)
    return c.with_(window=window, form="onednn")
