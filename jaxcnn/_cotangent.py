"""The one finishing step of every cotangent: the dtype and the placement of its primal."""

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def _varying(x: jax.Array) -> frozenset[str]:
    """The mapped axes of an enclosing shard_map over which x differs."""
    return jax.typeof(x).manual_axis_type.varying


def as_varying(*arrays: jax.Array) -> list[jax.Array]:
    """The arrays, each said to vary over every mapped axis over which one of them does."""
    axes = frozenset().union(*map(_varying, arrays))
    missing = [tuple(sorted(axes - _varying(a))) for a in arrays]
    return [lax.pcast(a, m, to="varying") if m else a for a, m in zip(arrays, missing, strict=True)]


def cotangent(value: jax.Array, primal: jax.Array) -> jax.Array:
    """`value` as the cotangent of `primal`: summed over the devices that share it, placed and cast.

    Inside `shard_map` a weight that all devices share meets a batch that differs from device to
    device: its cotangent is the sum over them. On explicit mesh axes two arrays of one operation
    may lie differently; each cotangent lies as its own. JAX does not check a cotangent's dtype.
    """
    shared = tuple(sorted(_varying(value) - _varying(primal)))
    if shared:
        value = lax.psum(value, shared)
    sharding = explicit_sharding(primal)
    if sharding is not None and jax.typeof(value).sharding != sharding:
        value = jax.sharding.reshard(value, sharding)
    return value.astype(primal.dtype)


def explicit_sharding(primal: jax.Array):
    """The sharding of `primal` where mesh axes are explicit, else None.

    There a hand-written operation has to say where its result lives.
    """
    sharding = jax.typeof(primal).sharding
    explicit = any(kind == AxisType.Explicit for kind in sharding.mesh.axis_types)
    return sharding if explicit else None


def explicit_sharding_beside(x: jax.Array, primal: jax.Array):
    """The same of an array that meets x: made outside of the mesh, it is whole on every device."""
    sharding = explicit_sharding(x)
    if sharding is None or jax.typeof(primal).sharding.mesh == sharding.mesh:
        return explicit_sharding(primal)
    return NamedSharding(sharding.mesh, PartitionSpec())
