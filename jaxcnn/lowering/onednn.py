"""oneDNN, the engine inside jaxlib's own CPU wheel, called from a compiled program.

The call and its configuration were read from XLA's source and tried on the versions of `PROVEN`.
They are no public contract: a configuration that XLA does not know ends the process. So it is asked
for by version, processor and dtype, compared with XLA's own convolution once in every process, and
everything works without it. `JAXCNN_ONEDNN=0` turns it off.
"""

import functools
import math
import os
import platform
import warnings
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

from .._window import Window
from . import onednn_dw, plain
from .correlation import Correlation, Problem
from .onednn_call import channels_last, convolution, inputs_last, outputs_last

# The versions of jaxlib on which the call was proven, on Linux and x86-64.
PROVEN = ("0.10.2", "0.12.0", "0.12.0.1")
# What a processor must have for each dtype, as Linux names it; oneDNN refuses the others.
NEEDS = {"float32": "avx2", "bfloat16": "avx512_bf16", "float16": "avx512_fp16"}


def fits(p: Problem) -> bool:
    """Whether oneDNN takes the problem, here and now."""
    return takes(p) and wanted() and available(jnp.dtype(p.dtype).name)


def wanted() -> bool:
    """Whether the engine may be used: not where it is turned off, nor where programs are kept.

    JAX cannot write a program that holds the call into its persistent compilation cache, and warns
    at every compilation, unless what would be kept must have taken for ever to compile
    (`jax_persistent_cache_min_compile_time_secs`). `JAXCNN_ONEDNN=1` asks for the engine all the
    same.
    """
    asked = os.environ.get("JAXCNN_ONEDNN")
    if asked in ("0", "1"):
        return asked == "1"
    config = jax.config
    kept = config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    folder = config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    least = config.jax_persistent_cache_min_compile_time_secs  # pyright: ignore[reportAttributeAccessIssue]
    return not (kept and folder and math.isfinite(least))


def takes(p: Problem) -> bool:
    """Whether the call can express the problem; what it cannot would end the process."""
    c, window = p.c, p.window
    axes = len(p.k)
    most = 3 if not c.over_batch or onednn_dw.between(c, p.k) else 2
    # bfloat16 is left to XLA where the sum is wanted wider than its operands.
    narrow = c.dtype is None or c.dtype == p.dtype
    undilated = set(window.lhs_dilation) == {1}
    return (
        p.target.one_device
        and 1 <= axes <= most
        and jnp.dtype(p.dtype).name in NEEDS
        and narrow
        and undilated
        and min(*p.m, *p.k) > 0
        and all(_everywhere_something_is_read(p, axis) for axis in range(axes))
    )


def _everywhere_something_is_read(p: Problem, axis: int) -> bool:
    """Whether along this axis every place of the output reads an element of x.

    Where the padding is as wide as the kernel's reach, or x smaller than a dilated kernel's holes,
    some read zeros alone: of some of those calls oneDNN reads outside of x.
    """
    n, window = p.x[1 + axis], p.window
    kernel, outputs = (p.m, p.k) if p.c.over_batch else (p.k, p.m)
    low, high = window.padding[axis]
    first = np.arange(outputs[axis]) * window.strides[axis] - low
    taps = np.arange(kernel[axis]) * window.rhs_dilation[axis]
    # What negative padding cuts off is read by none.
    places = first[:, None] + taps
    inside = (places >= max(0, -low)) & (places < n - max(0, -high))
    return bool(inside.any(axis=1).all())


def run(x: jax.Array, w: jax.Array, c: Correlation, b: jax.Array | None = None) -> jax.Array:
    """The correlation, with its bias and its activation inside the call."""
    x, window = plain.cropped(x, c.window)
    c = c.with_(window=window)
    if c.over_batch:
        return onednn_dw.in_parts(x, w, c)
    if w.ndim == 3 and c.groups == x.shape[-1] > 1:
        # Of a depthwise layer of one axis oneDNN knows a slow loop alone.
        strides, dilation = window.strides, window.rhs_dilation
        row = Window((1, *strides), ((0, 0), *window.padding), (1, 1), (1, *dilation))
        return run(x[:, None], w[None], c.with_(window=row), b)[:, 0]
    axes, shape = w.ndim - 2, c.output_shape(x.shape, w.shape)
    kernel = outputs_last(axes)
    if c.exchanged and c.groups == 1:
        # oneDNN copies the kernel anyway; XLA need not exchange the channels for it.
        w, kernel = jnp.swapaxes(w, -1, -2), inputs_last(axes)
    return convolution(x, w, b, c, shape, channels_last(axes), kernel)


@functools.cache
def available(dtype: str) -> bool:
    """Whether a proven engine is there for operands of this dtype, and computes right."""
    if version("jaxlib") not in PROVEN:
        return False
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    return NEEDS[dtype] in _processor() and _computes_right(dtype)


@functools.cache
def _processor() -> frozenset[str]:
    """What the processor can do, as Linux names it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(frozenset(v.split()[2:]) for v in lines if v.startswith("flags"))
    except (OSError, StopIteration):
        return frozenset()


def lanes() -> int:
    """How many outputs oneDNN computes at a time: the numbers of 32 bits in a vector."""
    return 16 if "avx512f" in _processor() else 8


def _computes_right(dtype: str) -> bool:
    """A small asymmetric convolution and a dw, compared with XLA's: no contract has the call."""
    rng = np.random.default_rng(0)
    window = Window((1, 2), ((1, 0), (2, 1)), (1, 1), (2, 1))
    y = Correlation(window, groups=2, activation="relu")
    dw = y.linear().with_(groups=1).of_dw((7, 8), (3, 2))
    shapes = (3, 7, 8, 4), (3, 2, 2, 6), (6,), (3, 4, 5, 6)
    operands = [rng.normal(size=s).astype(dtype) for s in shapes]

    def by_onednn(x: jax.Array, w: jax.Array, b: jax.Array, g: jax.Array):
        return run(x, w, y, b), run(x, g, dw)

    def by_xla(x: jax.Array, w: jax.Array, b: jax.Array, g: jax.Array):
        both = plain.correlation(x, w, y), plain.correlation(x, g, dw)
        return plain.finished(both[0], b, y.activation), both[1]

    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        found = jax.jit(by_onednn)(*operands)
        expected = jax.jit(by_xla)(*operands)
    if all(_alike(a, b, dtype) for a, b in zip(found, expected, strict=True)):
        return True
    warnings.warn(
        f"jaxcnn: oneDNN inside jaxlib {version('jaxlib')} differs from XLA in {dtype} on this "
        "machine; XLA's own convolutions are used instead (JAXCNN_ONEDNN=0 says so from the start)",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _alike(found: jax.Array, expected: jax.Array, dtype: str) -> bool:
    rounding = 100 * float(jnp.finfo(dtype).eps)
    a, b = (np.asarray(v).astype(np.float32) for v in (found, expected))
    return a.shape == b.shape and np.allclose(a, b, rounding, rounding)
