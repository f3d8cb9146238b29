"""What the loops of `oracles` share: strides, paddings, one batch axis, a bias and a fused relu."""

import functools
import math

import numpy as np


def per_axis(value, n):
    if value is None:
        return (1,) * n
    return (value,) * n if isinstance(value, int) else tuple(value)


def pairs(padding, sizes, spans, strides):
    """(low, high) of every axis; `spans` is how far a dilated window reaches."""
    if isinstance(padding, int):
        return [(padding, padding)] * len(sizes)
    if padding == "VALID":
        return [(0, 0)] * len(sizes)
    if not isinstance(padding, str):
        return [tuple(p) for p in padding]
    result = []
    for n, span, stride in zip(sizes, spans, strides, strict=True):
        outputs = math.ceil(n / stride)
        total = max((outputs - 1) * stride + span - n, 0)
        half, rest = total // 2, total - total // 2
        result.append({"SAME": (half, rest), "SAME_LOWER": (rest, half)}[padding])
    return result


def flat_batch(x, n):
    """[N.., S.., C] -> [N, S.., C]."""
    return x.reshape(math.prod(x.shape[: x.ndim - n - 1]), *x.shape[x.ndim - n - 1 :])


def with_bias(x, w, b, g, y, dx, dw):
    gradients = {"x": dx.reshape(x.shape), "w": dw}
    if b is not None:
        y = y + b
        gradients["b"] = g.reshape(-1, g.shape[-1]).sum(0)
    return y.reshape(g.shape), gradients


def with_activation(layer):
    """The loops of a layer with relu behind it: g counts where y, found first, is above 0."""

    @functools.wraps(layer)
    def activated(g, *operands, activation=None, **options):
        y, gradients = layer(g, *operands, **options)
        if activation is None:
            return y, gradients
        return np.maximum(y, 0), layer(np.where(y > 0, g, 0), *operands, **options)[1]

    return activated
