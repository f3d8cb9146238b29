"""What a traced function holds, and the same function with some of its equations replaced."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

_JAXPRS = (jex.Jaxpr, jex.ClosedJaxpr)
# Calls that do nothing but call: inlined on the way to an equation inside them.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr, those of the jaxprs inside it included."""
    for eqn in _open(jaxpr).eqns:
        yield eqn
        for inner in _subjaxprs(eqn):
            yield from equations(inner)


def rule_in(jaxpr: Any) -> str | None:
    """The kind of custom rule in a jaxpr, a custom_vjp before a custom_jvp; None without any."""
    names = {eqn.primitive.name for eqn in equations(jaxpr)}
    for rule in ("custom_vjp", "custom_jvp"):
        if any(name.startswith(rule + "_call") for name in names):
            return rule
    return None


def narrowest_inside(jaxpr: Any) -> Any:
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


def without_rules(fn: Callable[..., Any], rule: str) -> Callable[..., Any]:
    """`fn(*arrays)` with every custom rule of that kind replaced by the function under it.

    Works through jit, checkpoint, scan, cond and while, where `fn.__wrapped__` is out of reach.
    """

    def ruled(eqn: Any) -> bool:
        return eqn.primitive.name.startswith(rule + "_call")

    def function_under_it(eqn: Any, values: list[Any]) -> list[Any]:
        return _evaluate(next(_subjaxprs(eqn)), values, change)

    change = _Change(ruled, function_under_it)
    return _changed(fn, change)


def rewritten(
    fn: Callable[..., Any], primitive: str, replacement: Callable[[Any, list[Any]], Any]
) -> Callable[..., Any]:
    """`fn(*arrays)` with every equation of that primitive, of one result, replaced.

    `replacement(eqn, operands)` gives the result in its place.
    """

    def wanted(eqn: Any) -> bool:
        return eqn.primitive.name == primitive

    return _changed(fn, _Change(wanted, lambda eqn, values: [replacement(eqn, values)]))


@dataclass(frozen=True)
class _Change:
    """Which equations to replace, and what gives their results instead."""

    wanted: Callable[[Any], bool]
    results: Callable[[Any, list[Any]], list[Any]]

    def touches(self, jaxpr: Any) -> bool:
        return any(self.wanted(eqn) for eqn in equations(jaxpr))


def _changed(fn: Callable[..., Any], change: _Change) -> Callable[..., Any]:
    def call(*arrays: Any) -> Any:
        jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*arrays)
        flat = _evaluate(jaxpr, jax.tree.leaves(arrays), change)
        return jax.tree.unflatten(jax.tree.structure(out), flat)

    return call


def _evaluate(jaxpr: Any, args: Sequence[Any], change: _Change) -> list[Any]:
    opened = _open(jaxpr)
    env: dict[Any, Any] = dict(zip(opened.constvars, getattr(jaxpr, "consts", ()), strict=True))
    env.update(zip(opened.invars, args, strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, jex.Literal) else env[v]

    for eqn in opened.eqns:
        values = [read(v) for v in eqn.invars]
        with eqn.ctx.manager:
            outs = _results(eqn, values, change)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in opened.outvars]


def _results(eqn: Any, values: list[Any], change: _Change) -> list[Any]:
    if change.wanted(eqn):
        return change.results(eqn, values)
    touched = any(change.touches(inner) for inner in _subjaxprs(eqn))
    if touched and eqn.primitive.name in _CALLS:
        return _evaluate(next(_subjaxprs(eqn)), values, change)
    params = {k: _replaced(v, change) for k, v in eqn.params.items()} if touched else eqn.params
    outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(params))
    return outs if eqn.primitive.multiple_results else [outs]


def _replaced(value: Any, change: _Change) -> Any:
    """A parameter of an equation with the jaxprs in it changed."""
    if isinstance(value, tuple):
        return tuple(_replaced(v, change) for v in value)
    if not isinstance(value, _JAXPRS) or not change.touches(value):
        return value
    avals = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in _open(value).invars]
    return jax.make_jaxpr(lambda *args: _evaluate(value, list(args), change))(*avals)


def _subjaxprs(eqn: Any) -> Iterator[Any]:
    for value in eqn.params.values():
        for v in value if isinstance(value, tuple | list) else (value,):
            if isinstance(v, _JAXPRS):
                yield v


def _open(jaxpr: Any) -> Any:
    return jaxpr.jaxpr if isinstance(jaxpr, jex.ClosedJaxpr) else jaxpr


def _floating(v: Any) -> bool:
    return jnp.issubdtype(getattr(v.aval, "dtype", jnp.int32), jnp.floating)


def _eps(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)
