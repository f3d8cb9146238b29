"""`correlation`, the one primitive under every convolution and both of its backward passes.

It is bilinear, and its two transposes are correlations again (`Window.of_dx` and `Window.of_dw`),
so a derivative of any order is put to XLA by a form chosen for it, never by the transpose of one.
With a bias and an activation it is not linear any more; its derivative is.

A form is chosen where the primitive is lowered (`rule`): only there are the platform and the number
of devices known. `choice` has the tables.
"""

import functools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from .._cotangent import as_varying, explicit_sharding
from . import plain
from .correlation import Correlation


def correlate(x: jax.Array, w: jax.Array, c: Correlation, b: jax.Array | None = None) -> jax.Array:
    """The correlation of x with w, plus b, activated; c says over what and how."""
    # With a preferred element type the cotangent may be wider than the operand it meets.
    wide = max(x.dtype, w.dtype, key=lambda d: d.itemsize)
    x, w = x.astype(wide), w.astype(wide)
    if c.form is None:
        c = c.with_(form=_forced)
    shape = c.output_shape(x.shape, w.shape)
    if not (x.size and w.size) or 0 in shape:
        return plain.finished(jnp.zeros(shape, c.dtype or wide), b, c.activation)
    if c.sharding is not None or explicit_sharding(x) is not None:
        return plain.finished(plain.correlation(x, w, c), b, c.activation)
    return correlation_p.bind(*as_varying(x, w, *([] if b is None else [b])), c=c)


_forced: str | None = None


@contextmanager
def forcing(form: str | None) -> Generator[None]:
    """Have every correlation that is traced here take this form."""
    global _forced
    before, _forced = _forced, form
    try:
        yield
    finally:
        _forced = before


correlation_p = Primitive("correlation")


@functools.cache
def _compiled(c: Correlation):
    return jax.jit(functools.partial(correlation_p.bind, c=c))


@correlation_p.def_impl
def _impl(*operands: Any, c: Correlation) -> Any:
    return _compiled(c)(*operands)


@correlation_p.def_abstract_eval
def _abstract(x: Any, w: Any, *b: Any, c: Correlation) -> Any:
    shape = c.output_shape(x.shape, w.shape)
    return x.update(shape=shape, dtype=np.dtype(c.dtype or x.dtype), weak_type=False)


# Differentiation.


def _jvp(primals: Any, tangents: Any, *, c: Correlation) -> Any:
    x, w, *b = primals
    y = correlation_p.bind(x, w, *b, c=c)
    dx, dw, *db = tangents
    terms = []
    if not isinstance(dx, ad.Zero):
        terms.append(correlate(dx, w, c.linear()))
    if not isinstance(dw, ad.Zero):
        terms.append(correlate(x, dw, c.linear()))
    terms += [
        jnp.broadcast_to(lax.expand_dims(v, tuple(range(y.ndim - 1))), y.shape)
        for v in db
        if not isinstance(v, ad.Zero)
    ]
    dy = functools.reduce(jnp.add, (t.astype(y.dtype) for t in terms))
    return y, dy if c.activation is None else jnp.where(y > 0, dy, jnp.zeros_like(dy))


def _transpose(ct: Any, x: Any, w: Any, *b: Any, c: Correlation) -> Any:
    # Only the bilinear sum is ever transposed: `_jvp` leaves bias and activation behind.
    assert not b
    assert c.activation is None
    if ad.is_undefined_primal(x):
        if isinstance(ct, ad.Zero):
            return ad.Zero(x.aval), None
        return to_x(ct, x.aval, w, c).astype(x.aval.dtype), None
    if isinstance(ct, ad.Zero):
        return None, ad.Zero(w.aval)
    return None, to_w(ct, x, w.aval, c).astype(w.aval.dtype)


def to_x(g: jax.Array, x: Any, w: jax.Array, c: Correlation) -> jax.Array:
    """The transpose of the correlation with respect to x, of whose shape x is."""
    n = x.shape[1:-1]
    if c.over_batch:
        # The sum over the batch is dw of a layer whose cotangent is w; of that layer g is the w.
        return to_x(w, x, g, c.of_dw(n, w.shape[1:-1]))
    w_flipped = exchange_channels(jnp.flip(w, tuple(range(w.ndim - 2))), c.groups)
    return correlate(g, w_flipped, c.of_dx(n, w.shape[:-2]))


