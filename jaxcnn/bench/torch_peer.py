"""The same layers and training step in PyTorch, in each of the ways it may be fast.

Operands come and go as NumPy arrays in the layout of `jaxcnn`; the conversion is not timed.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .._window import pairs, transposed_pairs
from .cases import CONVOLUTIONS, POOLS, Case
from .networks import NETWORKS
from .program import Program

LAYOUTS = ("NCHW", "channels_last")


# Where all of it computes.
_device = torch.device("cpu")


def use(backend: str, *, tf32: bool) -> bool:
    """Compute where JAX does, with what JAX has; returns whether PyTorch can.

    Args:
        backend: "cpu" or "gpu". On a CPU there are as many threads as JAX has: the processors that
            this process may use.
        tf32: whether float32 products on a GPU may have TF32's ten bits, as JAX's by default.
    """
    global _device
    if backend == "gpu":
        if not torch.cuda.is_available():
            return False
        _device = torch.device("cuda")
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        # Of several algorithms the fastest one for these shapes, as XLA chooses.
        torch.backends.cudnn.benchmark = True
        return True
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(n)
    return backend == "cpu"


def _tensor(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(a)).to(_device)


def _numpy(t: torch.Tensor) -> np.ndarray:
    return t.detach().float().cpu().numpy()


def _waited(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, and then until a GPU is done with it."""
    if _device.type != "cuda":
        return call

    def waited():
        out = call()
        torch.cuda.synchronize()
        return out

    return waited


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
    place = _placed(layout, axes)
    f = _function(case)
    if compile_:
        f = torch.compile(f, dynamic=False)
    operands = [place(_first(x)) if images else _tensor(x)]
    if case.layer in CONVOLUTIONS:
        operands.append(place(_to_kernel(weights[0], case.layer == "conv_transpose")))
    elif weights:
        operands.append(_tensor(weights[0].T))
    if weights:
        operands.append(_tensor(weights[1]))
    g = case.cotangent()
    g = place(_first(g)) if images else _tensor(g)
    leaves = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in operands]
    y = f(*leaves)

    def back(t: torch.Tensor, index: int) -> np.ndarray:
        a = _numpy(t)
        if index == 1 and case.layer in CONVOLUTIONS:
            return _from_kernel(a, case.layer == "conv_transpose")
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
            _waited(call), lambda: [back(t, i) for i, t in enumerate(call(), start=first)]
        )

    calls = {
        "forward": program(forward, 0),
        "dx": program(cotangents(0, 1), 0),
        "dw": program(cotangents(1, None), 1),
        "both": Program(_waited(both), lambda: [back(t, 0) for t in both()]),
    }
    return {what: calls[what] for what in case.passes}


def _placed(layout: str, axes: int) -> Callable[[np.ndarray], torch.Tensor]:
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    form = formats[axes] if layout == "channels_last" else torch.contiguous_format
    return lambda a: _tensor(a).contiguous(memory_format=form)


def _first(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, -1, 1)


def _to_kernel(w: np.ndarray, transposed: bool) -> np.ndarray:
    """`[K.., I, O]` as `[O, I, K..]`, or flipped and as `[I, O, K..]` where it is transposed."""
    if not transposed:
        return np.moveaxis(w, (-1, -2), (0, 1))
    return np.moveaxis(np.flip(w, tuple(range(w.ndim - 2))), (-2, -1), (0, 1))


def _from_kernel(w: np.ndarray, transposed: bool) -> np.ndarray:
    if not transposed:
        return np.moveaxis(w, (0, 1), (-1, -2))
    return np.flip(np.moveaxis(w, (0, 1), (-2, -1)), tuple(range(w.ndim - 2)))


