"""The passes of a layer as programs: forward, dx, dw (with db), or both passes in one.

A backward pass is the pullback alone, given the residuals that the forward pass kept; of its
cotangents only the named ones are computed. PyTorch's is its autograd's backward alone, likewise.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from .cases import Case
from .program import Program, compiled


def layer_programs(case: Case, layers: ModuleType) -> dict[str, Program]:
    """Every pass of the case, made of `jaxcnn` or of `jaxcnn.reference`."""
    f = case.function(layers)
    operands = [jnp.asarray(a) for a in case.operands()]
    g = jnp.asarray(case.cotangent())
    _, pullback = jax.jit(lambda *operands: jax.vjp(f, *operands))(*operands)
    residuals, structure = jax.tree.flatten(pullback)

    def cotangents(residuals: list[Any], g: jax.Array, wanted: slice):
        return jax.tree.unflatten(structure, residuals)(g)[wanted]

    def both(x: jax.Array, g: jax.Array):
        y, pullback = jax.vjp(f, x)
        return y, pullback(g)

    def program(what: str) -> Program:
        if what == "forward":
            return compiled(f, *operands)
        if what == "both":
            return compiled(both, *operands, g)
        wanted = slice(0, 1) if what == "dx" else slice(1, None)
        return compiled(lambda residuals, g: cotangents(residuals, g, wanted), residuals, g)

    return {what: program(what) for what in case.passes}
