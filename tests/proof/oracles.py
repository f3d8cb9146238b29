"""Every layer and every gradient once more, as loops in NumPy that can be checked by eye.

Each function takes the layer's arrays, its options and the cotangent g of the output, and returns
the output with a dict of the gradients. No JAX here: the only thing shared with the package is the
meaning of the arguments.
"""

import functools
import itertools
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


def correlate(x, w, g, strides, pads, lhs_dilation, rhs_dilation, groups):
    """For x [N, S.., C] and w [K.., C/G, O]: y, dx and dw, three sums over the same products.

    Output i meets tap a at place i * stride + a * rhs_dilation - low of the dilated input. Only
    every lhs_dilation-th place holds an element, the others and the padding hold zeros.
    """
    n = w.ndim - 2
    sizes, taps = x.shape[1:-1], w.shape[:n]
    outputs = [
        (low + (s - 1) * ld + 1 + high - (k - 1) * rd - 1) // stride + 1
        for s, k, stride, (low, high), ld, rd in zip(
            sizes, taps, strides, pads, lhs_dilation, rhs_dilation, strict=True
        )
    ]
    y = np.zeros((x.shape[0], *outputs, w.shape[-1]))
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    c, o = x.shape[-1] // groups, w.shape[-1] // groups  # channels of one group, in and out
    for i in np.ndindex(*outputs):
        for a in np.ndindex(*taps):
            places = [i[d] * strides[d] + a[d] * rhs_dilation[d] - pads[d][0] for d in range(n)]
            if any(p % ld for p, ld in zip(places, lhs_dilation, strict=True)):
                continue
            p = tuple(p // ld for p, ld in zip(places, lhs_dilation, strict=True))
            if any(not 0 <= pd < s for pd, s in zip(p, sizes, strict=True)):
                continue
            for j in range(groups):
                xj = x[(slice(None), *p, slice(j * c, (j + 1) * c))]  # [N, c]
                wj = w[(*a, slice(None), slice(j * o, (j + 1) * o))]  # [c, o]
                gj = g[(slice(None), *i, slice(j * o, (j + 1) * o))]  # [N, o]
                y[(slice(None), *i, slice(j * o, (j + 1) * o))] += xj @ wj
                dx[(slice(None), *p, slice(j * c, (j + 1) * c))] += gj @ wj.T
                dw[(*a, slice(None), slice(j * o, (j + 1) * o))] += xj.T @ gj
    return y, dx, dw


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


@with_activation
def conv(g, x, w, b=None, *, strides=1, padding="SAME", kernel_dilation=1, feature_group_count=1):
    n = w.ndim - 2
    strides, dilation = per_axis(strides, n), per_axis(kernel_dilation, n)
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[:n], dilation, strict=True)]
    pads = pairs(padding, x.shape[-n - 1 : -1], spans, strides)
    y, dx, dw = correlate(
        flat_batch(x, n), w, flat_batch(g, n), strides, pads, (1,) * n, dilation,
        feature_group_count,
    )  # fmt: skip
    return with_bias(x, w, b, g, y, dx, dw)


def transposed_pairs(padding, spans, strides):
    """(low, high) of every axis of the dilated input; `spans` is how far the kernel reaches."""
    if padding == "VALID":
        return [(k - 1, max(k, s) - 1) for k, s in zip(spans, strides, strict=True)]
    if padding != "SAME":
        return pairs(padding, spans, spans, strides)
    result = []
    for k, s in zip(spans, strides, strict=True):
        low = k - 1 if s > k - 1 else math.ceil((k + s - 2) / 2)
        result.append((low, k + s - 2 - low))
    return result


