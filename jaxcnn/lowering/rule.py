"""Where a correlation is asked for, and where it is lowered: the form is chosen for the target."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.interpreters import mlir
from jax.sharding import ManualAxisType

from .._window import Window
from . import choice
from .correlation import Activation, Correlation, Problem, Target
from .primitive import bind, correlation_p

_forced: str | None = None


@contextmanager
def using(form: str) -> Iterator[None]:
    """Force a form by its name wherever a form of that name exists, nested choices included.

    The sum over channels has other forms than that over the batch; the one that has none of that
    name goes on choosing. What was traced before keeps the form it has.

    Raises:
        ValueError: neither has.
    """
    global _forced
    if form not in choice.NAMES:
        raise ValueError(f"form is {form!r}: expected one of {', '.join(choice.NAMES)}")
    before, _forced = _forced, form
    try:
        yield
    finally:
        _forced = before


def correlate(
    x: jax.Array,
    w: jax.Array,
    window: Window,
    groups: int = 1,
    precision: Any = None,
    dtype: Any = None,
    sharding: Any = None,
    *,
    b: jax.Array | None = None,
    activation: Activation = None,
) -> jax.Array:
    """The correlation of x with w over `window`, plus b, activated: `[N, S'.., O]`."""
    c = Correlation(window, False, groups, precision, dtype, activation, sharding, _forced)
    return bind(x, w, *(() if b is None else (b,)), c=c)


def correlate_over_batch(
    x: jax.Array,
    g: jax.Array,
    window: Window,
    groups: int = 1,
    precision: Any = None,
    sharding: Any = None,
) -> jax.Array:
    """The correlation of x with g over `window`, batch summed: `[K.., C/G, O]`."""
    c = Correlation(window, True, groups, precision, None, None, sharding, _forced)
    return bind(x, g, c=c)


# What is inside is computed where its operands are: nothing there varies over devices.
_LOCAL = {"manual_axis_type": ManualAxisType()}


def _lower(ctx, *operands, c: Correlation, platform: str | None = None):
    x, w, *_ = ctx.avals_in
    # Chosen here, while nothing is traced: the first choice of a process tries the engine out.
    form = choice.choose(Problem(c, x.shape, w.shape, x.dtype, _target(ctx, platform)))
    local = ctx.replace(
        avals_in=[v.update(**_LOCAL) for v in ctx.avals_in],
        avals_out=[v.update(**_LOCAL) for v in ctx.avals_out],
    )
    run = functools.partial(choice.run, c=c, form=form)
    return mlir.lower_fun(run, multiple_results=False)(local, *operands)


def _target(ctx, platform: str | None) -> Target:
    axes = ctx.module_context.axis_context
    if hasattr(axes, "mesh"):  # inside shard_map
        one = axes.mesh.size == 1 or set(axes.manual_axes) == set(axes.mesh.axis_names)
    else:
        one = axes.num_devices == 1
    return Target(platform, one, ctx.module_context.lowering_parameters.for_export)


mlir.register_lowering(correlation_p, _lower)
mlir.register_lowering(correlation_p, functools.partial(_lower, platform="cpu"), platform="cpu")
