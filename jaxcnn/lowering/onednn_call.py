"""The call of oneDNN's convolution inside a compiled program, and its configuration.

Both were read from XLA's source. In the configuration every number is a string.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from .correlation import Correlation


class Order(NamedTuple):
    """Where an operand's axes lie: of an image batch and channels, of a kernel inputs and outputs.

    oneDNN copies the kernel into an order of its own anyway. The image and the result it leaves as
    they are: channels last in both, or channels first in both; else it falls to a naive loop.
    """

    first: int
    second: int
    space: Sequence[int]


def channels_last(axes: int) -> Order:
    return Order(0, axes + 1, range(1, axes + 1))


def channels_first(axes: int) -> Order:
    return Order(0, 1, range(2, axes + 2))


def outputs_last(axes: int) -> Order:
    return Order(axes, axes + 1, range(axes))


def inputs_last(axes: int) -> Order:
    return Order(axes + 1, axes, range(axes))


def batch_first(axes: int) -> Order:
    """A cotangent as the kernel: its batch is the channel that is summed."""
    return Order(0, axes + 1, range(1, axes + 1))


def convolution(
    x: jax.Array,
    w: jax.Array,
    b: jax.Array | None,
    c: Correlation,
    shape: Sequence[int],
    image: Order,
    kernel: Order,
) -> jax.Array:
    """A tensor of this shape; `c.window`, `c.groups` and `c.activation` are those of the call."""
    biases = [] if b is None else [b.astype(x.dtype)]
    ops = ["BIAS"] * len(biases) + ["RELU"] * (c.activation == "relu")
    size = [w.shape[axis] for axis in kernel.space]
    call = jax.ffi.ffi_call(
        "__onednn$convolution",
        jax.ShapeDtypeStruct(tuple(shape), x.dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps(
            {"onednn_conv_config": _configuration(size, c, ops, image, kernel)}
        ),
    )
    return call(x, w, *biases)


def _configuration(
    size: Sequence[int], c: Correlation, ops: list[str], image: Order, kernel: Order
) -> dict[str, Any]:
    """The call's own description of the convolution: every number is a string there."""
    dims, window = str(len(size) + 2), c.window

    def text(values: Any):
        return [str(v) for v in values]

    data = {
        "batchDim": str(image.first),
        "featureDim": str(image.second),
        "spatialDims": text(image.space),
    }
    kernels = {
        "inputFeatureDim": str(kernel.first),
        "outputFeatureDim": str(kernel.second),
        "spatialDims": text(kernel.space),
    }
    tensor = {"dims": dims, "data": data}
    return {
        "dims": dims,
        "input": tensor,
        "output": tensor,
        "kernel": {"dims": dims, "filter": kernels},
        "window": {
            "size": text(size),
            "strides": text(window.strides),
            "windowDilations": text(window.rhs_dilation),
            "padLeft": text(low for low, _ in window.padding),
            "padRight": text(high for _, high in window.padding),
        },
        "featureGroups": str(c.groups),
        "fusions": {"ops": ops},
    }
