"""Everything inside the network for one drawing: the numbers that the page shows.

One compiled program computes, with the layers of this package and their hand-written rules,

    x          every activation                        (forward)
    dJ/dx      the gradient at every activation        (backward), J = -log p[label]
    dJ/dw      the gradient of every kernel and bias of a convolution
    x'         every activation after one step  w <- w - rate dJ/dw

and gives them as one row of float32 numbers, which crosses to the browser as it is.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn

from ..mnist import description, model
from ..pooling import Ties
from .canvas import CANVAS
from .strokes import WAYS, curve

PREDICTED = -1
MAX_RATE = 1.0


class Inside:
    """A network and the program that looks into it, compiled when the object is made.

    Attributes:
        params: of the network, float32.
        class_names: what the ten outputs stand for.
        sections: of a row, in its order: the name and the shape of each part.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        *,
        name: str,
        network: str = "post",
        class_names: tuple[str, ...] = tuple("0123456789"),
        layers: Any = jaxcnn,
        ties: Ties = "first",
    ):
        """Compile the program.

        Args:
            params: as `mnist.model.init` makes them.
            name: what the page calls the network.
            network: "post", "wide", or the network in words, see `mnist.description`.
            class_names: what the ten outputs stand for.
            layers: the module whose layers are used, `jaxcnn` or `jaxcnn.reference`.
            ties: where the max-pools send the gradient of tied elements.
        """
        self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), dict(params))
        self.name, self.class_names, self.ties = name, class_names, ties
        self._network = network
        example = (
            self.params,
            np.zeros((model.IMAGE_SIZE,) * 2, np.uint8),
            np.int32(PREDICTED),
            np.float32(0),
        )

        def look(*of: Any) -> dict[str, jax.Array]:
            return _look(*of, network=network, layers=layers, ties=ties)

        def program(*of: Any) -> jax.Array:
            return jnp.concatenate([part.ravel() for part in look(*of).values()])

        shapes = jax.eval_shape(lambda *of: list(look(*of).values()), *example)
        names = _names(network)
        self.sections = {n: s.shape for n, s in zip(names, shapes, strict=True)}
        self._program = jax.jit(program).lower(*example).compile()

    def look(self, image: np.ndarray, label: int = PREDICTED, rate: float = 0.0) -> np.ndarray:
        """One row of numbers, float32, in the order of `sections`.

        Args:
            image: uint8 `[28, 28]`, light on dark.
            label: whose loss the gradient is of, 0 to 9; `PREDICTED` for the predicted one.
            rate: of the step after which the activations are computed once more.
        """
        row = self._program(self.params, image, np.int32(label), np.float32(rate))
        return np.asarray(row)

    def split(self, row: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of a row by their names, each in its shape."""
        ends = np.cumsum([math.prod(shape) for shape in self.sections.values()])[:-1]
        parts = np.split(row, ends)
        return {n: p.reshape(s) for (n, s), p in zip(self.sections.items(), parts, strict=True)}

    def weights(self) -> np.ndarray:
        """Every parameter as one row of float32 numbers, in the order of the description."""
        leaves = [np.ravel(self.params[n][part]) for n, part in _parameters(self._network)]
        return np.concatenate(leaves)

    def description(self) -> dict[str, Any]:
        """What the page has to know of the network and of a row; JSON has a form for all of it."""
        parameters = _parameters(self._network)
        # Of a dress there is no example that a pen writes.
        written = range(10) if self.class_names == tuple("0123456789") else ()
        return {
            "name": self.name,
            "classes": list(self.class_names),
            "ties": self.ties,
            "canvas": CANVAS,
            "max_rate": MAX_RATE,
            "places": list(model.names(self._network)),
            "windows": {
                layer.name: layer.size
                for layer in description.read(self._network)
                if layer.kind == "pool"
            },
            "sections": [[name, list(shape)] for name, shape in self.sections.items()],
            "weights": [
                [f"{n}.{part}", list(self.params[n][part].shape)] for n, part in parameters
            ],
            "examples": [
                [curve(stroke).round(3).tolist() for stroke in WAYS[digit][0]] for digit in written
            ],
        }


def _parameters(network: str) -> list[tuple[str, str]]:
    return [(name, part) for name in model.shapes(network) for part in ("w", "b")]


def _kernels(network: str) -> list[tuple[str, str]]:
    return [(name, part) for name, part in _parameters(network) if name.startswith("conv")]


def _names(network: str) -> list[str]:
    kinds = ("x", "dx", "after")
    places = [f"{kind}.{name}" for kind in kinds for name in model.names(network)]
    kernels = [f"d.{name}.{part}" for name, part in _kernels(network)]
    return [*places, *kernels, "loss", "label"]


def _look(
    params: Any,
    image: jax.Array,
    label: jax.Array,
    rate: jax.Array,
    *,
    network: str,
    layers: Any,
    ties: Ties,
) -> dict[str, jax.Array]:
    x = model.pixels(image[None])
    forward = model.activations(params, x, model=network, layers=layers)
    chosen = jnp.where(label < 0, forward["logits"].argmax(-1).astype(jnp.int32), label[None])
    backward = model.activation_gradients(
        params, x, chosen, model=network, layers=layers, ties=ties
    )

    def loss(params: Any) -> jax.Array:
        logits = model.apply(params, x, model=network, layers=layers, ties=ties)
        return layers.softmax_cross_entropy_with_integer_labels(logits, chosen).mean()

    before, g = jax.value_and_grad(loss)(params)
    moved = jax.tree.map(lambda w, dw: w - rate * dw, params, g)
    after = model.activations(moved, x, model=network, layers=layers)
    parts = {}
    for kind, values in (("x", forward), ("dx", backward), ("after", after)):
        parts |= {f"{kind}.{name}": values[name][0] for name in model.names(network)}
    parts |= {f"d.{name}.{part}": g[name][part] for name, part in _kernels(network)}
    parts["loss"] = jnp.stack([before, loss(moved)])
    parts["label"] = chosen.astype(jnp.float32)
    return {name: parts[name] for name in _names(network)}
