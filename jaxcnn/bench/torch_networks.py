"""The training step and the evaluation of whole networks in PyTorch."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.compiler.config
import torch.nn.functional as F

from .networks import NETWORKS
from .program import Program
from .torch_device import numpy, tensor, waited
from .torch_layout import LAYOUTS, channels_second, from_kernel, placed, to_kernel


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
    network: str, params: Any, images: np.ndarray, *, compiled: bool, at_once: int | None = None
) -> dict[str, Program]:
    """The logits of a batch, by mode: of all images at a time, and of so many."""
    n = len(images)
    return {
        f"{mode} by {part}" if part < n else mode: _evaluation(
            network, params, images, layout, compile_, part
        )
        for part in sorted({n, at_once or n}, reverse=True)
        for mode, layout, compile_ in _modes(compiled)
    }


def _modes(compiled: bool) -> Iterator[tuple[str, str, bool]]:
    for layout in LAYOUTS:
        for compile_ in (False, True) if compiled else (False,):
            yield f"{layout} {'compiled' if compile_ else 'eager'}", layout, compile_


def _step(
    network: str,
    params: Any,
    images: np.ndarray,
    labels: np.ndarray,
    learning_rate: float,
    momentum: float,
    layout: str,
    compile_: bool,
) -> Program:
    leaves = _leaves(params, layout)
    tensors = [t.requires_grad_() for pair in leaves.values() for t in pair.values()]
    # The fused one leaves a bfloat16 bias of 16 elements or more as it was (PyTorch 2.13).
    fused = tensors[0].dtype == torch.float32
    optimizer = torch.optim.SGD(tensors, lr=learning_rate, momentum=momentum, fused=fused)
    x_bytes, targets = _images(images), tensor(labels).long()
    logits_of = _logits(network, leaves, layout)

    def forward(x_bytes: torch.Tensor):
        logits = logits_of(x_bytes)
        loss = F.cross_entropy(logits.float(), targets)
        return loss, (logits.argmax(-1) == targets).float().mean()

    f = _compiled(forward) if compile_ else forward

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
    first = [numpy(loss).copy(), *back, *_returned(params, gradients)]
    return Program(waited(call), lambda: first)


def _evaluation(
    network: str, params: Any, images: np.ndarray, layout: str, compile_: bool, part: int
) -> Program:
    f = _logits(network, _leaves(params, layout), layout)
    f = _compiled(f) if compile_ else f
    parts = _images(images).split(part)

    def call():
        with torch.no_grad():
            found = [f(x_bytes) for x_bytes in parts]
            return found[0] if len(found) == 1 else torch.cat(found)

    return Program(waited(call), lambda: [numpy(call())])


def _compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` compiled for its own network, layout and dtype.

    The same lines make all of them, and PyTorch gives up after compiling one line eight times.
    """
    torch.compiler.config.recompile_limit = 64
    return torch.compile(f, dynamic=False)


def _images(images: np.ndarray) -> torch.Tensor:
    """Bytes `[N, C, H, W]`."""
    return tensor(channels_second(images) if images.ndim == 4 else images[:, None])


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
        x: torch.Tensor,
        w: torch.Tensor,
        b: torch.Tensor,
        *,
        strides: int = 1,
        padding: str | int = "SAME",
        feature_group_count: int = 1,
        activation: str | None = None,
    ):
        around = "same" if padding == "SAME" else padding
        y = F.conv2d(x, w, b, strides, around, groups=feature_group_count)
        return y if activation is None else F.relu(y)

    @staticmethod
    def max_pool(
        x: torch.Tensor, window_shape: tuple[int, ...], strides: int, *, ties: str = "first"
    ):
        assert ties == "first"
        return F.max_pool2d(x, window_shape, strides)

    @staticmethod
    def avg_pool(x: torch.Tensor, window_shape: tuple[int, ...]):
        return F.avg_pool2d(x, window_shape, 1)

    @staticmethod
    def dense(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *, activation: str | None = None):
        y = F.linear(x, w, b)
        return y if activation is None else F.relu(y)


def _leaves(params: Any, layout: str) -> dict[str, dict[str, torch.Tensor]]:
    """The parameters of a network as PyTorch has them: kernels `[O, I, H, W]`, dense `[O, I]`."""
    place = placed(layout, 2)
    leaves = {}
    for layer, arrays in params.items():
        w = np.asarray(arrays["w"], np.float32)
        if w.ndim == 4:
            w = place(to_kernel(w, False))
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
        w, b = (numpy(leaves[layer][name]).copy() for name in ("w", "b"))
        if w.ndim == 4:
            w = from_kernel(w, False)
        else:
            w = _channels_last(w.T, params) if layer == "dense1" else w.T
        arrays += [b, w]
    return arrays


def _copy(a: Any) -> torch.Tensor:
    return tensor(np.array(a))


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