def _function(case: Case) -> Callable[..., torch.Tensor]:
    axes = len(case.k)
    if case.layer == "relu":
        return F.relu
    if case.layer == "softmax":
        return lambda x: F.softmax(x, -1)
    if case.layer == "dense":
        return F.linear
    if case.layer == "softmax_cross_entropy_with_integer_labels":
        labels = _tensor(case.labels()).long()
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
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    if even and all(p <= k // 2 for p, k in zip(padding, case.k, strict=True)):
        return lambda x: pool(x, case.k, s, padding, d)
    return lambda x: pool(F.pad(x, around, value=-torch.inf), case.k, s, 0, d)


def _transposed(case: Case, axes: int, s, d) -> Callable[..., torch.Tensor]:
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

    def cropped(x, w, b):
        y = F.pad(conv(x, w, None, s, 0, 0, 1, d), cut)
        return y + b.reshape(1, -1, *(1,) * axes)

    return cropped


def step_programs(
    network: str,
    params: Any,
    images: np.ndarray,
    labels: np.ndarray,
    learning_rate: float,
    momentum: float,
    *,
    compiled: bool,
) -> dict[str, Program]:
    """The training step by mode. Its outputs are the first step's: loss, parameters, gradients.

    Every later call goes on from where the last one ended, as training does.
    """
    return {
        mode: _step(network, params, images, labels, learning_rate, momentum, layout, compile_)
        for mode, layout, compile_ in _modes(compiled)
    }


def evaluation_programs(
    network: str, params: Any, images: np.ndarray, *, compiled: bool
) -> dict[str, Program]:
    """The logits of a batch, by mode."""
    return {
        mode: _evaluation(network, params, images, layout, compile_)
        for mode, layout, compile_ in _modes(compiled)
    }


def _modes(compiled: bool) -> Iterator[tuple[str, str, bool]]:
    for layout in LAYOUTS:
        for compile_ in (False, True) if compiled else (False,):
            yield f"{layout} {'compiled' if compile_ else 'eager'}", layout, compile_


def _step(network, params, images, labels, learning_rate, momentum, layout, compile_) -> Program:
    leaves = _leaves(params, layout)
    tensors = [t.requires_grad_() for pair in leaves.values() for t in pair.values()]
    # The fused one leaves a bfloat16 bias of 16 elements or more as it was (PyTorch 2.13).
    fused = tensors[0].dtype == torch.float32
    optimizer = torch.optim.SGD(tensors, lr=learning_rate, momentum=momentum, fused=fused)
    x_bytes, targets = _images(images), _tensor(labels).long()
    logits_of = _logits(network, leaves, layout)

    def forward(x_bytes):
        logits = logits_of(x_bytes)
        loss = F.cross_entropy(logits.float(), targets)
        return loss, (logits.argmax(-1) == targets).float().mean()

    f = torch.compile(forward, dynamic=False) if compile_ else forward

    def call():
        optimizer.zero_grad(set_to_none=True)
        loss, accuracy = f(x_bytes)
        loss.backward()
        optimizer.step()
        return loss, accuracy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss, _ = call()
    back = _returned(params, leaves)
    gradients = {
        layer: {name: t.grad for name, t in pair.items()} for layer, pair in leaves.items()
    }
    first = [_numpy(loss).copy(), *back, *_returned(params, gradients)]
    return Program(_waited(call), lambda: first)


def _evaluation(network, params, images, layout, compile_) -> Program:
    f = _logits(network, _leaves(params, layout), layout)
    f = torch.compile(f, dynamic=False) if compile_ else f
    x_bytes = _images(images)

    def call():
        with torch.no_grad():
            return f(x_bytes)

    return Program(_waited(call), lambda: [_numpy(call())])


def _images(images: np.ndarray) -> torch.Tensor:
    """Bytes `[N, C, H, W]`."""
    return _tensor(_first(images) if images.ndim == 4 else images[:, None])


def _logits(network: str, leaves: Any, layout: str) -> Callable[[torch.Tensor], torch.Tensor]:
    dtype = leaves["conv1"]["w"].dtype
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    apply = NETWORKS[network].apply

    def logits(x_bytes: torch.Tensor) -> torch.Tensor:
        x = (x_bytes.to(dtype) / 255).contiguous(memory_format=form)
        return apply(leaves, x, Layers)

    return logits


class Layers:
    """The layers that the networks are written over, on `[N, C, H, W]`."""

    relu = staticmethod(F.relu)

    @staticmethod
    def conv(
        x, w, b, *, strides: int = 1, padding: str | int = "SAME", feature_group_count=1,
        activation: str | None = None,
    ):  # fmt: skip
        around = "same" if padding == "SAME" else padding
        y = F.conv2d(x, w, b, strides, around, groups=feature_group_count)
        return y if activation is None else F.relu(y)

    @staticmethod
    def max_pool(x, window_shape, strides, *, ties: str = "first"):
        assert ties == "first"
        return F.max_pool2d(x, window_shape, strides)

    @staticmethod
    def avg_pool(x, window_shape):
        return F.avg_pool2d(x, window_shape, 1)

    @staticmethod
    def dense(x, w, b, *, activation: str | None = None):
        y = F.linear(x, w, b)
        return y if activation is None else F.relu(y)


def _leaves(params: Any, layout: str) -> dict[str, dict[str, torch.Tensor]]:
    """The parameters of a network as PyTorch has them: kernels `[O, I, H, W]`, dense `[O, I]`."""
    place = _placed(layout, 2)
    leaves = {}
    for layer, arrays in params.items():
        w = np.asarray(arrays["w"], np.float32)
        if w.ndim == 4:
            w = place(_to_kernel(w, False))
        else:
            w = _channels_first(w, params) if layer == "dense1" else w
            w = _copy(np.ascontiguousarray(w.T))
        dtype = getattr(torch, arrays["w"].dtype.name)
        leaves[layer] = {
            "w": w.to(dtype),
            "b": _copy(np.asarray(arrays["b"], np.float32)).to(dtype),
        }
    return leaves


def _returned(params: Any, leaves: Any) -> list[np.ndarray]:
    """The tensors as arrays of jaxcnn's layout, in the order of jax.tree.leaves."""
    arrays = []
    for layer in sorted(leaves):
        w, b = (_numpy(leaves[layer][name]).copy() for name in ("w", "b"))
        if w.ndim == 4:
            w = _from_kernel(w, False)
        else:
            w = _channels_last(w.T, params) if layer == "dense1" else w.T
        arrays += [b, w]
    return arrays


def _copy(a: Any) -> torch.Tensor:
    return _tensor(np.array(a))


def _side(w: np.ndarray, params: Any) -> tuple[int, int]:
    channels = np.asarray(params["conv4"]["w"]).shape[-1]
    return round((w.shape[0] // channels) ** 0.5), channels


def _channels_first(w: np.ndarray, params: Any) -> np.ndarray:
    """The rows of dense1 in the order in which torch flattens `[C, H, W]`."""
    n, c = _side(w, params)
    return np.moveaxis(w.reshape(n, n, c, -1), 2, 0).reshape(w.shape)


def _channels_last(w: np.ndarray, params: Any) -> np.ndarray:
    n, c = _side(w, params)
    return np.moveaxis(w.reshape(c, n, n, -1), 0, 2).reshape(w.shape)
