"""The correlations behind every convolution, and how each is put to XLA.

`correlate` is the forward pass, and dx with w flipped:

    y[n, i, o] = sum over a, c of  x[n, i * strides + a * rhs_dilation - low, c] * w[a, c, o]

`correlate_over_batch` is dw, where g is the kernel and the batch is summed:

    dw[a, c, o] = sum over n, i of  x[n, a * strides + i * rhs_dilation - low, c] * g[n, i, o]

Operands are canonical: x `[N, S.., C]`, w `[K.., C/G, O]`, y and g `[N, S'.., O]`.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from ._window import Window


def correlate(
    x: jax.Array,
    w: jax.Array,
    window: Window,
    groups: int = 1,
    precision=None,
    dtype=None,
    out_sharding=None,
) -> jax.Array:
    """x correlated with w over `window`, as XLA's own convolution in canonical order."""
    x, w = _common(x, w)
    if not x.size:
        shape = window.output_shape(x.shape[1:-1], w.shape[:-2])
        return jnp.zeros((x.shape[0], *shape, w.shape[-1]), dtype or x.dtype)
    last = x.ndim - 1
    image = (0, last, *range(1, last))
    kernel = (last, last - 1, *range(last - 1))
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


def correlate_over_batch(
    x: jax.Array,
    g: jax.Array,
    window: Window,
    groups: int = 1,
    precision=None,
    out_sharding=None,
) -> jax.Array:
    """x correlated with g over `window`, batch summed: `[K.., C/G, O]`."""
    n, *space, c = x.shape
    c = c // groups
    # The channels of x become the batch, [C/G, S.., G * N]; the batch becomes the channels.
    image = x.reshape(n, *space, groups, c)
    image = jnp.moveaxis(jnp.moveaxis(image, -1, 0), 1, -1).reshape(c, *space, groups * n)
    kernel = jnp.moveaxis(g, 0, -2)
    if out_sharding is not None:
        *k, i, o = (*out_sharding.spec, *(None,) * (x.ndim - len(out_sharding.spec)))
        out_sharding = NamedSharding(out_sharding.mesh, PartitionSpec(i, *k, o))
    dw = correlate(image, kernel, window, groups, precision, None, out_sharding)
    return jnp.moveaxis(dw, 0, -2)


def _common(x, w):
    # With a preferred element type the cotangent may be wider than the operand it meets.
    dtype = max(x.dtype, w.dtype, key=lambda d: d.itemsize)
    return x.astype(dtype), w.astype(dtype)
