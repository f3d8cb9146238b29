"""What goes wrong in the rule of a function that acts on every element alone, such as ReLU."""

from typing import Any

import jax
import jax.extend.core as jex
import numpy as np
from jax import lax

from ..jaxpr import equations
from .scene import Mistakes, Scene

# `jax.nn.relu` is a call with a rule of its own.
_RELUS = ("custom_jvp_call", "max")


def elementwise_mistakes(scene: Scene) -> Mistakes:
    """The cotangent itself, what is positive of it, and another slope at zero."""
    x = scene.primal
    relus = [eqn for eqn in scene.of(*_RELUS) if _is_relu(eqn)]
    for primitive in {eqn.primitive.name for eqn in relus}:
        yield "the mask of the ReLU is forgotten", scene.planted(primitive, _unmasked)
    for g in scene.cotangents:
        if g.shape != x.shape:
            continue
        if not relus:
            yield "the cotangent is passed on as it is", g
        words = "the cotangent is passed on where it is positive, not where the argument is"
        yield words, np.maximum(g, 0)
        for slope in (0.0, 0.5, 1.0):
            words = f"the slope at 0 is taken as {slope:g}"
            yield words, np.where(x == 0, slope * g, scene.right)


def _is_relu(eqn: Any) -> bool:
    """Whether it is max(x, 0), or a call of nothing else."""
    if eqn.primitive.name != "max":
        inner = list(equations(eqn.params["call_jaxpr"]))
        calls = ("jit", "pjit", "broadcast_in_dim", "convert_element_type")
        steps = [e for e in inner if e.primitive.name not in calls]
        return [e.primitive.name for e in steps] == ["max"]
    return any(isinstance(v, jex.Literal) and not np.any(v.val) for v in eqn.invars)


def _unmasked(eqn: Any, operands: list[Any]) -> jax.Array:
    """The ReLU, with a derivative of 1 everywhere."""
    if not _is_relu(eqn):
        outs = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
        return outs[0] if eqn.primitive.multiple_results else outs
    x = operands[0] if np.shape(operands[0]) == eqn.outvars[0].aval.shape else operands[1]
    y = lax.max(x, jax.numpy.zeros_like(x))
    return lax.stop_gradient(y) + (x - lax.stop_gradient(x))
