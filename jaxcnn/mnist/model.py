"""The network of the post and its wide sister, as functions of a dictionary of parameters.

Both are four convolutions, a max-pool after the second and the fourth, and two dense layers:

    CONV, ReLU, CONV, ReLU, POOL, CONV, ReLU, CONV, ReLU, POOL, dense 128, ReLU, dense 10

with SAME padding. "post" has kernels of 5x5, 5x5, 3x3, 3x3 and 4, 4, 8, 16 channels; "wide" has
3x3 kernels and 32, 32, 64, 64 channels. Every operation comes from the module `layers`:
`jaxcnn`, the hand-written rules, or `jaxcnn.reference`, the same network left to autodiff.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn

from ..pooling import Ties

Params = dict[str, dict[str, jax.Array]]

# Kernel width and output channels of conv1 to conv4.
MODELS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "post": ((5, 4), (5, 4), (3, 8), (3, 16)),
    "wide": ((3, 32), (3, 32), (3, 64), (3, 64)),
}
INITIALIZATIONS = ("he", "post")
IMAGE_SIZE = 28
HIDDEN = 128
CLASSES = 10

# Every place of the network in the order of the forward pass.
NAMES = (
    "input",
    *("conv1", "relu1", "conv2", "relu2", "pool1"),
    *("conv3", "relu3", "conv4", "relu4", "pool2"),
    *("dense1", "relu5", "logits", "probabilities"),
)


def shapes(model: str = "post") -> dict[str, tuple[int, ...]]:
    """The shape of each layer's weights, in the order of the network.

    Examples:
        >>> shapes("post")["conv2"], shapes("post")["dense1"]
        ((5, 5, 4, 4), (784, 128))
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}; got {model!r}")
    result, channels = {}, 1
    for number, (width, features) in enumerate(MODELS[model], start=1):
        result[f"conv{number}"] = (width, width, channels, features)
        channels = features
    flat = (IMAGE_SIZE // 4) ** 2 * channels
    return result | {"dense1": (flat, HIDDEN), "dense2": (HIDDEN, CLASSES)}


def init(
    key: jax.Array, model: str = "post", *, scheme: str = "he", dtype: Any = jnp.float32
) -> Params:
    """Fresh parameters: `{"conv1": {"w", "b"}, ..., "dense2": {"w", "b"}}`.

    Args:
        key: a JAX random key.
        model: "post" or "wide".
        scheme: "he": weights N(0, 2 / fan in), biases 0, which keeps the variance of the
            activations through ReLU layers (He et al. 2015). "post": as the post's notebook,
            weights N(0, 1) times 0.5 in convolutions and 0.1 in dense layers, biases 0.15 and 1.15.
        dtype: of every parameter.

    Raises:
        ValueError: the model or the scheme is none of these.

    Examples:
        >>> params = init(jax.random.key(0), scheme="post")
        >>> params["dense2"]["w"].shape, round(float(params["conv1"]["b"][0]), 2)
        ((128, 10), 0.15)
    """
    if scheme not in INITIALIZATIONS:
        raise ValueError(f"scheme must be one of {', '.join(INITIALIZATIONS)}; got {scheme!r}")
    layer_shapes = shapes(model)
    sizes = [math.prod(shape) for shape in layer_shapes.values()]
    # One flat draw: XLA takes seconds to compile one of four axes for each layer.
    draws = jnp.split(jax.random.normal(key, (sum(sizes),), dtype), np.cumsum(sizes)[:-1])
    params = {}
    for draw, (name, shape) in zip(draws, layer_shapes.items(), strict=True):
        if scheme == "he":
            scale, bias = math.sqrt(2 / math.prod(shape[:-1])), 0.0
        else:
            scale, bias = (0.5, 0.15) if name.startswith("conv") else (0.1, 1.15)
        w = draw.reshape(shape) * jnp.asarray(scale, dtype)
        params[name] = {"w": w, "b": jnp.full(shape[-1:], bias, dtype)}
    return params


def pixels(images: jax.Array | np.ndarray, dtype: Any = jnp.float32) -> jax.Array:
    """Images uint8 `[N.., 28, 28]` as the network's input `[N.., 28, 28, 1]`: pixels over 255.

    Examples:
        >>> pixels(jnp.full((2, 28, 28), 255, jnp.uint8)).shape
        (2, 28, 28, 1)
    """
    return jnp.asarray(images)[..., None].astype(dtype) / jnp.asarray(255, dtype)


def apply(
    params: Params, images: jax.Array, *, layers: Any = jaxcnn, ties: Ties = "first"
) -> jax.Array:
    """Logits `[N.., 10]` of images `[N.., 28, 28, 1]`, floats of the parameters' dtype.

    Args:
        params: as `init` makes them; the widths of the network are read off their shapes.
        images: the input, see `pixels`.
        layers: the module whose conv, relu, max_pool and dense are used.
        ties: where the max-pools send the gradient of tied elements, see `jaxcnn.max_pool`.

    Examples:
        >>> apply(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1))).shape
        (2, 10)
    """
    return _forward(params, images, layers, ties)


def activations(params: Params, images: jax.Array, *, layers: Any = jaxcnn) -> dict[str, jax.Array]:
    """Every activation of the forward pass by its name, in the order of `NAMES` (jit sorts them).

    Examples:
        >>> places = activations(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1)))
        >>> places["pool2"].shape, places["probabilities"].shape
        ((2, 7, 7, 16), (2, 10))
    """
    places: dict[str, jax.Array] = {}

    def keep(name: str, x: jax.Array) -> jax.Array:
        places[name] = x
        return x

    logits = _forward(params, images, layers, "first", keep)
    return places | {"probabilities": layers.softmax(logits)}


def activation_gradients(
    params: Params,
    images: jax.Array,
    labels: jax.Array,
    *,
    layers: Any = jaxcnn,
    ties: Ties = "first",
) -> dict[str, jax.Array]:
    """The gradient of the mean cross entropy J at every named activation, keyed as `activations`.

    It is taken at zeros added to each activation: dJ/d(x + e) at e = 0 is dJ/dx. The probabilities
    p lie beside the path, since the loss is computed from the logits; there the gradient is the
    post's dJ/dp = -y / (m p), y the one-hot label and m the number of images. It is -inf where the
    label's probability has underflowed to 0.

    Args:
        params: as for `apply`.
        images: `[N.., 28, 28, 1]`.
        labels: integers `[N..]`.
        layers: the module whose rules (or whose autodiff) carry the gradient.
        ties: where the max-pools send the gradient of tied elements, see `jaxcnn.max_pool`.

    Examples:
        >>> params, images = init(jax.random.key(0)), jnp.ones((2, 28, 28, 1))
        >>> gradients = activation_gradients(params, images, jnp.array([3, 7]))
        >>> gradients["logits"].shape, bool(jnp.all(gradients["logits"][0].argmin() == 3))
        ((2, 10), True)
    """
    places = activations(params, images, layers=layers)
    probabilities = places.pop("probabilities")

    def loss(zeros: dict[str, jax.Array]) -> jax.Array:
        logits = _forward(params, images, layers, ties, lambda name, x: x + zeros[name])
        return layers.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradients = jax.grad(loss)(jax.tree.map(jnp.zeros_like, places))
    one_hot = jax.nn.one_hot(labels, CLASSES, dtype=probabilities.dtype)
    return {name: gradients[name] for name in places} | {
        "probabilities": jnp.where(one_hot > 0, -one_hot / (labels.size * probabilities), 0)
    }


def _forward(
    params: Params,
    images: jax.Array,
    layers: Any,
    ties: Ties,
    at: Callable[[str, jax.Array], jax.Array] | None = None,
) -> jax.Array:
    def activated(layer: Callable, x: jax.Array, name: str, number: int) -> jax.Array:
        w, b = params[name]["w"], params[name]["b"]
        if at is None:  # nobody looks between them: relu belongs to the layer
            return layer(x, w, b, activation="relu")
        return seen(f"relu{number}", layers.relu(seen(name, layer(x, w, b))))

    seen = at or (lambda name, x: x)
    x = seen("input", images)
    for number in (1, 2, 3, 4):
        x = activated(layers.conv, x, f"conv{number}", number)
        if number % 2 == 0:
            x = seen(f"pool{number // 2}", layers.max_pool(x, (2, 2), (2, 2), ties=ties))
    # An explicit size and no -1, which an empty batch leaves undecided.
    x = x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))
    x = activated(layers.dense, x, "dense1", 5)
    return seen("logits", layers.dense(x, params["dense2"]["w"], params["dense2"]["b"]))
