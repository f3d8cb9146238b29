"""What goes wrong in the rules of softmax and of the cross entropy of its probabilities."""

import numpy as np

from ..rounding import wide
from .scene import Mistakes, Scene

# Two arrays that are computed in different ways and meant to be equal.
_SAME = 1e-6


def softmax_mistakes(scene: Scene) -> Mistakes:
    """Wrong rules of p = softmax(x), where that is what the function returns."""
    x = scene.primal
    for p, g in zip(map(wide, scene.outs), scene.cotangents, strict=True):
        if p.shape != x.shape:
            continue
        for axis in range(x.ndim):
            if x.shape[axis] == 1 or not np.allclose(p, _softmax(x, axis), atol=_SAME):
                continue
            yield "softmax's first case alone, p_j (1 - p_j), without -p_j p_k", g * p * (1 - p)
            yield "the sum over g p is not subtracted", g * p
            for other in range(x.ndim):
                if other != axis:
                    words = f"the sum over g p runs along axis {other}, softmax along axis {axis}"
                    yield words, p * (g - (g * p).sum(other, keepdims=True))


def cross_entropy_mistakes(scene: Scene) -> Mistakes:
    """Wrong rules of -sum y log softmax(z), which its gradient S softmax(z) - y gives away.

    Whatever comes after the loss, a mean or weights, gives a factor to every example.
    """
    leaf = scene.primal
    others = [
        wide(a)
        for i, a in enumerate([*scene.point.leaves, *scene.point.fixed])
        if i != scene.number and np.shape(a) == leaf.shape and a.dtype.kind == leaf.dtype.kind
    ]
    for other in others:
        for axis in range(leaf.ndim):
            yield from _of_logits(scene, leaf, other, axis)
            yield from _of_labels(scene, other, leaf, axis)


def _of_logits(scene: Scene, z: np.ndarray, y: np.ndarray, axis: int) -> Mistakes:
    p = _softmax(z, axis)
    total = y.sum(axis, keepdims=True)
    c = _factors(scene.right, total * p - y, axis)
    if c is None:
        return
    words = "p - y, which is right where the labels sum to 1: here it is S p - y, S being their sum"
    yield words, c * (p - y)
    yield "-y / p, the derivative by the probabilities instead of the logits", -c * y / p


def _of_labels(scene: Scene, z: np.ndarray, y: np.ndarray, axis: int) -> Mistakes:
    p = _softmax(z, axis)
    c = _factors(scene.right, -np.log(p), axis)
    if c is not None:
        words = "-y / p, which is the derivative by the probabilities: by the labels it is -log p"
        yield words, -c * y / p


def _factors(right: np.ndarray, base: np.ndarray, axis: int) -> np.ndarray | None:
    """The factor of every example between two arrays; None where that is not all."""
    power = np.sum(base * base, axis, keepdims=True)
    c = np.sum(right * base, axis, keepdims=True) / np.where(power > 0, power, 1)
    size = float(np.max(np.abs(right), initial=0.0))
    return c if np.allclose(c * base, right, rtol=0, atol=_SAME * size) else None


def _softmax(z: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)
