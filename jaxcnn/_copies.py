"""Copies of one operand of a layer, made by `jax.vmap`, as a larger batch or as more channels.

JAX maps the two passes of a `custom_vjp` as they are: of copies of x that share w it computes dw
for each, and then adds them up. As one batch they are added up while dw is computed; so is dx of
one x under copies of w, whose outputs are more channels of one layer. Bias and activation of those
wait until the copies are apart again: they are fused with the pass that sets them apart, and db is
the sum of g as it comes. Where both have copies, or a gradient of each copy is asked for (vmap of
grad), nothing of this is done.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .activation import relu
from .lowering import Activation, off_channels, onto_channels

Layer = Callable[[jax.Array, jax.Array, jax.Array | None, Activation], jax.Array]


def over_copies(
    layer: Layer,
    x: jax.Array,
    w: jax.Array,
    b: jax.Array | None,
    activation: Activation,
    groups: int = 1,
) -> jax.Array:
    """`layer(x, w, b, activation)`, its copies folded where `jax.vmap` is innermost.

    Args:
        layer: takes any number of batch axes in front of x, and channels last in all three.
        x: the input, or what vmap shows of it.
        w: the weights.
        b: the bias, or None.
        activation: None, or "relu".
        groups: of channels that do not see each other.
    """
    operands = (x, w) if b is None else (x, w, b)
    # The tracers of vmap are not exported; this is what they are known by.
    if any(hasattr(v, "batch_dim") for v in operands):
        seen = _Seen()
        look_p.bind(*operands, seen=seen)
        if seen.x_alone or seen.w_alone:
            return copies_p.bind(*operands, layer=layer, activation=activation, groups=groups)
    return layer(x, w, b, activation)


class _Seen:
    """What the innermost transformation has mapped, if it is vmap."""

    x_alone = w_alone = False


look_p = Primitive("look_for_copies")
copies_p = Primitive("layer_over_copies")


@look_p.def_impl
@look_p.def_abstract_eval
def _first(x: Any, *_: Any, seen: _Seen) -> Any:
    return x


def _look(operands: Sequence[Any], axes: Sequence[int | None], *, seen: _Seen):
    (x_axis, w_axis, *_), mapped = axes, [axis is not None for axis in axes]
    seen.x_alone = x_axis is not None and not any(mapped[1:])
    seen.w_alone = w_axis is not None and x_axis is None and operands[1].shape[w_axis] > 0
    return operands[0], axes[0]


def _differentiated(primals: Sequence[Any], tangents: Sequence[Any], *, seen: _Seen):
    return primals[0], tangents[0]


batching.primitive_batchers[look_p] = _look
ad.primitive_jvps[look_p] = _differentiated
mlir.register_lowering(look_p, mlir.lower_fun(_first, multiple_results=False))


def _folded(
    operands: Sequence[Any],
    axes: Sequence[int | None],
    *,
    layer: Layer,
    activation: Activation,
    groups: int,
) -> tuple[jax.Array, int]:
    x, w, *b = operands
    x_axis, w_axis, *b_axes = axes
    if x_axis is not None:
        bias = b[0] if b else None
        return over_copies(layer, jnp.moveaxis(x, x_axis, 0), w, bias, activation, groups), 0
    assert w_axis is not None
    size = w.shape[w_axis]
    y = over_copies(layer, x, onto_channels(w, w_axis, groups), None, None, groups)
    y = off_channels(y, size, groups)
    if b:
        (bias,), (axis,) = b, b_axes
        bias = bias[None] if axis is None else jnp.moveaxis(bias, axis, 0)
        y = y + jnp.expand_dims(bias, tuple(range(1, y.ndim - 1)))
    return y if activation is None else relu(y), 0


batching.primitive_batchers[copies_p] = _folded
