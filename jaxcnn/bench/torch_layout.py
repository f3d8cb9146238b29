"""Arrays of `jaxcnn`'s layout as PyTorch's tensors, and back."""

from collections.abc import Callable

import numpy as np
import torch

from .torch_device import tensor

LAYOUTS = ("NCHW", "channels_last")


def placed(layout: str, axes: int) -> Callable[[np.ndarray], torch.Tensor]:
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    form = formats[axes] if layout == "channels_last" else torch.contiguous_format
    return lambda a: tensor(a).contiguous(memory_format=form)


def channels_second(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, -1, 1)


def to_kernel(w: np.ndarray, transposed: bool) -> np.ndarray:
    """`[K.., I, O]` as `[O, I, K..]`, or flipped and as `[I, O, K..]` where it is transposed."""
    if not transposed:
        return np.moveaxis(w, (-1, -2), (0, 1))
    return np.moveaxis(np.flip(w, tuple(range(w.ndim - 2))), (-2, -1), (0, 1))


def from_kernel(w: np.ndarray, transposed: bool) -> np.ndarray:
    if not transposed:
        return np.moveaxis(w, (0, 1), (-1, -2))
    return np.flip(np.moveaxis(w, (0, 1), (-2, -1)), tuple(range(w.ndim - 2)))
