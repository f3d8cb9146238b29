"""The passes of a layer as programs: forward, dx, dw (with db), or both passes in one.

A backward pass is the pullback alone, given the residuals that the forward pass kept; of its
cotangents only the named ones are computed. PyTorch's is its autograd's backward alone, likewise.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from .cases import Case
from .program import Program, compiled

Evaluate = Callable[..., Any]


def layer_programs(case: Case, layers: ModuleType) -> dict[str, Program]:
    """Every pass of the case, made of `jaxcnn` or of `jaxcnn.reference`."""
    passes = layer_passes(case, layers, lambda f, *operands: jax.jit(f)(*operands))
    return {what: compiled(f, *operands) for what, (f, operands) in passes.items()}


def layer_passes(
    case: Case, layers: ModuleType, evaluate: Evaluate
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """By pass, the function and what it is called with.

    Args:
        case: the layer.
        layers: `jaxcnn` or `jaxcnn.reference`.
        evaluate: `evaluate(f, *operands)` makes the residuals: f's outputs, or with
            `jax.eval_shape` their shapes.
    """
    f = case.function(layers)
    operands = tuple(jnp.asarray(a) for a in case.operands())
    g = jnp.asarray(case.cotangent())
    pullback = evaluate(lambda *operands: jax.vjp(f, *operands)[1], *operands)
    residuals, structure = jax.tree.flatten(pullback)

    def cotangents(wanted: slice) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        def pulled(residuals: list[Any], g: jax.Array):
            return jax.tree.unflatten(structure, residuals)(g)[wanted]

        return pulled, (residuals, g)

    def both(x: jax.Array, g: jax.Array):
        y, pullback = jax.vjp(f, x)
        return y, pullback(g)

    passes = {
        "forward": (f, operands),
        "dx": cotangents(slice(0, 1)),
        "dw": cotangents(slice(1, None)),
        "both": (both, (operands[0], g)),
    }
    return {what: passes[what] for what in case.passes}