def to_w(g: jax.Array, x: jax.Array, w: Any, c: Correlation) -> jax.Array:
    """The transpose of the correlation with respect to w, of whose shape w is."""
    k = w.shape[1:-1] if c.over_batch else w.shape[:-2]
    return correlate(x, g, c.of_dw(x.shape[1:-1], k))


def exchange_channels(w: jax.Array, groups: int) -> jax.Array:
    """`[K.., C/G, O]` as `[K.., O/G, C]`: input and output channels exchanged, group by group."""
    *k, c, o = w.shape
    if groups == 1:  # another axis, of one, costs XLA a copy of another kind
        return jnp.swapaxes(w, -1, -2)
    w = w.reshape(*k, c, groups, o // groups)
    return jnp.swapaxes(w, -1, -3).reshape(*k, o // groups, groups * c)


ad.primitive_jvps[correlation_p] = _jvp
ad.primitive_transposes[correlation_p] = _transpose


# Batching: the new axis joins the batch or the channels; where both operands have it, the groups.


def _batch(operands: Any, axes: Any, *, c: Correlation) -> Any:
    x, w, *b = operands
    x_axis, w_axis, *b_axes = axes
    if 0 in (v.shape[a] for v, a in zip(operands, axes, strict=True) if a is not None):
        one = [
            v.shape if a is None else v.shape[:a] + v.shape[a + 1 :]
            for v, a in zip((x, w), (x_axis, w_axis), strict=True)
        ]
        return jnp.zeros((0, *c.output_shape(*one)), c.dtype or x.dtype), 0
    if b and (w_axis is not None or b_axes[0] is not None):
        # Bias and activation act on y alone, after the sum.
        if x_axis is None and w_axis is None:
            y = correlate(x, w, c.linear())[None]
        else:
            y, axis = _batch((x, w), (x_axis, w_axis), c=c.linear())
            y = jnp.moveaxis(y, axis, 0)
        (bias,), (b_axis,) = b, b_axes
        bias = bias[None] if b_axis is None else jnp.moveaxis(bias, b_axis, 0)
        bias = bias.reshape(bias.shape[0], *(1,) * (y.ndim - 2), bias.shape[-1])
        return plain.activated(y + bias.astype(y.dtype), c.activation), 0
    if x_axis is not None and w_axis is not None:
        # Its entries do not see each other.
        size = x.shape[x_axis]
        x, w = onto_channels(x, x_axis, 1), onto_channels(w, w_axis, 1)
        y = correlate(x, w, c.with_(groups=size * c.groups, copies=size * c.copies))
        *lead, channels = y.shape
        return y.reshape(*lead, size, channels // size), y.ndim - 1
    if x_axis is not None and not c.over_batch:
        x = jnp.moveaxis(x, x_axis, 0)
        y = correlate(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), w, c, *b)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    if x_axis is not None:
        size = x.shape[x_axis]
        y = correlate(onto_channels(x, x_axis, c.groups), w, c)
        *lead, channels, o = y.shape
        return y.reshape(*lead, size, channels // size, o), y.ndim - 2
    assert w_axis is not None
    size = w.shape[w_axis]
    return off_channels(correlate(x, onto_channels(w, w_axis, c.groups), c), size, c.groups), 0


def onto_channels(x: jax.Array, axis: int, groups: int) -> jax.Array:
    """`[.., C]` with one more axis, laid on the channels of each group: `[.., G * B * C/G]`."""
    x = jnp.moveaxis(x, axis, -2)
    *lead, size, channels = x.shape
    if groups > 1:
        x = jnp.swapaxes(x.reshape(*lead, size, groups, channels // groups), -2, -3)
    return x.reshape(*lead, size * channels)


def off_channels(y: jax.Array, size: int, groups: int) -> jax.Array:
    """What `onto_channels` laid there is an axis again, the first one: `[B, .., C]`."""
    *lead, channels = y.shape
    if groups > 1:
        y = jnp.moveaxis(y.reshape(*lead, groups, size, channels // (groups * size)), -2, 0)
        return y.reshape(size, *lead, channels // size)
    return jnp.moveaxis(y.reshape(*lead, size, channels // size), -2, 0)


batching.primitive_batchers[correlation_p] = _batch
