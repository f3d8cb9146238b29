"""Where PyTorch computes, and the arrays that go there and come back."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

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


def tensor(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(a)).to(_device)


def numpy(t: torch.Tensor) -> np.ndarray:
    return t.detach().float().cpu().numpy()


def waited(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, and then until a GPU is done with it."""
    if _device.type != "cuda":
        return call

    def until_done():
        out = call()
        torch.cuda.synchronize()
        return out

    return until_done
