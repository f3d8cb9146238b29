"""What goes wrong in the rules of a matrix product, and of a term that is broadcast."""

import itertools
from functools import partial
from typing import Any

import jax
import numpy as np

from .scene import Mistakes, Scene, with_gradient

_PRIMITIVE = "dot_general"


def product_mistakes(scene: Scene) -> Mistakes:
    """A square matrix that is not transposed in the cotangent of the other operand."""
    for operand in (0, 1):
        if any(_square(eqn, 1 - operand) for eqn in scene.of(_PRIMITIVE)):
            words = "the matrix that it is multiplied with is not transposed"
            yield words, scene.planted(_PRIMITIVE, partial(_not_transposed, operand))


def _square(eqn: Any, operand: int) -> bool:
    shape = eqn.invars[operand].aval.shape
    return len(shape) == 2 and shape[0] == shape[1] > 1


def _not_transposed(operand: int, eqn: Any, operands: list[Any]) -> jax.Array:
    def product(*at: Any) -> jax.Array:
        return eqn.primitive.bind(*at, **eqn.params)

    if not _square(eqn, 1 - operand):
        return product(*operands)

    def cotangents(at: tuple[Any, ...], g: jax.Array) -> tuple[Any, ...]:
        found = list(jax.vjp(product, *at)[1](g))
        turned = [a if i == operand else a.T for i, a in enumerate(at)]
        found[operand] = jax.vjp(product, *turned)[1](g)[operand]
        return tuple(found)

    return with_gradient(product, cotangents)(*operands)


def broadcast_mistakes(scene: Scene) -> Mistakes:
    """A term like a bias, whose gradient is g summed over the axes that it is repeated on."""
    for g in scene.cotangents:
        for axes in _subsets(range(g.ndim)):
            total = g.sum(axes)
            if total.shape != scene.right.shape or not np.allclose(total, scene.right):
                continue
            for forgotten in _subsets(axes):
                kept = tuple(0 if i in forgotten else slice(None) for i in range(g.ndim))
                summed = tuple(i for i in axes if i not in forgotten)
                partly = np.expand_dims(g[kept], forgotten).sum(axes)
                what = " and ".join(map(str, forgotten))
                plural = "axis" if len(forgotten) == 1 else "axes"
                alone = f", over {' and '.join(map(str, summed))} alone" if summed else ""
                yield f"not summed over {plural} {what} of the output{alone}", partly


def _subsets(axes: Any) -> list[tuple[int, ...]]:
    items = tuple(axes)
    return [s for n in range(1, len(items) + 1) for s in itertools.combinations(items, n)]
