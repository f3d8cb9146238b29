"""oneDNN, the engine inside jaxlib's own CPU wheel, called from a compiled program.

The call and its configuration were read from XLA's source and tried on the versions of `PROVEN`.
They are no public contract: a configuration that XLA does not know ends the process. So it is asked
for by version, processor and dtype, compared with XLA's own convolution once in every process, and
everything works without it. `JAXCNN_ONEDNN=0` turns it off.
"""

import functools
import json
import math
import os
import platform
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._window import Window
from . import plain
from .correlation import Correlation, Problem
from .parts import parts_in_cache

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
    # dw lays the channels of x on one more axis, but where every channel is a group.
    most = 3 if not c.over_batch or p.depthwise else 2
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
        return _over_batch_in_parts(x, w, c)
    return _convolution(x, w, c, b)


def _convolution(
    x: jax.Array, w: jax.Array, c: Correlation, b: jax.Array | None = None
) -> jax.Array:
    biases = [] if b is None else [b.astype(x.dtype)]
    ops = ["BIAS"] * len(biases) + ["RELU"] * (c.activation == "relu")
    shape = c.output_shape(x.shape, w.shape)
    call = jax.ffi.ffi_call(
        "__onednn$convolution",
        jax.ShapeDtypeStruct(shape, x.dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps({"onednn_conv_config": _configuration(w.shape, c, ops)}),
    )
    return call(x, w, *biases)


def _configuration(w: Sequence[int], c: Correlation, ops: list[str]) -> dict[str, Any]:
    """The call's own description of the convolution: every number is a string there."""
    axes, window = len(w) - 2, c.window

    def text(values: Any):
        return [str(v) for v in values]

    image = {"batchDim": "0", "featureDim": str(axes + 1), "spatialDims": text(range(1, axes + 1))}
    kernel = {
        "inputFeatureDim": str(axes),
        "outputFeatureDim": str(axes + 1),
        "spatialDims": text(range(axes)),
    }
    tensor = {"dims": str(axes + 2), "data": image}
    return {
        "dims": str(axes + 2),
        "input": tensor,
        "output": tensor,
        "kernel": {"dims": str(axes + 2), "filter": kernel},
        "window": {
            "size": text(w[:axes]),
            "strides": text(window.strides),
            "windowDilations": text(window.rhs_dilation),
            "padLeft": text(low for low, _ in window.padding),
            "padRight": text(high for _, high in window.padding),
        },
        "featureGroups": str(c.groups),
        "fusions": {"ops": ops},
    }


def _over_batch_in_parts(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """`dw`, one part of the batch after the other, so that its transposed copies stay in cache."""
    parts = parts_in_cache(x.shape, g.shape)
    x, g = (v.reshape(parts, -1, *v.shape[1:]) for v in (x, g))
    dw = _over_batch(x[0], g[0], c)
    if parts == 1:
        return dw
    return lax.fori_loop(1, parts, lambda i, dw: dw + _over_batch(x[i], g[i], c), dw)


def _over_batch(x: jax.Array, g: jax.Array, c: Correlation) -> jax.Array:
    """`dw` by the forward convolution: the batch is the channel that is summed.

    The channels of x are one more spatial axis, over which the kernel has one tap.
    """
    n, *space, channels = x.shape
    groups, window = c.groups, c.window
    each = channels // groups
    image = x.reshape(n, *space, groups, each)
    # [S.., C/G, G, N], the groups' blocks of the batch side by side.
    axes = len(space)
    image = jnp.transpose(image, (*range(1, axes + 1), axes + 2, axes + 1, 0))
    image = image.reshape(1, *space, each, groups * n)
    kernel = jnp.expand_dims(jnp.moveaxis(g, 0, -2), -3)
    wider = Window(
        (*window.strides, 1),
        (*window.padding, (0, 0)),
        (*window.lhs_dilation, 1),
        (*window.rhs_dilation, 1),
    )
    if each == 1:
        wider, image, kernel = window, jnp.squeeze(image, -2), jnp.squeeze(kernel, -3)
    dw = _convolution(image, kernel, c.with_(window=wider, over_batch=False))[0]
    return dw if each > 1 else jnp.expand_dims(dw, -2)


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


def _computes_right(dtype: str) -> bool:
    """One small asymmetric convolution compared with XLA's own: the call is no public contract."""
    rng = np.random.default_rng(0)
    window = Window((1, 2), ((1, 0), (2, 1)), (1, 1), (2, 1))
    c = Correlation(window, groups=2, activation="relu")
    operands = [rng.normal(size=s).astype(dtype) for s in ((2, 7, 8, 4), (3, 2, 2, 6), (6,))]

    def by_onednn(x: jax.Array, w: jax.Array, b: jax.Array):
        return run(x, w, c, b)

    def by_xla(x: jax.Array, w: jax.Array, b: jax.Array):
        return plain.finished(plain.correlation(x, w, c), b, c.activation)

    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        found = jax.jit(by_onednn)(*operands)
        expected = jax.jit(by_xla)(*operands)
    found, expected = (np.asarray(v).astype(np.float32) for v in (found, expected))
    rounding = 100 * float(jnp.finfo(dtype).eps)
    if found.shape == expected.shape and np.allclose(found, expected, rounding, rounding):
        return True
    warnings.warn(
        f"jaxcnn: oneDNN inside jaxlib {version('jaxlib')} differs from XLA in {dtype} on this "
        "machine; XLA's own convolutions are used instead (JAXCNN_ONEDNN=0 says so from the start)",
        RuntimeWarning,
        stacklevel=2,
    )
    return False
