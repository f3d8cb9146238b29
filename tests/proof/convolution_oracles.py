"""The convolutions of `oracles`: one loop over places and taps serves y and every gradient."""

import math

import numpy as np

from tests.proof.loops import flat_batch, pairs, per_axis, with_activation, with_bias


def correlate(x, w, g, strides, pads, lhs_dilation, rhs_dilation, groups):
    """For x [N, S.., C] and w [K.., C/G, O]: y, dx and dw, three sums over the same products.

    Output i meets tap a at place i * stride + a * rhs_dilation - low of the dilated input. Only
    every lhs_dilation-th place holds an element, the others and the padding hold zeros.
    """
    n = w.ndim - 2
    sizes, taps = x.shape[1:-1], w.shape[:n]
    outputs = [
        max(0, (low + (s - 1) * ld + 1 + high - (k - 1) * rd - 1) // stride + 1)
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
