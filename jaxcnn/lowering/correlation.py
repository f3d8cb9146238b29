"""The correlations behind every convolution, and how each is put to XLA.

`correlate` is the forward pass, and dx with w flipped:

    y[n, i, o] = sum over a, c of  x[n, i * strides + a * rhs_dilation - low, c] * w[a, c, o]

`correlate_over_batch` is dw, where g is the kernel and the batch is summed:

    dw[a, c, o] = sum over n, i of  x[n, a * strides + i * rhs_dilation - low, c] * g[n, i, o]

Operands are canonical: x `[N, S.., C]`, w `[K.., C/G, O]`, y and g `[N, S'.., O]`; both results are
the same sums in every form of `forms_of_y`, which
says what each is good for. A form is chosen from the
static shapes alone, and used where the function is lowered for CPU; on every other platform, and
where mesh axes are explicit, XLA gets the plain convolution.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from .._cotangent import explicit_sharding
from .._window import Window
from . import forms_of_dw, forms_of_y


def correlate(
    x: jax.Array,
    w: jax.Array,
    window: Window,
    groups: int = 1,
    precision=None,
    dtype=None,
    out_sharding=None,
    form: str | None = None,
) -> jax.Array:
    """The correlation of x with w over `window`, `[N, S'.., O]`; `form` forces one by name."""
    x, w = _common(x, w)
    shape = (x.shape[0], *window.output_shape(x.shape[1:-1], w.shape[:-2]), w.shape[-1])
    if not (x.size and math.prod(shape)):
        return jnp.zeros(shape, dtype or x.dtype)

    def plain(x, w):
        if 1 < groups < x.shape[-1] and explicit_sharding(x) is not None:
            # XLA gathers the sharded batch of a grouped convolution; not of one a group.
            parts = zip(jnp.split(x, groups, -1), jnp.split(w, groups, -1), strict=True)
            y = [
                forms_of_y.plain(a, b, window, 1, precision, dtype, out_sharding) for a, b in parts
            ]
            return jnp.concatenate(y, -1)
        return forms_of_y.plain(x, w, window, groups, precision, dtype, out_sharding)

    def chosen(x, w):
        y = forms_of_y.FORMS[name](x, w, window, groups, precision)
        return y.astype(dtype or x.dtype)

    name = form or forms_of_y.choose(x.shape, w.shape, window, groups, x.dtype)
    if name == "plain" or out_sharding is not None or explicit_sharding(x) is not None:
        return plain(x, w)
    return chosen(x, w) if form else lax.platform_dependent(x, w, cpu=chosen, default=plain)


def correlate_over_batch(
    x: jax.Array,
    g: jax.Array,
    window: Window,
    groups: int = 1,
    precision=None,
    out_sharding=None,
    form: str | None = None,
) -> jax.Array:
    """The correlation of x with g, batch summed, `[K.., C/G, O]`; `form` forces one by name."""
    x, g = _common(x, g)
    k = window.output_shape(x.shape[1:-1], g.shape[1:-1])
    shape = (*k, x.shape[-1] // groups, g.shape[-1])
    if not (x.size and math.prod(shape)):
        return jnp.zeros(shape, x.dtype)

    def plain(x, g):
        return forms_of_dw.plain(x, g, window, groups, precision, out_sharding)

    def chosen(x, g):
        dw = forms_of_dw.FORMS[name](x, g, window, groups, precision)
        return dw.astype(x.dtype)

    name = form or forms_of_dw.choose(x.shape, g.shape, window, groups, x.dtype)
    if name == "plain" or out_sharding is not None or explicit_sharding(x) is not None:
        return plain(x, g)
    return chosen(x, g) if form else lax.platform_dependent(x, g, cpu=chosen, default=plain)


def sum_over_places(g: jax.Array) -> jax.Array:
    """db: the sum of `[N, S.., O]` over all but the channels, `[O]`.

    XLA:CPU is slow where few channels are summed over many places; a row of the image, as one
    vector, is not: 128x28x28x4 from 0.2 to 0.08 ms. Several devices would exchange that row.
    """
    *places, columns, channels = g.shape
    if channels > 8 or len(places) < 2 or jax.device_count() > 1:
        return jnp.sum(g, tuple(range(g.ndim - 1)))
    rows = jnp.sum(g.reshape(-1, columns * channels), 0)
    return jnp.sum(rows.reshape(columns, channels), 0)


def _common(x, w):
    # With a preferred element type the cotangent may be wider than the operand it meets.
    dtype = max(x.dtype, w.dtype, key=lambda d: d.itemsize)
    return x.astype(dtype), w.astype(dtype)
