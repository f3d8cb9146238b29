"""Where a correlation is lowered: the form is chosen for what the program is compiled for."""

import functools
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import mlir

from . import choice
from .correlation import Correlation, Problem, Target
from .local import lower_local
from .primitive import correlation_p, forcing


@contextmanager
def using(form: str) -> Generator[None]:
    """Force a form by its name wherever a form of that name exists, nested choices included.

    The sum over channels has other forms than that over the batch; the one that has none of that
    name goes on choosing. What was traced before keeps the form it has.

    Raises:
        ValueError: neither has.
    """
    if form not in choice.NAMES:
        raise ValueError(f"form is {form!r}: expected one of {', '.join(choice.NAMES)}")
    with forcing(form):
        yield


def _lower(ctx: Any, *operands: Any, c: Correlation, platform: str | None = None):
    x, w, *_ = ctx.avals_in
    dtype, (result,) = x.dtype, (y.dtype for y in ctx.avals_out)
    if platform == "cpu" and c.dtype is not None and c.dtype.itemsize > dtype.itemsize:
        dtype = c.dtype  # a wider result is that of wider operands, to the last bit
    problem = Problem(c, x.shape, w.shape, dtype, _target(ctx, platform))
    # Chosen here, while nothing is traced: the first choice of a process tries the engine out.
    form = choice.choose(problem)
    if choice.better_widened(problem, form):
        dtype = jnp.float32
        form = choice.choose(replace(problem, dtype=dtype))

    def run(x: jax.Array, w: jax.Array, *b: jax.Array):
        y = choice.run(x.astype(dtype), w.astype(dtype), *b, c=c, form=form)
        return y.astype(result)

    return lower_local(ctx, run, *operands)


def _target(ctx: Any, platform: str | None) -> Target:
    axes = ctx.module_context.axis_context
    if hasattr(axes, "mesh"):  # inside shard_map
        one = axes.mesh.size == 1 or set(axes.manual_axes) == set(axes.mesh.axis_names)
    else:
        one = axes.num_devices == 1
    return Target(platform, one, ctx.module_context.lowering_parameters.for_export)


mlir.register_lowering(correlation_p, _lower)
mlir.register_lowering(correlation_p, functools.partial(_lower, platform="cpu"), platform="cpu")
