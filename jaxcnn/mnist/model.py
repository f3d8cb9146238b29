"""The network of the post, and others in words, as functions of a dictionary of parameters.

The post's is four convolutions, a max-pool after the second and the fourth, and two dense layers:

    CONV, ReLU, CONV, ReLU, POOL, CONV, ReLU, CONV, ReLU, POOL, dense 128, ReLU, dense 10

with SAME padding; "wide", its sister, differs in its channels and kernels alone. `description.py`
has both in the words in which any other network is given. Every operation comes from the module
`layers`: `jaxcnn`, the hand-written rules, or `jaxcnn.reference`, the same left to autodiff.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn

from ..pooling import Ties
from . import description
from .description import CLASSES as CLASSES
from .description import IMAGE_SIZE as IMAGE_SIZE
from .description import MODELS as MODELS

Params = dict[str, dict[str, jax.Array]]

INITIALIZATIONS = ("he", "post")


def names(model: str = "post") -> tuple[str, ...]:
    """Every place of a network in the order of the forward pass.

    Examples:
        >>> names("conv 8 5x5, pool 2")
        ('input', 'conv1', 'relu1', 'pool1', 'logits', 'probabilities')
    """
    places = [[layer.place, layer.relu] for layer in description.read(model)]
    return ("input", *(name for both in places for name in both if name), "probabilities")


# Those of the post's network.
NAMES = names()


def shapes(model: str = "post") -> dict[str, tuple[int, ...]]:
    """The shape of each layer's weights, in the order of the network.

    Examples:
        >>> shapes("post")["conv2"], shapes("post")["dense1"]
        ((5, 5, 4, 4), (784, 128))
    """
    return {layer.name: layer.weights for layer in description.read(model) if layer.weights}


def init(
    key: jax.Array, model: str = "post", *, scheme: str = "he", dtype: Any = jnp.float32
) -> Params:
    """Fresh parameters: `{"conv1": {"w", "b"}, ..., "dense2": {"w", "b"}}`.

    Args:
        key: a JAX random key.
        model: "post", "wide", or a network in words, see `description`.
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
    params: Params,
    images: jax.Array,
    *,
    model: str = "post",
    layers: Any = jaxcnn,
    ties: Ties = "first",
    dtype: Any = None,
) -> jax.Array:
    """Logits `[N.., 10]` of images `[N.., 28, 28, 1]`, floats of the parameters' dtype.

    Args:
        params: as `init` makes them.
        images: the input, see `pixels`.
        model: whose layers, in their order. Channels and kernels are read off the parameters, so
            "post" stands for "wide" too.
        layers: the module whose conv, relu, max_pool and dense are used.
        ties: where the max-pools send the gradient of tied elements, see `jaxcnn.max_pool`.
        dtype: what every layer computes in: bfloat16, or None for the parameters' own. The logits
            come back in the parameters'.

    Examples:
        >>> apply(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1))).shape
        (2, 10)
    """
    return _forward(params, images, model, layers, ties, dtype)


def activations(
    params: Params,
    images: jax.Array,
    *,
    model: str = "post",
    layers: Any = jaxcnn,
    dtype: Any = None,
) -> dict[str, jax.Array]:
    """Every activation of the forward pass by its name, in the order of `names` (jit sorts them).

    Examples:
        >>> places = activations(init(jax.random.key(0)), jnp.zeros((2, 28, 28, 1)))
        >>> places["pool2"].shape, places["probabilities"].shape
        ((2, 7, 7, 16), (2, 10))
    """
    places: dict[str, jax.Array] = {}

    def keep(name: str, x: jax.Array) -> jax.Array:
        places[name] = x
        return x

    logits = _forward(params, images, model, layers, "first", dtype, keep)
    return places | {"probabilities": layers.softmax(logits)}


def activation_gradients(
    params: Params,
    images: jax.Array,
    labels: jax.Array,
    *,
    model: str = "post",
    layers: Any = jaxcnn,
    ties: Ties = "first",
    dtype: Any = None,
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
        model: whose layers, as for `apply`.
        layers: the module whose rules (or whose autodiff) carry the gradient.
        ties: where the max-pools send the gradient of tied elements, see `jaxcnn.max_pool`.
        dtype: what every layer computes in, as for `apply`.

    Examples:
        >>> params, images = init(jax.random.key(0)), jnp.ones((2, 28, 28, 1))
        >>> gradients = activation_gradients(params, images, jnp.array([3, 7]))
        >>> gradients["logits"].shape, bool(jnp.all(gradients["logits"][0].argmin() == 3))
        ((2, 10), True)
    """
    places = activations(params, images, model=model, layers=layers, dtype=dtype)
    probabilities = places.pop("probabilities")

    def loss(zeros: dict[str, jax.Array]) -> jax.Array:
        logits = _forward(
            params, images, model, layers, ties, dtype, lambda name, x: x + zeros[name]
        )
        return layers.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradients = jax.grad(loss)(jax.tree.map(jnp.zeros_like, places))
    one_hot = jax.nn.one_hot(labels, CLASSES, dtype=probabilities.dtype)
    return {name: gradients[name] for name in places} | {
        "probabilities": jnp.where(one_hot > 0, -one_hot / (labels.size * probabilities), 0)
    }


def _forward(
    params: Params,
    images: jax.Array,
    model: str,
    layers: Any,
    ties: Ties,
    dtype: Any,
    at: Callable[[str, jax.Array], jax.Array] | None = None,
) -> jax.Array:
    if dtype is not None:
        rounded, x = jax.tree.map(lambda v: v.astype(dtype), (params, images))
        logits = _forward(rounded, x, model, layers, ties, None, at)
        return logits.astype(jax.tree.leaves(params)[0].dtype)
    seen = at or (lambda name, x: x)
    x, flat = seen("input", images), False
    for layer in description.read(model):
        if layer.kind == "pool":
            window = (layer.size, layer.size)
            x = seen(layer.name, layers.max_pool(x, window, window, ties=ties))
            continue
        if layer.kind == "dense" and not flat:
            # An explicit size and no -1, which an empty batch leaves undecided.
            x, flat = x.reshape(*x.shape[:-3], math.prod(x.shape[-3:])), True
        w, b = params[layer.name]["w"], params[layer.name]["b"]
        apply_layer = layers.conv if layer.kind == "conv" else layers.dense
        if layer.relu is None:
            x = seen(layer.place, apply_layer(x, w, b))
        elif at is None:  # nobody looks between them: relu belongs to the layer
            x = apply_layer(x, w, b, activation="relu")
        else:
            x = seen(layer.relu, layers.relu(seen(layer.place, apply_layer(x, w, b))))
    return x