@with_activation
def conv_transpose(
    g, x, w, b=None, *, strides=1, padding="SAME", kernel_dilation=1, feature_group_count=1,
    transpose_kernel=False,
):  # fmt: skip
    """Every input element stamps the kernel, `strides` apart, on a canvas that is then cropped.

    lax stamps the kernel mirrored; transpose_kernel mirrors it back and exchanges the channels.
    Each group of input channels has a stamp and a canvas of its own.
    """
    n = w.ndim - 2
    strides, dilation = per_axis(strides, n), per_axis(kernel_dilation, n)
    sizes, taps = x.shape[-n - 1 : -1], w.shape[:n]
    spans = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
    pads = transposed_pairs(padding, spans, strides)
    # The canvas begins `span - 1 - low` cells before the output: a negative number widens it.
    outputs = [
        low + (s - 1) * stride + 1 + high - span + 1
        for s, stride, span, (low, high) in zip(sizes, strides, spans, pads, strict=True)
    ]

    def stamped(x, w, g):
        y = np.zeros((x.shape[0], *outputs, g.shape[-1]))
        dx, dw = np.zeros(x.shape), np.zeros(w.shape)
        for i in np.ndindex(*sizes):
            for a in np.ndindex(*taps):
                p = tuple(
                    i[d] * strides[d]
                    + (a[d] if transpose_kernel else taps[d] - 1 - a[d]) * dilation[d]
                    - (spans[d] - 1 - pads[d][0])
                    for d in range(n)
                )
                if any(not 0 <= pd < m for pd, m in zip(p, outputs, strict=True)):
                    continue
                here, there = (slice(None), *i), (slice(None), *p)
                wa = w[a].T if transpose_kernel else w[a]  # [Cin, Cout]
                y[there] += x[here] @ wa
                dx[here] += g[there] @ wa.T
                dwa = x[here].T @ g[there]
                dw[a] += dwa.T if transpose_kernel else dwa
        return y, dx, dw

    # The last axis of w is that of its output channels, or transposed of its input channels.
    blocks = [np.split(v, feature_group_count, -1) for v in (flat_batch(x, n), w, flat_batch(g, n))]
    parts = [stamped(*block) for block in zip(*blocks, strict=True)]
    y, dx, dw = (np.concatenate(part, -1) for part in zip(*parts, strict=True))
    return with_bias(x, w, b, g, y, dx, dw)


def conv_general_dilated(
    g, lhs, rhs, *, window_strides, padding, lhs_dilation=None, rhs_dilation=None,
    dimension_numbers=None, feature_group_count=1, batch_group_count=1,
):  # fmt: skip
    """Move the axes to [N, S.., C] and [K.., I, O], one correlation for each batch group."""
    n = lhs.ndim - 2
    if dimension_numbers is None:  # batch or out, channels or in, space
        letters = "".join("DHW"[-n:])
        dimension_numbers = ("NC" + letters, "OI" + letters, "NC" + letters)
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    space = [c for c in rhs_spec if c not in "IO"]
    to_x = [lhs_spec.index(c) for c in ["N", *space, "C"]]
    to_w = [rhs_spec.index(c) for c in [*space, "I", "O"]]
    to_g = [out_spec.index(c) for c in ["N", *space, "C"]]
    x, w, g = lhs.transpose(to_x), rhs.transpose(to_w), g.transpose(to_g)

    lhs_dilation, rhs_dilation = per_axis(lhs_dilation, n), per_axis(rhs_dilation, n)
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[:n], rhs_dilation, strict=True)]
    sizes = [(s - 1) * d + 1 for s, d in zip(x.shape[1:-1], lhs_dilation, strict=True)]
    pads = pairs(padding, sizes, spans, window_strides)
    ys, dxs, dws = [], [], []
    for xj, wj, gj in zip(
        np.split(x, batch_group_count),
        np.split(w, batch_group_count, -1),
        np.split(g, batch_group_count, -1),
        strict=True,
    ):
        y, dx, dw = correlate(
            xj, wj, gj, window_strides, pads, lhs_dilation, rhs_dilation, feature_group_count
        )
        ys.append(y)
        dxs.append(dx)
        dws.append(dw)
    return np.concatenate(ys, -1).transpose(np.argsort(to_g)), {
        "lhs": np.concatenate(dxs).transpose(np.argsort(to_x)),
        "rhs": np.concatenate(dws, -1).transpose(np.argsort(to_w)),
    }


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
