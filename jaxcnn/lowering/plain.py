"""The correlations as XLA has them, in canonical order, and what follows the sum.

`b01f_01io->b01f` and its kin: XLA:CPU brings other orders into this one in a program's entry
alone, and in the body of a loop they fall to a naive loop, 10 to 100 times slower.
"""

from dataclasses import astuple, replace

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .._cotangent import explicit_sharding
from .._taps import pad
from .._window import Window
from .correlation import Activation, Correlation


def correlation(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    """XLA's convolution for either sum."""
    return _over_batch(x, w, c) if c.over_batch else _over_channels(x, w, c)


def _over_channels(x: jax.Array, w: jax.Array, c: Correlation, batch_groups: int = 1) -> jax.Array:
    if 1 < c.groups < x.shape[-1] and explicit_sharding(x) is not None:
        # XLA gathers the sharded batch of a grouped convolution; not of one a group.
        return _one_by_one(x, w, c)
    n, *rest = c.output_shape(x.shape, w.shape)
    shape = (n // batch_groups, *rest)
    x, window = cropped(x, c.window)
    if not x.size:
        return jnp.zeros(shape, c.dtype or x.dtype)
    w, window = not_like_groups(w, x.shape[1:-1], window)
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
        feature_group_count=c.groups,
        batch_group_count=batch_groups,
        precision=c.precision,
        preferred_element_type=c.dtype,
        out_sharding=c.sharding,
    )


def cropped(x: jax.Array, window: Window) -> tuple[jax.Array, Window]:
    """`x` without what negative padding cuts off, and the window over the rest.

    XLA:CPU reads outside of x where padding is negative (JAX 0.10.2, one axis, float32). Of a
    dilated x, whole elements go, and the zeros before the first that is left become padding. Where
    more is cut off than there is, nothing of x is left.
    """
    if all(side >= 0 for both in window.padding for side in both):
        return x, window
    cuts, padding = [], []
    for n, both, d in zip(x.shape[1:-1], window.padding, window.lhs_dilation, strict=True):
        low, high = (-(min(side, 0) // d) for side in both)
        padding.append((both[0] + low * d, both[1] + high * d))
        low = min(low, n)
        cuts.append((-low, -min(high, n - low)))
    return pad(x, cuts, 0), replace(window, padding=tuple(padding))


def not_like_groups(w: jax.Array, n: tuple[int, ...], window: Window) -> tuple[jax.Array, Window]:
    """`w` and its window with a zero tap in front where XLA could take an axis for its groups.

    Where a kernel is larger than its image, XLA's simplifier exchanges the two, save along an axis
    it takes for groups: unpadded, x dilated by k, strides of k - 1. That n is k there too it does
    not ask; where n is not, "Window dimensions do not match RHS shape" ends the process.
    """
    k = w.shape[:-2]
    if all(ki <= ni for ki, ni in zip(k, n, strict=True)):
        return w, window
    axes = zip(n, k, *astuple(window), strict=True)
    taps = [
        ni != ki and (s, both, ld, rd) == (ki - 1, (0, 0), ki, 1)
        for ni, ki, s, both, ld, rd in axes
    ]
    w = jnp.pad(w, [*((tap, 0) for tap in taps), (0, 0), (0, 0)]) if any(taps) else w
    padding = tuple(
        (low + tap, high) for tap, (low, high) in zip(taps, window.padding, strict=True)
    )
    return w, replace(window, padding=padding)


def _over_batch(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """The convolution of `[C, S.., N]` with `[S'.., N, O]`: the batch is what is summed."""
    if c.groups > 1 and (c.sharding is not None or explicit_sharding(x) is not None):
        # On explicit mesh axes XLA gathers the sharded batch of a grouped convolution.
        return _one_by_one(x, g, c)
    image, kernel = jnp.moveaxis(jnp.moveaxis(x, -1, 0), 1, -1), jnp.moveaxis(g, 0, -2)
    sharding = c.sharding
    if sharding is not None:
        *k, i, o = (*sharding.spec, *(None,) * (x.ndim - len(sharding.spec)))
        sharding = NamedSharding(sharding.mesh, PartitionSpec(i, *k, o))
    sums = c.with_(over_batch=False, dtype=None, sharding=sharding, groups=1)
    return jnp.moveaxis(_over_channels(image, kernel, sums, c.groups), 0, -2)


def _one_by_one(x: jax.Array, w: jax.Array, c: Correlation) -> jax.Array:
    parts = zip(jnp.split(x, c.groups, -1), jnp.split(w, c.groups, -1), strict=True)
    return jnp.concatenate([correlation(a, b, c.with_(groups=1)) for a, b in parts], -1)


def finished(y: jax.Array, b: jax.Array | None, activation: Activation) -> jax.Array:
    """`y` with its bias, if there is one, and activated."""
    if b is not None:
        y = y + jnp.expand_dims(b.astype(y.dtype), tuple(range(y.ndim - 1)))
    return activated(y, activation)


def activated(y: jax.Array, activation: Activation) -> jax.Array:
    """The activation of y; `None` is none."""
    return y if activation is None else jnp.maximum(y, jnp.zeros((), y.dtype))
