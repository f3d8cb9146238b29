"""The arguments of a comparison: differentiable leaves, arrays held fixed, and the rest."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def describe(fn: Callable[..., Any]) -> str:
    """A short name for `fn`, with the options that a functools.partial gives it."""
    if isinstance(fn, functools.partial):
        options = [repr(a) if np.ndim(a) == 0 else "..." for a in fn.args]
        options += [f"{k}={_short(v)}" for k, v in fn.keywords.items()]
        return f"{describe(fn.func)}({', '.join(options)})"
    return getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None) or repr(fn)


def _short(value: Any) -> str:
    return f"array{list(value.shape)}" if isinstance(value, np.ndarray | jax.Array) else repr(value)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic | jax.Array)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating)


def _parameter_names(fn: Callable[..., Any], count: int) -> list[str]:
    names = [f"arg{i}" for i in range(count)]
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return names
    for i, parameter in enumerate(parameters[:count]):
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names[i] = parameter.name
        else:
            break
    return names


@dataclass(frozen=True)
class Arguments:
    """A call's arguments as flat lists: `leaves` are differentiated, `fixed` are arrays held fixed.

    Everything else (a Python number, a string, a function) stays in `rest` and is never traced, so
    that a static option stays static.
    """

    paths: list[str]
    leaves: list[jax.Array]
    fixed: list[Any]
    rest: list[Any]
    treedef: Any

    def bind(self, fn: Callable[..., Any]) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
        """`fn` as a function of (leaves, fixed)."""

        def call(leaves: Sequence[Any], fixed: Sequence[Any]):
            given = {"leaf": iter(leaves), "fixed": iter(fixed)}
            flat = [next(given[k]) if k else v for k, v in self.rest]
            return fn(*jax.tree.unflatten(self.treedef, flat))

        return call


def _chosen(
    argnums: int | Sequence[int] | None, args: tuple[Any, ...], names: list[str]
) -> set[int]:
    """The positions of the arguments to differentiate."""
    if argnums is None:
        for wanted in (lambda leaf: _is_array(leaf) and _is_float(leaf), _is_float):
            chosen = {i for i, a in enumerate(args) if any(map(wanted, jax.tree.leaves(a)))}
            if chosen:
                return chosen
        kinds = ", ".join(f"{n}: {_kinds(a)}" for n, a in zip(names, args, strict=True))
        raise TypeError(
            "compare needs at least one argument with a floating array to differentiate, got "
            f"{kinds or 'no argument'}"
        )
    chosen = set()
    for n in [argnums] if isinstance(argnums, int) else argnums:
        if not isinstance(n, int) or not -len(args) <= n < len(args):
            raise ValueError(
                f"argnums must be positions of the {len(args)} arguments given to fn, got {n!r}"
            )
        if not any(map(_is_float, jax.tree.leaves(args[n]))):
            raise TypeError(
                f"argnums names {names[n]}, which holds nothing floating: {_kinds(args[n])}"
            )
        chosen.add(n % len(args))
    return chosen


def _kinds(tree: Any) -> str:
    kinds = {str(getattr(v, "dtype", type(v).__name__)) for v in jax.tree.leaves(tree)}
    return " and ".join(sorted(kinds)) or "None"


def take_apart(
    fn: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int] | None
) -> Arguments:
    """Split the arguments of `fn` and check those that are differentiated."""
    names = _parameter_names(fn, len(args))
    chosen = _chosen(argnums, args, names)
    keyed, treedef = jax.tree_util.tree_flatten_with_path(args)
    paths, leaves, fixed, rest = [], [], [], []
    arrays_only = argnums is None and any(_is_array(v) and _is_float(v) for _, v in keyed)
    for key, value in keyed:
        position = key[0].idx
        path = names[position] + jax.tree_util.keystr(key[1:])
        if position in chosen and jnp.issubdtype(
            getattr(value, "dtype", type(value)), jnp.complexfloating
        ):
            raise TypeError(
                f"{path} is complex ({value.dtype}): compare takes real arguments only; pass the "
                "real and imaginary parts as two arrays"
            )
        if position in chosen and _is_float(value) and (_is_array(value) or not arrays_only):
            leaf = jnp.asarray(value)
            check_finite(path, leaf)
            paths.append(path)
            leaves.append(leaf)
            rest.append(("leaf", None))
        elif _is_array(value):
            fixed.append(value)
            rest.append(("fixed", None))
        else:
            rest.append(("", value))
    return Arguments(paths, leaves, fixed, rest, treedef)


def check_finite(name: str, value: Any) -> None:
    """Raise where `value` is infinite or NaN: no gradient can be compared there."""
    bad = ~np.isfinite(np.asarray(value).astype(np.float64))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite, but {int(bad.sum())} of its {bad.size} elements are not: the "
            f"first is {float(np.asarray(value)[index])} at {index}"
        )
