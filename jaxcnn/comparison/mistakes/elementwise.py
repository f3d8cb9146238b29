"""What goes wrong in the rule of a function that acts on every element alone, such as ReLU."""

import numpy as np

from .scene import Mistakes, Scene


def elementwise_mistakes(scene: Scene) -> Mistakes:
    """The cotangent itself, what is positive of it, and another slope at zero."""
    x = scene.primal
    for g in scene.cotangents:
        if g.shape != x.shape:
            continue
        yield "the cotangent is passed on as it is", g
        words = "the cotangent is passed on where it is positive, not where the argument is"
        yield words, np.maximum(g, 0)
        for slope in (0.0, 0.5, 1.0):
            words = f"the slope at 0 is taken as {slope:g}"
            yield words, np.where(x == 0, slope * g, scene.right)
