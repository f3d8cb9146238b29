"""Every layer and every gradient once more, as loops in NumPy that can be checked by eye.

Each function takes the layer's arrays, its options and the cotangent g of the output, and returns
the output with a dict of the gradients. No JAX here: the only thing shared with the package is the
meaning of the arguments.
"""

import itertools
import math

import numpy as np

from tests.proof.convolution_oracles import conv as conv
from tests.proof.convolution_oracles import conv_general_dilated as conv_general_dilated
from tests.proof.convolution_oracles import conv_transpose as conv_transpose
from tests.proof.loops import flat_batch, pairs, per_axis, with_activation, with_bias


def windows(x, window_shape, strides, padding, dilation):
    """For every output place: the places of the input in its window, row-major, none outside."""
    n = len(window_shape)
    sizes = x.shape[-n - 1 : -1]
    strides, dilation = per_axis(strides, n), per_axis(dilation, n)
    spans = [(k - 1) * d + 1 for k, d in zip(window_shape, dilation, strict=True)]
    pads = pairs(padding, sizes, spans, strides)
    outputs = [
        (s + low + high - span) // stride + 1
        for s, (low, high), span, stride in zip(sizes, pads, spans, strides, strict=True)
    ]
    for i in np.ndindex(*outputs):
        axes = [
            [
                p
                for a in range(window_shape[d])
                if 0 <= (p := i[d] * strides[d] + a * dilation[d] - pads[d][0]) < sizes[d]
            ]
            for d in range(n)
        ]
        yield i, list(itertools.product(*axes))


def max_pool(
    g, x, *, window_shape, strides=None, padding="VALID", window_dilation=None, ties="first"
):
    n = len(window_shape)
    xs, gs = flat_batch(x, n), flat_batch(g, n)
    y, dx = np.full(gs.shape, -np.inf), np.zeros(xs.shape)
    for i, places in windows(x, window_shape, strides, padding, window_dilation):
        for b, c in itertools.product(range(xs.shape[0]), range(xs.shape[-1])):
            values = [xs[(b, *p, c)] for p in places]
            nans = [p for p, v in zip(places, values, strict=True) if np.isnan(v)]
            maximum = np.nan if nans else max(values)
            winners = nans or [p for p, v in zip(places, values, strict=True) if v == maximum]
            if ties == "first":
                winners = winners[:1]
            y[(b, *i, c)] = maximum
            for p in winners:
                share = len(winners) if ties == "split" else 1
                dx[(b, *p, c)] += gs[(b, *i, c)] / share
    return y.reshape(g.shape), {"x": dx.reshape(x.shape)}


def avg_pool(g, x, *, window_shape, strides=None, padding="VALID", count_include_pad=True):
    n = len(window_shape)
    xs, gs = flat_batch(x, n), flat_batch(g, n)
    y, dx = np.zeros(gs.shape), np.zeros(xs.shape)
    for i, places in windows(x, window_shape, strides, padding, None):
        count = math.prod(window_shape) if count_include_pad else len(places)
        for p in places:
            y[(slice(None), *i)] += xs[(slice(None), *p)] / count
            dx[(slice(None), *p)] += gs[(slice(None), *i)] / count
    return y.reshape(g.shape), {"x": dx.reshape(x.shape)}


def relu(g, x):
    y, dx = np.zeros(x.shape), np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
        if x[i] > 0:
            y[i], dx[i] = x[i], g[i]
    return y, {"x": dx}


def rows(a, axis):
    """The axes in `axis` last and flattened into one: [.., classes]."""
    axes = [k % a.ndim for k in per_axis(axis, 1)]
    batch = [k for k in range(a.ndim) if k not in axes]
    classes = math.prod(a.shape[k] for k in axes)
    return a.transpose(batch + axes).reshape(*[a.shape[k] for k in batch], classes)


def unrows(a, axis, shape):
    axes = [k % len(shape) for k in per_axis(axis, 1)]
    order = [k for k in range(len(shape)) if k not in axes] + axes
    return a.reshape([shape[k] for k in order]).transpose(np.argsort(order))


def softmax(g, x, axis=-1):
    z, gs = rows(x, axis), rows(g, axis)
    y, dx = np.zeros(z.shape), np.zeros(z.shape)
    for i in np.ndindex(*z.shape[:-1]):
        e = [math.exp(v - max(z[i])) for v in z[i]]
        p = y[i] = np.array(e) / sum(e)
        for j, k in itertools.product(range(len(p)), repeat=2):  # the post's two cases
            dx[(*i, j)] += gs[(*i, k)] * (p[j] * (1 - p[j]) if j == k else -p[j] * p[k])
    return unrows(y, axis, x.shape), {"x": unrows(dx, axis, x.shape)}


@with_activation
def dense(g, x, w, b=None):
    xs, gs = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    y, dx, dw = np.zeros(gs.shape), np.zeros(xs.shape), np.zeros(w.shape)
    for n, i, o in itertools.product(range(len(xs)), *map(range, w.shape)):
        y[n, o] += xs[n, i] * w[i, o]
        dx[n, i] += gs[n, o] * w[i, o]
        dw[i, o] += xs[n, i] * gs[n, o]
    return with_bias(x, w, b, g, y, dx, dw)


def softmax_cross_entropy(g, logits, labels, where=None, *, axis=-1):
    """Row by row: -sum y log p, dz_j = g sum_k y_k (p_j - [j = k]), dy = -g log p."""
    where = np.ones(logits.shape, bool) if where is None else where
    if where.ndim < logits.ndim:
        where = np.expand_dims(where, axis)
    z, y, mask = (rows(a, axis) for a in (logits, labels, np.broadcast_to(where, logits.shape)))
    loss, dz, dy = np.zeros(z.shape[:-1]), np.zeros(z.shape), np.zeros(z.shape)
    for i in np.ndindex(*loss.shape):
        counted = [k for k in range(z.shape[-1]) if mask[(*i, k)]]
        if not counted:
            continue
        top = max(z[(*i, k)] for k in counted)
        total = sum(math.exp(z[(*i, k)] - top) for k in counted)
        for k in counted:
            log_p = z[(*i, k)] - top - math.log(total)
            if y[(*i, k)] == 0 and log_p == -math.inf:
                continue
            loss[i] -= y[(*i, k)] * log_p
            dy[(*i, k)] = -g[i] * log_p
            for j in counted:
                p = math.exp(z[(*i, j)] - top) / total
                dz[(*i, j)] += g[i] * y[(*i, k)] * (p - (j == k))
    shape = logits.shape
    return loss, {"logits": unrows(dz, axis, shape), "labels": unrows(dy, axis, shape)}


def softmax_cross_entropy_with_integer_labels(g, logits, labels, where=None, *, axis=-1):
    """The same with a one at the label; NaN for a label that is no class."""
    classes = rows(logits, axis).shape[-1]
    one_hot = np.zeros((*labels.shape, classes))
    for i in np.ndindex(*labels.shape):
        if 0 <= labels[i] < classes:
            one_hot[(*i, labels[i])] = 1
    loss, gradients = softmax_cross_entropy(
        g, logits, unrows(one_hot, axis, logits.shape), where, axis=axis
    )
    if where is None:
        unknown = (labels < 0) | (labels >= classes)
        loss = np.where(unknown, np.nan, loss)
        dz = np.where(unknown[..., None], np.nan, rows(gradients["logits"], axis))
        gradients["logits"] = unrows(dz, axis, logits.shape)
    return loss, {"logits": gradients["logits"]}
