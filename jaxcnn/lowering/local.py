"""Lowering rules that are written as JAX functions."""

from collections.abc import Callable
from typing import Any

import jax
from jax.interpreters import mlir
from jax.sharding import ManualAxisType

# What is inside is computed where its operands are: nothing there varies over devices.
_LOCAL = {"manual_axis_type": ManualAxisType()}


def lower_local(ctx: Any, run: Callable[..., jax.Array], *operands: Any) -> Any:
    """`run`, traced for the operands of a lowering rule and put in the primitive's place."""
    local = ctx.replace(
        avals_in=[v.update(**_LOCAL) for v in ctx.avals_in],
        avals_out=[v.update(**_LOCAL) for v in ctx.avals_out],
    )
    return mlir.lower_fun(run, multiple_results=False)(local, *operands)
