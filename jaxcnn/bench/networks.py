"""The networks that `jaxcnn bench` times as a whole, in float32 and in bfloat16.

"post" and "wide" are the trainer's. "resnet" is three residual blocks of 16, 32 and 64 channels,
the last two with stride 2 and a 1x1 projection (He et al. 2016, for CIFAR's images, without batch
normalisation); "mobilenet" is two depthwise separable blocks (Howard et al. 2017) after a strided
convolution. Each is written once, over a namespace `layers`: `jaxcnn`, its reference, or PyTorch's.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import reference

from ..mnist import model, step

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Network:
    """A network.

    Attributes:
        image: the shape of one image of bytes: without channels it has one.
        shapes: of every layer's weights, in the order of the forward pass.
        apply: logits of the parameters, floats `[N, H, W, C]` and `layers`.
        at_once: how many images the trainer's evaluation takes at a time, by dtype; None for all.
    """

    image: tuple[int, ...]
    shapes: Shapes
    apply: Callable[[Any, Any, Any], Any]
    at_once: Callable[[str], int] | None = None


def _resnet(params: Any, x: Any, layers: Any) -> Any:
    def conv(name: str, x: Any, **options: Any) -> Any:
        return layers.conv(x, params[name]["w"], params[name]["b"], **options)

    x = conv("conv1", x, activation="relu")
    for block in (1, 2, 3):
        # As PyTorch pads, where SAME would add to one side alone.
        around: dict[str, Any] = dict(strides=2, padding=1) if block > 1 else {}
        y = conv(f"block{block}a", x, activation="relu", **around)
        y = conv(f"block{block}b", y)
        x = conv(f"block{block}p", x, strides=2, padding=0) if block > 1 else x
        x = layers.relu(x + y)
    return _classified(params, x, layers)


def _mobilenet(params: Any, x: Any, layers: Any) -> Any:
    def conv(name: str, x: Any, **options: Any) -> Any:
        w, b = params[name]["w"], params[name]["b"]
        return layers.conv(x, w, b, activation="relu", **options)

    x = conv("conv1", x, strides=2, padding=1)
    x = conv("depthwise1", x, feature_group_count=32)
    x = conv("pointwise1", x)
    x = conv("depthwise2", x, strides=2, padding=1, feature_group_count=64)
    x = conv("pointwise2", x)
    return _classified(params, x, layers)


def _classified(params: Any, x: Any, layers: Any) -> Any:
    """The mean over the 8x8 places that are left, and a dense layer."""
    x = layers.avg_pool(x, (8, 8))
    return layers.dense(x.reshape(x.shape[0], -1), params["dense"]["w"], params["dense"]["b"])


def _trainers(name: str) -> Network:
    def apply(params: Any, x: Any, layers: Any) -> Any:
        return model.apply(params, x, layers=layers)

    def at_once(dtype: str) -> int:
        return step.evaluation_batch(name, dtype)

    return Network((model.IMAGE_SIZE, model.IMAGE_SIZE), model.shapes(name), apply, at_once)


NETWORKS: Mapping[str, Network] = {
    "post": _trainers("post"),
    "wide": _trainers("wide"),
    "resnet": Network(
        (32, 32, 3),
        {
            "conv1": (3, 3, 3, 16),
            "block1a": (3, 3, 16, 16),
            "block1b": (3, 3, 16, 16),
            "block2a": (3, 3, 16, 32),
            "block2b": (3, 3, 32, 32),
            "block2p": (1, 1, 16, 32),
            "block3a": (3, 3, 32, 64),
            "block3b": (3, 3, 64, 64),
            "block3p": (1, 1, 32, 64),
            "dense": (64, 10),
        },
        _resnet,
    ),
    "mobilenet": Network(
        (32, 32, 3),
        {
            "conv1": (3, 3, 3, 32),
            "depthwise1": (3, 3, 1, 32),
            "pointwise1": (1, 1, 32, 64),
            "depthwise2": (3, 3, 1, 64),
            "pointwise2": (1, 1, 64, 128),
            "dense": (128, 10),
        },
        _mobilenet,
    ),
}


def parameters(network: str, dtype: str = "float32") -> Any:
    """Initial parameters, for a peer to start from too: weights N(0, 2 / fan in), biases 0."""
    if network in model.MODELS:
        # The same numbers in every dtype, but for their rounding.
        drawn = model.init(jax.random.key(0), network)
        return jax.tree.map(lambda a: a.astype(dtype), drawn)
    rng = np.random.default_rng(0)

    def layer(shape: tuple[int, ...]) -> dict[str, jax.Array]:
        w = rng.standard_normal(shape, np.float32) * math.sqrt(2 / math.prod(shape[:-1]))
        b = np.zeros(shape[-1], np.float32)
        return {"w": jnp.asarray(w, dtype), "b": jnp.asarray(b, dtype)}

    return {name: layer(shape) for name, shape in NETWORKS[network].shapes.items()}


def pixels(images: jax.Array, dtype: Any) -> jax.Array:
    """Bytes `[N, H, W]` or `[N, H, W, C]` as the network's input: over 255, with channels."""
    return model.pixels(images, dtype) if images.ndim == 3 else images.astype(dtype) / 255


def flops(network: str, batch: int) -> dict[str, int]:
    """Multiplications and additions of an evaluation and of a step, by these names.

    A step has each layer's forward pass, dx and dw; no dx of the first. Convolutions are counted
    with their padding.
    """
    counted: list[int] = []

    def conv(x: Any, w: Any, b: Any, **options: Any) -> Any:
        y = reference.conv(x, w, b, **options)
        counted.append(2 * math.prod(y.shape) * math.prod(w.shape[:-1]))
        return y

    def dense(x: Any, w: Any, b: Any, **options: Any) -> Any:
        counted.append(2 * x.shape[0] * math.prod(w.shape))
        return reference.dense(x, w, b, **options)

    layers = SimpleNamespace(**{**vars(reference), "conv": conv, "dense": dense})
    network_ = NETWORKS[network]
    x = jax.ShapeDtypeStruct((batch, *network_.image), np.uint8)
    params = {
        name: {
            "w": jax.ShapeDtypeStruct(shape, np.float32),
            "b": jax.ShapeDtypeStruct(shape[-1:], np.float32),
        }
        for name, shape in network_.shapes.items()
    }
    jax.eval_shape(
        lambda params, x: network_.apply(params, pixels(x, jnp.float32), layers), params, x
    )
    return {"evaluation": sum(counted), "step": 3 * sum(counted) - counted[0]}
