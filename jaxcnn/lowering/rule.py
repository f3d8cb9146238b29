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
from .correlation import Activation, Correlation, Target
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
    context = ctx.module_context
    axes = context.axis_context
    devices = getattr(axes, "num_devices", None)
    mesh = getattr(axes, "mesh", None)
    if mesh is not None:
        one = mesh.size == 1 or set(axes.manual_axes) == set(mesh.axis_names)
    else:
        one = devices in (None, 1)
    target = Target(platform or "other", one, context.lowering_parameters.for_export)
    avals = [v.update(**_LOCAL) for v in ctx.avals_in]
    out = [v.update(**_LOCAL) for v in ctx.avals_out]
    inside = functools.partial(choice.run, c=c, target=target)
    return mlir.lower_fun(inside, multiple_results=False)(
        ctx.replace(avals_in=avals, avals_out=out), *operands
    )


mlir.register_lowering(correlation_p, _lower)
mlir.register_lowering(correlation_p, functools.partial(_lower, platform="cpu"), platform="cpu")
