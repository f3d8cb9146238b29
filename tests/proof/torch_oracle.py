"""PyTorch's layers under this package's options: another team's kernels, another autodiff."""

import numpy as np

from tests.proof.cases import Case
from tests.proof.convolution_oracles import transposed_pairs
from tests.proof.loops import pairs, per_axis

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True
    torch.set_num_threads(1)  # the tests run side by side


def value_and_gradients(case: Case, inputs: dict[str, np.ndarray], g: np.ndarray):
    """The output and its gradients, or None where PyTorch has no such layer or refuses it."""
    layer = globals().get(f"_{case.layer}")
    if layer is None or any(0 in a.shape for a in (g, *inputs.values())) or "where" in inputs:
        return None
    free = {
        name: torch.tensor(x, requires_grad=name in case.differentiable)
        for name, x in inputs.items()
    }
    options = {k: v for k, v in case.options.items() if k != "activation"}
    y = layer(*free.values(), **options)
    if case.options.get("activation") == "relu":
        y = F.relu(y)
    if y is None:
        return None
    y.backward(torch.tensor(g))
    gradients = {n: np.asarray(free[n].grad) for n in case.differentiable}
    return y.detach().numpy(), gradients


def _first(x, n):
    """[N.., S.., C] -> [N, C, S..]."""
    return x.reshape(-1, *x.shape[x.ndim - n - 1 :]).movedim(-1, 1)


def _last(y, x, n):
    """[N, C, S..] -> [N.., S.., C], with the leading axes of x."""
    return y.movedim(1, -1).reshape(*x.shape[: x.ndim - n - 1], *y.shape[2:], y.shape[1])


def _padded(x, pads, value=0.0):
    """Pads the trailing axes; F.pad counts from the last and crops where negative."""
    return F.pad(x, [p for low_high in reversed(pads) for p in low_high], value=value)


def _conv(x, w, b=None, *, strides=1, padding="SAME", kernel_dilation=1, feature_group_count=1):
    n = w.ndim - 2
    strides, dilation = per_axis(strides, n), per_axis(kernel_dilation, n)
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[:n], dilation, strict=True)]
    pads = pairs(padding, x.shape[-n - 1 : -1], spans, strides)
    convolve = [F.conv1d, F.conv2d, F.conv3d][n - 1]
    y = convolve(
        _padded(_first(x, n), pads),
        w.movedim((-1, -2), (0, 1)).contiguous(),
        b,
        stride=strides,
        dilation=dilation,
        groups=feature_group_count,
    )
    return _last(y, x, n)


def _conv_transpose(
    x, w, b=None, *, strides=1, padding="SAME", kernel_dilation=1, feature_group_count=1,
    transpose_kernel=False,
):  # fmt: skip
    n, g = w.ndim - 2, feature_group_count
    strides, dilation = per_axis(strides, n), per_axis(kernel_dilation, n)
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[:n], dilation, strict=True)]
    if not transpose_kernel:  # PyTorch has the kernel of the convolution that it transposes
        *k, i, o = w.shape
        w = w.flip(tuple(range(n))).reshape(*k, i, g, o // g).transpose(-1, -3)
        w = w.reshape(*k, o // g, g * i)
    transpose = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][n - 1]
    y = transpose(
        _first(x, n),
        w.movedim((-1, -2), (0, 1)).contiguous(),
        stride=strides,
        groups=g,
        dilation=dilation,
    )
    pads = transposed_pairs(padding, spans, strides)
    reach = [span - 1 for span in spans]  # what PyTorch pads without being asked
    y = _padded(y, [(low - r, high - r) for (low, high), r in zip(pads, reach, strict=True)])
    y = _last(y, x, n)
    return y if b is None else y + b


def _max_pool(
    x, *, window_shape, strides=None, padding="VALID", window_dilation=None, ties="first"
):
    n = len(window_shape)
    if ties != "first":
        return None
    strides, dilation = per_axis(strides, n), per_axis(window_dilation, n)
    spans = [(k - 1) * d + 1 for k, d in zip(window_shape, dilation, strict=True)]
    pads = pairs(padding, x.shape[-n - 1 : -1], spans, strides)
    pool = [F.max_pool1d, F.max_pool2d, F.max_pool3d][n - 1]
    y = pool(
        _padded(_first(x, n), pads, -torch.inf), window_shape, stride=strides, dilation=dilation
    )
    return _last(y, x, n)


def _avg_pool(x, *, window_shape, strides=None, padding="VALID", count_include_pad=True):
    n = len(window_shape)
    strides = per_axis(strides, n)
    pads = pairs(padding, x.shape[-n - 1 : -1], window_shape, strides)
    pool = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][n - 1]
    y = pool(_padded(_first(x, n), pads), window_shape, stride=strides)
    if not count_include_pad:
        y = y / pool(_padded(torch.ones_like(_first(x, n)), pads), window_shape, stride=strides)
    return _last(y, x, n)


def _relu(x):
    return F.relu(x)


def _softmax(x, axis=-1):
    return None if isinstance(axis, tuple) else F.softmax(x, axis)


def _dense(x, w, b=None):
    return F.linear(x, w.T, b)


def _softmax_cross_entropy(logits, labels, *, axis=-1):
    if isinstance(axis, tuple):
        return None
    return -(labels * F.log_softmax(logits, axis)).sum(axis)


def _softmax_cross_entropy_with_integer_labels(logits, labels, *, axis=-1):
    if isinstance(axis, tuple):
        return None
    z = logits.movedim(axis, -1)
    flat = F.cross_entropy(z.reshape(-1, z.shape[-1]), labels.reshape(-1), reduction="none")
    return flat.reshape(labels.shape)
