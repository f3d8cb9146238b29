"""Each layer in PyTorch, in each of the ways it may be fast."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from .._window import pairs, transposed_pairs
from .cases import CONVOLUTIONS, POOLS, Case
from .program import Program
from .torch_device import numpy, tensor, waited
from .torch_layout import LAYOUTS, channels_second, from_kernel, placed, to_kernel


def layer_programs(case: Case, *, compiled: bool = False) -> dict[str, dict[str, Program]]:
    """By pass, and then by mode ("NCHW", "channels_last compiled", ...), what to time."""
    result: dict[str, dict[str, Program]] = {what: {} for what in case.passes}
    images = case.layer in (*CONVOLUTIONS, *POOLS)
    for layout in LAYOUTS if images and len(case.k) > 1 else ("",):
        for compile_ in (False, True) if compiled else (False,):
            mode = " ".join(filter(None, (layout, "compiled" if compile_ else "eager")))
            for what, program in _passes(case, layout, compile_).items():
                result[what][mode] = program
    return result


def _passes(case: Case, layout: str, compile_: bool) -> dict[str, Program]:
    images = case.layer in (*CONVOLUTIONS, *POOLS)
    x, *weights = case.operands()
    axes = len(case.k)
    place = placed(layout, axes)
    f = _function(case)
    if compile_:
        f = torch.compile(f, dynamic=False)
    operands = [place(channels_second(x)) if images else tensor(x)]
    if case.layer in CONVOLUTIONS:
        operands.append(place(to_kernel(weights[0], case.layer == "conv_transpose")))
    elif weights:
        operands.append(tensor(weights[0].T))
    if weights:
        operands.append(tensor(weights[1]))
    g = case.cotangent()
    g = place(channels_second(g)) if images else tensor(g)
    leaves = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in operands]
    y = f(*leaves)

    def back(t: torch.Tensor, index: int) -> np.ndarray:
        a = numpy(t)
        if index == 1 and case.layer in CONVOLUTIONS:
            return from_kernel(a, case.layer == "conv_transpose")
        if index == 1:
            return a.T
        return np.moveaxis(a, 1, -1) if images and index == 0 else a

    def forward():
        with torch.no_grad():
            return (f(*operands),)

    def cotangents(first: int, last: int | None):
        return lambda: torch.autograd.grad(y, leaves[first:last], g, retain_graph=True)

    def both():
        y = f(leaves[0])
        return y, *torch.autograd.grad(y, leaves[:1], g)

    def program(call: Callable[[], Sequence[torch.Tensor]], first: int) -> Program:
        return Program(
            waited(call), lambda: [back(t, i) for i, t in enumerate(call(), start=first)]
        )

    calls = {
        "forward": program(forward, 0),
        "dx": program(cotangents(0, 1), 0),
        "dw": program(cotangents(1, None), 1),
        "both": Program(waited(both), lambda: [back(t, 0) for t in both()]),
    }
    return {what: calls[what] for what in case.passes}


def _function(case: Case) -> Callable[..., torch.Tensor]:
    axes = len(case.k)
    if case.layer == "relu":
        return F.relu
    if case.layer == "softmax":
        return lambda x: F.softmax(x, -1)
    if case.layer == "dense":
        return F.linear
    if case.layer == "softmax_cross_entropy_with_integer_labels":
        labels = tensor(case.labels()).long()
        return lambda x: F.cross_entropy(x, labels, reduction="none")
    s, d, n = (case.strides,) * axes, (case.dilation,) * axes, case.x[1:-1]
    if case.layer == "conv_transpose":
        return _transposed(case, axes, s, d)
    both = pairs(case.padding, n, case.k, s, d)
    even = all(low == high for low, high in both)
    padding = tuple(low for low, _ in both)
    around = [p for pair in reversed(both) for p in pair]
    if case.layer == "conv":
        conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
        if even:
            return lambda x, w, b: conv(x, w, b, s, padding, d, case.groups)
        return lambda x, w, b: conv(F.pad(x, around), w, b, s, 0, d, case.groups)
    if case.layer == "avg_pool":
        avg = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
        if even:
            return lambda x: avg(x, case.k, s, padding)
        return lambda x: avg(F.pad(x, around), case.k, s)
    if case.layer != "max_pool":
        raise ValueError(f"PyTorch's {case.layer} is not written here")
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    if even and all(p <= k // 2 for p, k in zip(padding, case.k, strict=True)):
        return lambda x: pool(x, case.k, s, padding, d)
    return lambda x: pool(F.pad(x, around, value=-torch.inf), case.k, s, 0, d)


def _transposed(
    case: Case, axes: int, s: tuple[int, ...], d: tuple[int, ...]
) -> Callable[..., torch.Tensor]:
    conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    both = transposed_pairs(case.padding, case.k, s, d)
    reach = [(k - 1) * di for k, di in zip(case.k, d, strict=True)]
    padding = tuple(r - low for r, (low, _) in zip(reach, both, strict=True))
    extra = tuple(high - low for low, high in both)
    if min(padding) >= 0 and all(
        0 <= e < max(si, di) for e, si, di in zip(extra, s, d, strict=True)
    ):
        return lambda x, w, b: conv(x, w, b, s, padding, extra, 1, d)
    # What torch cannot pad it computes in full, and the rest is cut off.
    cut = [
        p
        for r, (low, high) in reversed(list(zip(reach, both, strict=True)))
        for p in (low - r, high - r)
    ]

    def cropped(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor):
        y = F.pad(conv(x, w, None, s, 0, 0, 1, d), cut)
        return y + b.reshape(1, -1, *(1,) * axes)

    return cropped
