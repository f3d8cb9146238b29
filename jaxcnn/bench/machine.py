"""What the benchmark ran on, and how fast that can be."""

import os
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..lowering import onednn
from .timing import interleaved


def matrix_product_rate(n: int = 2048) -> float:
    """Multiplications and additions a second of a float32 matrix product, its best sample."""
    a, b = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
    a, b = jnp.asarray(a), jnp.asarray(b)
    product = jax.jit(jnp.matmul)
    samples = interleaved({"product": lambda: product(a, b)}, repeats=10)["product"].samples
    return 2 * n**3 / min(samples)


def tf32() -> bool:
    """Whether this is a GPU that may round what a float32 product multiplies to ten bits."""
    asked = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    full = asked in ("highest", "float32")
    return jax.default_backend() == "gpu" and not full


def describe(torch_peer: Any = None) -> dict[str, Any]:
    """Device, processors and versions."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = device.device_kind if device.platform != "cpu" else f"{_processor()}, {cores} cores"
    return {
        "device": kind,
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "cores": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "onednn": [dtype for dtype in ("float32", "bfloat16") if onednn_in(dtype)],
        "asynchronous": _asynchronous(),
        "batch": _in_batch(),
        "tf32": tf32(),
        "torch": torch_peer.torch.__version__ if torch_peer else None,
    }


def onednn_in(dtype: str) -> bool:
    """Whether oneDNN computes convolutions of this dtype here."""
    cpu = jax.default_backend() == "cpu"
    return cpu and onednn.wanted() and onednn.available(dtype)


def _asynchronous() -> bool:
    asked = jax.config.read("jax_cpu_enable_async_dispatch")
    return jax.default_backend() != "cpu" or asked


def _in_batch() -> bool:
    linux = hasattr(os, "SCHED_BATCH")
    return linux and os.sched_getscheduler(0) == os.SCHED_BATCH


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
