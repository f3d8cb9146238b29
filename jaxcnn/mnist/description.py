"""A network in words: "conv 8 5x5, pool 2, conv 16 3x3, pool 2, dense 64", read and checked.

    conv N KxK    a convolution to N channels with kernels of KxK, SAME padding, then ReLU
    pool K        max-pooling over windows of KxK with stride K
    dense N       a dense layer of N units, then ReLU

The layers stand in the order of the forward pass, the dense ones last; a dense layer to the ten
logits follows of itself. K of a convolution is odd, and 3 where it is left out.
"""

import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

IMAGE_SIZE = 28
CLASSES = 10
MODELS: Mapping[str, str] = {
    "post": "conv 4 5x5, conv 4 5x5, pool 2, conv 8 3x3, conv 16 3x3, pool 2, dense 128",
    "wide": "conv 32 3x3, conv 32 3x3, pool 2, conv 64 3x3, conv 64 3x3, pool 2, dense 128",
}
EXAMPLE = "conv 8 5x5, pool 2, conv 16 3x3, pool 2, dense 64"
# 200 MB in float32; the optimiser's state is twice as much again.
_MOST_PARAMETERS = 50_000_000
_FORMS = (
    re.compile(r"(conv) (\d{1,9})(?: (\d{1,9})(?: ?x ?(\d{1,9}))?)?"),
    re.compile(r"(pool) (\d{1,9})(?: ?x ?(\d{1,9}))?"),
    re.compile(r"(dense) (\d{1,9})"),
)


@dataclass(frozen=True)
class Layer:
    """One layer of a network, with the sizes that follow from those before it.

    Attributes:
        kind: "conv", "pool" or "dense".
        name: the kind and its number, from 1: "conv2".
        output: the shape that it makes of one image.
        weights: the shape of its weights; None for a pool.
        size: the side of its kernels or windows; 0 for a dense layer.
        relu: what the ReLU after it is called; None where there is none.
    """

    kind: Literal["conv", "pool", "dense"]
    name: str
    output: tuple[int, ...]
    weights: tuple[int, ...] | None = None
    size: int = 0
    relu: str | None = None

    @property
    def place(self) -> str:
        """What its output is called: as the layer is, or "logits"."""
        return "logits" if self.kind == "dense" and self.relu is None else self.name

    @property
    def parameters(self) -> int:
        """How many numbers it learns, biases included."""
        return 0 if self.weights is None else math.prod(self.weights) + self.weights[-1]

    @property
    def products(self) -> int:
        """How many products its forward pass adds up for one image."""
        return 0 if self.weights is None else math.prod(self.output[:-1] + self.weights)


@functools.cache
def read(model: str = "post") -> tuple[Layer, ...]:
    """The layers of a network, the last dense one included.

    Args:
        model: "post", "wide", or the network in words.

    Raises:
        ValueError: the words describe no network; the message names the layer that does not fit.

    Examples:
        >>> [(layer.name, layer.output) for layer in read("conv 8 5x5, pool 2, dense 64")]
        [('conv1', (28, 28, 8)), ('pool1', (14, 14, 8)), ('dense1', (64,)), ('dense2', (10,))]
    """
    layers: list[Layer] = []
    for words in MODELS.get(model, model).split(","):
        words = " ".join(words.split())
        match = next((m for form in _FORMS if (m := form.fullmatch(words))), None)
        if match is None:
            whole = "" if words == model else f" in {model!r}"
            raise ValueError(
                f"model must be one of {', '.join(MODELS)}, or layers such as {EXAMPLE!r};"
                f" got {words!r}{whole}"
            )
        kind, *sizes = match.groups()
        where = f"layer {len(layers) + 1} of the model, {words!r},"
        layers.append(_layer(kind, [int(size) for size in sizes if size], layers, where))
    layers.append(_dense(CLASSES, layers, last=True))
    if (count := sum(layer.parameters for layer in layers)) > _MOST_PARAMETERS:
        raise ValueError(
            f"model {model!r} has {count:,} parameters: {_MOST_PARAMETERS:,} are the most"
        )
    return tuple(layers)


