"""Gradients at other cotangents and other fixed arguments than the right ones."""

import numpy as np

from .scene import Mistakes, Scene


def example_mistakes(scene: Scene) -> Mistakes:
    """Only one example's part of a sum over the examples."""
    first = scene.point.cotangents[0]
    if any(np.ndim(g) == 0 or np.shape(g)[0] < 2 for g in first):
        return
    for name, at in (("first", 0), ("last", -1)):
        masked = []
        for g in first:
            part = np.zeros_like(g)
            part[at] = np.asarray(g)[at]
            masked.append(part)
        words = f"not summed over axis 0 of the output: it is the part of the {name} example alone"
        yield words, scene.gradient(cotangents=masked)


def fixed_mistakes(scene: Scene) -> Mistakes:
    """Masks that are ignored, and integer labels off by one."""
    for i, a in enumerate(scene.point.fixed):
        value = np.asarray(a)
        if value.dtype == bool and not value.all():
            yield "a mask is ignored", scene.gradient(fixed=_with(scene, i, np.ones_like(value)))
        if np.issubdtype(value.dtype, np.integer) and value.size:
            classes = int(value.max()) + 1
            for by in (1, -1):
                moved = ((value + by) % classes).astype(value.dtype)
                words = f"the integer argument is off by one, {by:+d}"
                yield words, scene.gradient(fixed=_with(scene, i, moved))


def _with(scene: Scene, i: int, value: np.ndarray) -> list[object]:
    return [value if j == i else a for j, a in enumerate(scene.point.fixed)]
