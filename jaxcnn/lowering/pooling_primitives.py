"""The primitives under pooling: each takes its way, one of `pooling`, where it is lowered.

`maximum` is the forward pass of a max-pool. `routed` is the backward one, linear in g, and its
transpose is `picked`. `materialized` is the identity. The two passes of an average are `summed` and
`shared`, each the transpose of the other.
"""

import functools
from collections.abc import Callable
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._cotangent import as_varying, explicit_sharding
from .._taps import Taps, better, gather, scatter_equal, window_sum
from . import pooling
from .local import lower_local


def window_maximum(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The maximum over every window, `[N.., M.., C]`; `least` is in the padding."""
    if explicit_sharding(x) is not None:
        return pooling.maximum(x, taps, least)
    return maximum_p.bind(x, taps=taps, least=least)


def routed(winner: jax.Array, g: jax.Array, taps: Taps) -> jax.Array:
    """dx, `[N.., S.., C]`: every g at the place of its window's winner, and added where they meet.

    Args:
        winner: the number of the tap that won, `[N.., M.., C]`.
        g: the cotangent of the maxima, of the same shape.
        taps: the window.
    """
    if explicit_sharding(g) is not None:
        return pooling.by_taps(winner, g, taps)
    return routed_p.bind(*as_varying(winner, g), taps=taps)


def picked(winner: jax.Array, x: jax.Array, taps: Taps) -> jax.Array:
    """The element of x that won in each window, `[N.., M.., C]`: the transpose of `routed`."""
    parts = (jnp.where(winner == number, tap, 0) for number, tap in enumerate(gather(x, taps, 0)))
    return functools.reduce(add, parts)


def materialized(numbers: jax.Array) -> jax.Array:
    """Whole numbers in float32, computed before what reads them (`pooling.by_product`)."""
    if not numbers.size or explicit_sharding(numbers) is not None:
        return numbers
    return materialized_p.bind(numbers)


def summed(x: jax.Array, taps: Taps) -> jax.Array:
    """The sum over every window, `[N.., M.., C]`."""
    if not x.size or explicit_sharding(x) is not None:
        return window_sum(x, taps)
    return summed_p.bind(x, taps=taps)


def shared(share: jax.Array, taps: Taps) -> jax.Array:
    """Every share at all places of its window, added where windows meet, `[N.., S.., C]`."""
    if not share.size or explicit_sharding(share) is not None:
        return scatter_equal(share, taps)
    return shared_p.bind(share, taps=taps)


maximum_p, routed_p, materialized_p = map(Primitive, ("maximum", "routed", "materialized"))
summed_p, shared_p = map(Primitive, ("summed", "shared"))


@maximum_p.def_abstract_eval
def _maximum_shape(x: Any, *, taps: Taps, least: float) -> Any:
    del least
    return x.update(shape=(*_lead(x, taps), *taps.m, x.shape[-1]), weak_type=False)


@summed_p.def_abstract_eval
def _summed_shape(x: Any, *, taps: Taps) -> Any:
    return x.update(shape=(*_lead(x, taps), *taps.m, x.shape[-1]), weak_type=False)


@shared_p.def_abstract_eval
def _shared_shape(share: Any, *, taps: Taps) -> Any:
    return share.update(shape=(*_lead(share, taps), *taps.n, share.shape[-1]), weak_type=False)


@routed_p.def_abstract_eval
def _routed_shape(winner: Any, g: Any, *, taps: Taps) -> Any:
    del winner
    return g.update(shape=(*_lead(g, taps), *taps.n, g.shape[-1]), weak_type=False)


@materialized_p.def_abstract_eval
def _materialized_shape(numbers: Any) -> Any:
    return numbers.update(weak_type=False)


def _lead(x: Any, taps: Taps) -> tuple[int, ...]:
    return x.shape[: x.ndim - 1 - len(taps.k)]


# Differentiation; `materialized` gets whole numbers, which have no tangent.


def _maximum_jvp(primals: Any, tangents: Any, *, taps: Taps, least: float) -> Any:
    (x,), (dx,) = primals, tangents
    tapped = zip(gather(x, taps, least), gather(dx, taps, 0), strict=True)
    y, dy = next(tapped)
    for tap, dtap in tapped:
        wins = better(tap, y)
        y, dy = jnp.where(wins, tap, y), jnp.where(wins, dtap, dy)
    return y, dy


def _routed_jvp(primals: Any, tangents: Any, *, taps: Taps) -> Any:
    (winner, g), (_, dg) = primals, tangents
    return routed(winner, g, taps), routed(winner, dg, taps)


def _routed_transpose(ct: Any, winner: Any, g: Any, *, taps: Taps) -> Any:
    return None, ad.Zero(g.aval) if isinstance(ct, ad.Zero) else picked(winner, ct, taps)


ad.primitive_jvps[maximum_p] = _maximum_jvp
ad.primitive_jvps[routed_p] = _routed_jvp
ad.primitive_transposes[routed_p] = _routed_transpose
ad.deflinear2(summed_p, lambda ct, x, *, taps: [shared(ct, taps)])
ad.deflinear2(shared_p, lambda ct, share, *, taps: [summed(ct, taps)])


# Batching: the new axis is one more of the leading ones.


def _batch(primitive: Primitive, operands: Any, axes: Any, **static: Any) -> Any:
    size = next(v.shape[a] for v, a in zip(operands, axes, strict=True) if a is not None)
    operands = [
        jnp.broadcast_to(v, (size, *v.shape)) if a is None else jnp.moveaxis(v, a, 0)
        for v, a in zip(operands, axes, strict=True)
    ]
    return primitive.bind(*operands, **static), 0


# Lowering: for every platform, and for those that need another way.


def _lower(ctx: Any, *operands: Any, run: Callable[..., jax.Array], **static: Any) -> Any:
    return lower_local(ctx, functools.partial(run, **static), *operands)


def _define(primitive: Primitive, run: Callable[..., jax.Array], **platforms: Any) -> None:
    @functools.cache
    def compiled(**static: Any):
        return jax.jit(functools.partial(primitive.bind, **static))

    primitive.def_impl(lambda *operands, **static: compiled(**static)(*operands))
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    mlir.register_lowering(primitive, functools.partial(_lower, run=run))
    for platform, other in platforms.items():
        mlir.register_lowering(primitive, functools.partial(_lower, run=other), platform=platform)


_define(maximum_p, pooling.maximum, cpu=pooling.maximum_on_cpu, tpu=pooling.maximum_on_tpu)
_define(routed_p, pooling.by_taps, tpu=pooling.by_blocks)
_define(summed_p, window_sum, cpu=pooling.sum_on_cpu)
_define(shared_p, scatter_equal, cpu=pooling.shared_on_cpu)
_define(materialized_p, lambda numbers: numbers, cpu=pooling.by_product)
