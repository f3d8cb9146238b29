"""Gradients straight from a custom_vjp's rule, where JAX refuses to pass them on."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .arguments import Arguments
from .pullback import working


def rejected(error: Exception) -> bool:
    """Whether JAX raised this over the form of what a rule returned."""
    return str(error).startswith("Custom VJP bwd rule")


def rule_gradients(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    arguments: Arguments,
    cotangents: Any,
    error: Exception,
) -> list[np.ndarray]:
    """What the rule of `fn` returns for every differentiated leaf, in whatever shape.

    Raises `error` again where the rule cannot be called by itself or returns another tree.
    """
    if not isinstance(fn, jax.custom_vjp) or fn.fwd is None or fn.bwd is None:
        raise error
    fixed = set(fn.nondiff_argnums)
    with working(float64=False):
        _, residuals = fn.fwd(*args)
        returned = fn.bwd(*(args[i] for i in sorted(fixed)), residuals, cotangents)
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(args) - len(fixed):
        raise error
    given, flat = iter(returned), []
    for i, arg in enumerate(args):
        leaves = jax.tree.leaves(arg)
        gradients = [None] if i in fixed else jax.tree.leaves(next(given), is_leaf=_none)
        if gradients == [None]:
            gradients = [np.zeros(np.shape(v)) for v in leaves]
        if len(gradients) != len(leaves):
            raise error
        flat += gradients
    kept = zip(flat, arguments.rest, strict=True)
    return [np.asarray(v) for v, (kind, _) in kept if kind == "leaf"]


def _none(v: Any) -> bool:
    return v is None