def widest(model: str) -> int:
    """The most numbers that one of its layers reads and writes of one image.

    Examples:
        >>> widest("wide") == 28 * 28 * (32 + 32)
        True
    """
    sizes = [IMAGE_SIZE**2, *(math.prod(layer.output) for layer in read(model))]
    return max(a + b for a, b in itertools.pairwise(sizes))


def canonical(model: str) -> str:
    """The words that all spellings of a network have in common; a name stays what it is.

    Examples:
        >>> canonical("conv 8,  pool 2x2")
        'conv 8 3x3, pool 2'
    """
    if model in MODELS:
        return model
    words = []
    for layer in read(model)[:-1]:
        channels = "" if layer.kind == "pool" else f" {layer.output[-1]}"
        kernel = f" {layer.size}x{layer.size}" if layer.kind == "conv" else ""
        window = f" {layer.size}" if layer.kind == "pool" else ""
        words.append(f"{layer.kind}{channels}{kernel}{window}")
    return ", ".join(words)


def summary(model: str) -> str:
    """The layers as a table: what each makes of an image, and how many parameters it has."""
    rows = [("layer", "", "output", "parameters")]
    for layer in read(model):
        does = [f"{layer.size}x{layer.size}"] if layer.size else []
        does += ["relu"] if layer.relu else []
        count = f"{layer.parameters:,}" if layer.parameters else ""
        rows.append((layer.name, ", ".join(does), "x".join(map(str, layer.output)), count))
    rows.append(("in all", "", "", f"{sum(layer.parameters for layer in read(model)):,}"))
    a, b, c, d = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [f"  {w:<{a}}  {x:<{b}}  {y:<{c}}  {z:>{d}}".rstrip() for w, x, y, z in rows]
    return "\n".join(lines)


def _layer(kind: str, sizes: list[int], before: Sequence[Layer], where: str) -> Layer:
    if 0 in sizes:
        raise ValueError(f"{where} has a size of 0: sizes are from 1")
    if kind == "dense":
        return _dense(sizes[0], before)
    if len(shape := _shape(before)) == 1:
        raise ValueError(f"{where} comes after a dense layer: those of maps come first")
    height, width, channels = shape
    if kind == "pool":
        size = _side(sizes, where)
        if size > height:
            raise ValueError(f"{where} is larger than the {height}x{width} maps that it pools")
        output = (height // size, width // size, channels)
        return Layer("pool", _numbered("pool", before), output, size=size)
    features, *kernel = sizes
    size = _side(kernel or [3], where)
    if size % 2 == 0 or size > IMAGE_SIZE:
        raise ValueError(
            f"{where} has kernels of {size}x{size}: they may be 1x1, 3x3, 5x5, and so on to 27x27"
        )
    return Layer(
        "conv",
        _numbered("conv", before),
        (height, width, features),
        (size, size, channels, features),
        size,
        _numbered("relu", before),
    )


def _dense(units: int, before: Sequence[Layer], *, last: bool = False) -> Layer:
    weights = (math.prod(_shape(before)), units)
    relu = None if last else _numbered("relu", before)
    return Layer("dense", _numbered("dense", before), (units,), weights, relu=relu)


def _shape(before: Sequence[Layer]) -> tuple[int, ...]:
    return before[-1].output if before else (IMAGE_SIZE, IMAGE_SIZE, 1)


def _numbered(kind: str, before: Sequence[Layer]) -> str:
    same = sum(bool(layer.relu) if kind == "relu" else layer.kind == kind for layer in before)
    return f"{kind}{same + 1}"


def _side(sizes: Sequence[int], where: str) -> int:
    if len(set(sizes)) != 1:
        raise ValueError(f"{where} is {sizes[0]}x{sizes[1]}: give a square")
    return sizes[0]
