"""dw by oneDNN, of which XLA has the forward convolution alone.

g is the kernel as it lies, x the image, of one example whose channels are the batch; the channels
of x are places between those of its last axis. x is transposed for groups, for 16 bits and for two
examples alone.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from .._window import Window
from .correlation import Correlation
from .onednn_call import batch_first, channels_first, channels_last, convolution
from .parts import parts_of

# Of larger operands, in elements, a part after the other stays nearer to the cores.
LARGE = 2**20
# So few examples are soon brought behind the channels, where oneDNN is faster.
FEW_TO_TRANSPOSE = 2


def in_parts(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """`dw`, of a large batch one part after the other."""
    parts = parts_of(x.shape, g.shape, LARGE)
    x, g = (v.reshape(parts, -1, *v.shape[1:]) for v in (x, g))
    dw = _dw(x[0], g[0], c)
    if parts == 1:
        return dw
    return lax.fori_loop(1, parts, lambda i, dw: dw + _dw(x[i], g[i], c), dw)


def _dw(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """`dw` by the forward convolution: g is the kernel, and the batch the channel that is summed.

    The channels of x are places between those of its last axis: the window moves by one channel,
    and its taps lie a whole place apart. A window that is dilated along that axis would meet
    them again too late; then the channels are one more axis, over which the kernel has one tap.
    """
    n, *space, channels = x.shape
    groups, window, o = c.groups, c.window, g.shape[-1]
    each, k = channels // groups, window.output_shape(space, g.shape[1:-1])
    if between(c, k):
        low, high = window.padding[-1]
        window = Window(
            (*window.strides[:-1], 1),
            (*window.padding[:-1], (low * each, high * each)),
            window.lhs_dilation,
            (*window.rhs_dilation[:-1], window.rhs_dilation[-1] * each),
        )
        space, sums = [*space[:-1], space[-1] * each], (*k[:-1], k[-1] * each)
    else:
        window = Window(
            (*window.strides, 1),
            (*window.padding, (0, 0)),
            (*window.lhs_dilation, 1),
            (*window.rhs_dilation, 1),
        )
        space, sums, g = [*space, each], (*k, each), jnp.expand_dims(g, -2)
    c, axes = c.with_(window=window, over_batch=False), len(space)
    # Channels first it has no kernels for 16 bits, and none for groups that are as fast.
    first = groups == 1 and n > FEW_TO_TRANSPOSE and x.dtype == jnp.float32
    if first:
        image, shape, order = x.reshape(1, n, *space), (1, o, *sums), channels_first(axes)
    else:
        image = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, each), (-2, 0), (-2, -1))
        image = image.reshape(1, *space, groups * n)
        shape, order = (1, *sums, o), channels_last(axes)
    dw = convolution(image, g, None, c, shape, order, batch_first(axes))[0]
    dw = jnp.moveaxis(dw, 0, -1) if first else dw
    return dw.reshape(*k, each, o)


def between(c: Correlation, k: Sequence[int]) -> bool:
    """Whether the channels of x may be places of its last axis: one step is one channel there."""
    return c.window.strides[-1] == 1 or k[-1] == 1
