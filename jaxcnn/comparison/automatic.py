"""What is differentiated automatically: the twin of a layer, or `fn` without its rules."""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from .. import reference as twins

_JAXPRS = (jex.Jaxpr, jex.ClosedJaxpr)
# Calls that do nothing but call: inlined on the way to a rule inside them.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}


def twin_of(fn: Callable) -> tuple[Callable, str] | None:
    """The same layer in `jaxcnn.reference`, options kept, and its name; None for the others."""
    if isinstance(fn, functools.partial):
        found = twin_of(fn.func)
        return found and (functools.partial(found[0], *fn.args, **fn.keywords), found[1])
    name = getattr(fn, "__name__", "")
    ours = getattr(sys.modules[__name__.rpartition(".")[0]], name, None)
    twin = getattr(twins, name, None)
    if name.startswith("_") or ours is not fn or twin is None or twin is fn:
        return None
    return twin, f"jaxcnn.reference.{name}"


def rule_in(jaxpr: Any) -> str | None:
    """The kind of custom rule in a jaxpr, a custom_vjp before a custom_jvp; None without any."""
    names = {eqn.primitive.name for eqn in equations(jaxpr)}
    for rule in ("custom_vjp", "custom_jvp"):
        if any(name.startswith(rule + "_call") for name in names):
            return rule
    return None


def without_rules(fn: Callable, rule: str) -> Callable:
    """`fn(*arrays)` with every custom rule of that kind replaced by the function under it.

    Works through jit, checkpoint, scan, cond and while, where `fn.__wrapped__` is out of reach.
    """

    def call(*arrays):
        jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*arrays)
        flat = _evaluate(jaxpr, jax.tree.leaves(arrays), rule + "_call")
        return jax.tree.unflatten(jax.tree.structure(out), flat)

    return call


def narrowest_inside(jaxpr: Any) -> jnp.dtype | None:
    """The coarsest floating dtype to which an equation rounds a finer one; None where none does."""
    narrowest = None
    for eqn in equations(jaxpr):
        if any(True for _ in _subjaxprs(eqn)):
            continue
        incoming = [v.aval.dtype for v in eqn.invars if _floating(v)]
        for v in eqn.outvars:
            if _floating(v) and any(_eps(d) < _eps(v.aval.dtype) for d in incoming):
                if narrowest is None or _eps(v.aval.dtype) > _eps(narrowest):
                    narrowest = v.aval.dtype
    return narrowest


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr, those of the jaxprs inside it included."""
    for eqn in _open(jaxpr).eqns:
        yield eqn
        for inner in _subjaxprs(eqn):
            yield from equations(inner)


def _floating(v: Any) -> bool:
    return jnp.issubdtype(getattr(v.aval, "dtype", jnp.int32), jnp.floating)


def _eps(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)


def _open(jaxpr: Any) -> Any:
    return jaxpr if not isinstance(jaxpr, jex.ClosedJaxpr) else jaxpr.jaxpr


def _subjaxprs(eqn: Any) -> Iterator[Any]:
    for value in eqn.params.values():
        for v in value if isinstance(value, tuple | list) else (value,):
            if isinstance(v, _JAXPRS):
                yield v


def _evaluate(jaxpr: Any, args: list, rule: str) -> list:
    opened = _open(jaxpr)
    env: dict[Any, Any] = dict(zip(opened.constvars, getattr(jaxpr, "consts", ()), strict=True))
    env.update(zip(opened.invars, args, strict=True))

    def read(v):
        return v.val if isinstance(v, jex.Literal) else env[v]

    for eqn in opened.eqns:
        values = [read(v) for v in eqn.invars]
        name = eqn.primitive.name
        inner = list(_subjaxprs(eqn))
        ruled = name.startswith(rule) or any(_holds(j, rule) for j in inner)
        with eqn.ctx.manager:
            if not ruled:
                outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
            elif name.startswith(rule) or name in _CALLS:
                outs = _evaluate(inner[0], values, rule)
            else:
                params = {k: _replaced(v, rule) for k, v in eqn.params.items()}
                outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(params))
        outs = outs if eqn.primitive.multiple_results else [outs]
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in opened.outvars]


def _holds(jaxpr: Any, rule: str) -> bool:
    return any(eqn.primitive.name.startswith(rule) for eqn in equations(jaxpr))


def _replaced(value: Any, rule: str) -> Any:
    """A parameter of an equation with the rules taken out of the jaxprs in it."""
    if isinstance(value, tuple):
        return tuple(_replaced(v, rule) for v in value)
    if not isinstance(value, _JAXPRS) or not _holds(value, rule):
        return value
    avals = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in _open(value).invars]
    return jax.make_jaxpr(lambda *args: _evaluate(value, list(args), rule))(*avals)
