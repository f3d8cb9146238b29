"""The one finishing step of every cotangent: the dtype and the placement of its primal."""

import jax
from jax import lax
from jax.sharding import AxisType


def _varying(x: jax.Array) -> frozenset[str]:
    # The mapped axes of an enclosing shard_map over which x differs; JAX has renamed the attribute.
    kind = jax.typeof(x)
    manual = getattr(kind, "manual_axis_type", None)
    return kind.vma if manual is None else manual.varying


def cotangent(value: jax.Array, primal: jax.Array) -> jax.Array:
    """`value` as the cotangent of `primal`: summed over the devices that share it, and cast.

    Inside `shard_map` a weight that all devices share meets a batch that differs from device to
    device: its cotangent is the sum over them. JAX does not check a cotangent's dtype.
    """
    shared = tuple(sorted(_varying(value) - _varying(primal)))
    if shared:
        value = lax.psum(value, shared)
    return value.astype(primal.dtype)


def explicit_sharding(primal: jax.Array):
    """The sharding of `primal` where mesh axes are explicit, else None.

    There a hand-written operation has to say where its result lives.
    """
    sharding = jax.typeof(primal).sharding
    explicit = any(kind == AxisType.Explicit for kind in sharding.mesh.axis_types)
    return sharding if explicit else None
