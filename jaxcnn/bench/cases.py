"""The layers that `jaxcnn bench` times: one table of shapes."""

import fnmatch
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np

CONVOLUTIONS = ("conv", "conv_transpose")
POOLS = ("max_pool", "avg_pool")


@dataclass(frozen=True)
class Case:
    """A layer and its operands.

    Attributes:
        layer: the function's name in `jaxcnn`.
        x: the input's shape, channels last.
        k: the window of a convolution or a pool.
        features: output channels of a convolution or of dense.
        strides: of every spatial axis, as are dilation and padding.
        dilation: of the window.
        groups: blocks of channels.
        padding: as the layer takes it.
        group: what `--cases` may call it by, beside its name.
        mapped: the operands with one more axis, over which `jax.vmap` maps: "x", "w" (with b) or
            "both"; None without.
        copies: how long that axis is.
    """

    layer: str
    x: tuple[int, ...]
    k: tuple[int, ...] = ()
    features: int = 0
    strides: int = 1
    dilation: int = 1
    groups: int = 1
    padding: Any = "SAME"
    group: str = "more"
    mapped: Literal["x", "w", "both"] | None = None
    copies: int = 1

    @property
    def name(self) -> str:
        """Such as conv/3x3/s2/64-64/32x28x28, or vmap/x/conv/3x3/8-16/64-of-1x14x14."""
        parts = [self.layer] if self.mapped is None else ["vmap", self.mapped, self.layer]
        if self.k:
            parts.append("x".join(map(str, self.k)))
        for letter, value in (("s", self.strides), ("d", self.dilation), ("g", self.groups)):
            if value > 1:
                parts.append(f"{letter}{value}")
        if self.k and self.padding == "VALID" and self.layer in CONVOLUTIONS:
            parts.append("valid")
        batch = "x".join(map(str, self.x[:-1]))
        batch = batch if self.mapped is None else f"{self.copies}-of-{batch}"
        channels = f"{self.x[-1]}-{self.features}" if self.features else f"{self.x[-1]}"
        return "/".join((*parts, channels, batch))

    @property
    def passes(self) -> tuple[str, ...]:
        """What is timed: of a pool also both passes in one, which its residual may slow."""
        if self.features:
            return ("forward", "dx", "dw")
        return ("forward", "dx", "both") if self.layer in POOLS else ("forward", "dx")

    @property
    def flops(self) -> int | None:
        """Multiplications and additions of each pass, of a layer that is a matrix product."""
        if self.layer == "dense":
            return 2 * self.copies * math.prod(self.x) * self.features
        if self.layer not in CONVOLUTIONS:
            return None
        places = (self.copies, *self.x[:-1])
        if self.layer == "conv":
            places = self.output_shape[:-1]
        return 2 * math.prod((*places, *self.k, self.x[-1] // self.groups, self.features))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of y."""
        import jax

        from jaxcnn import reference

        operands = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self.operands()]
        return jax.eval_shape(self.function(reference), *operands).shape

    def operands(self) -> tuple[np.ndarray, ...]:
        """Random x, w and b in float32, or those of them that the layer has."""
        rng = np.random.default_rng(list(self.name.encode()))
        shapes = [self.x]
        if self.layer == "dense":
            shapes += [(self.x[-1], self.features), (self.features,)]
        elif self.layer in CONVOLUTIONS:
            shapes += [(*self.k, self.x[-1] // self.groups, self.features), (self.features,)]
        shapes = [
            shape if axis is None else (self.copies, *shape)
            for shape, axis in zip(shapes, self._axes, strict=False)
        ]
        return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)

    def cotangent(self) -> np.ndarray:
        """A random cotangent of y."""
        rng = np.random.default_rng([1, *self.name.encode()])
        return rng.standard_normal(self.output_shape, np.float32)

    def function(self, layers: ModuleType) -> Callable[..., Any]:
        """The layer of `jaxcnn` or of `jaxcnn.reference` as a function of its operands."""
        f = getattr(layers, self.layer)
        options: dict[str, Any] = {}
        if self.layer in CONVOLUTIONS:
            options = dict(
                strides=self.strides, padding=self.padding, kernel_dilation=self.dilation
            )
            if self.layer == "conv":
                options["feature_group_count"] = self.groups
        elif self.layer in POOLS:
            options = dict(window_shape=self.k, strides=self.strides, padding=self.padding)
            if self.layer == "max_pool":
                options["window_dilation"] = self.dilation
        elif self.layer == "softmax_cross_entropy_with_integer_labels":
            options = dict(labels=self.labels())

        def one(*operands: Any):
            return f(*operands, **options)

        if self.mapped is None:
            return one
        import jax

        return lambda *operands: jax.vmap(one, self._axes[: len(operands)])(*operands)

    @property
    def _axes(self) -> tuple[int | None, ...]:
        """The mapped axis of x, w and b."""
        mapped = ("x", "w") if self.mapped == "both" else (self.mapped,)
        return tuple(0 if name in mapped else None for name in ("x", "w", "w"))

    def labels(self) -> np.ndarray:
        """Of a loss: an integer an example."""
        return np.arange(self.x[0], dtype=np.int32) % self.x[-1]


def _conv(x: tuple[int, ...], k: tuple[int, ...], features: int, **options: Any) -> Case:
    return Case("conv", x, k, features, **options)


def _transpose(x: tuple[int, ...], k: tuple[int, ...], features: int, **options: Any) -> Case:
    return Case("conv_transpose", x, k, features, **options)


def _max(
    x: tuple[int, ...], k: tuple[int, ...], strides: int, padding: Any = "VALID", **options: Any
) -> Case:
    return Case("max_pool", x, k, strides=strides, padding=padding, **options)


def _avg(x: tuple[int, ...], k: tuple[int, ...], strides: int, padding: Any = "VALID") -> Case:
    return Case("avg_pool", x, k, strides=strides, padding=padding)


def _mapped(case: Case, mapped: Literal["x", "w", "both"], copies: int) -> Case:
    return replace(case, mapped=mapped, copies=copies, group="vmap")


# Where PyTorch pads otherwise than SAME, the padding is written as PyTorch has it: a benchmark of
# the layer, not of a copy of its input.
CASES: tuple[Case, ...] = (
    # Where autodiff or XLA is known to be slow.
    _max((128, 28, 28, 32), (2, 2), 2, group="known"),
    _max((32, 28, 28, 64), (3, 3), 2, 1, group="known"),
    _max((32, 28, 28, 32), (3, 3), 2, dilation=2, group="known"),
    _conv((32, 28, 28, 64), (3, 3), 64, groups=64, group="known"),
    _conv((32, 28, 28, 64), (3, 3), 64, groups=4, group="known"),
    _transpose((32, 14, 14, 32), (3, 3), 16, strides=2, padding=((1, 2), (1, 2)), group="known"),
    _conv((32, 28, 28, 64), (3, 3), 64, strides=2, padding=1, group="known"),
    # The two networks, layer by layer.
    _conv((128, 28, 28, 1), (5, 5), 4, group="network"),
    _conv((128, 28, 28, 4), (5, 5), 4, group="network"),
    _conv((128, 14, 14, 4), (3, 3), 8, group="network"),
    _conv((128, 14, 14, 8), (3, 3), 16, group="network"),
    _conv((128, 28, 28, 1), (3, 3), 32, group="network"),
    _conv((128, 28, 28, 32), (3, 3), 32, group="network"),
    _conv((128, 14, 14, 32), (3, 3), 64, group="network"),
    _conv((128, 14, 14, 64), (3, 3), 64, group="network"),
    _max((128, 28, 28, 4), (2, 2), 2, group="network"),
    _max((128, 14, 14, 16), (2, 2), 2, group="network"),
    _max((128, 14, 14, 64), (2, 2), 2, group="network"),
    Case("dense", (128, 784), features=128, group="network"),
    Case("dense", (128, 128), features=10, group="network"),
    Case("relu", (128, 28, 28, 32), group="network"),
    Case("softmax_cross_entropy_with_integer_labels", (128, 10), group="network"),
    # Batches.
    _conv((1, 28, 28, 4), (5, 5), 4),
    _conv((1, 28, 28, 32), (3, 3), 32),
    _conv((1, 56, 56, 64), (3, 3), 64),
    _conv((2, 64, 64, 16), (3, 3), 16),
    _conv((8, 28, 28, 16), (3, 3), 16),
    _conv((256, 32, 32, 3), (3, 3), 16),
    _conv((256, 14, 14, 8), (5, 5), 8),
    # Little to compute.
    _conv((1, 14, 14, 16), (3, 3), 32),
    _conv((1, 28, 28, 32), (3, 3), 32, strides=2, padding=1),
    _conv((1, 28, 28, 32), (1, 1), 64),
    _conv((1, 32, 32, 3), (3, 3), 16),
    _conv((8, 64, 32), (3,), 32),
    # Channels.
    _conv((32, 28, 28, 64), (1, 1), 64),
    _conv((16, 32, 32, 3), (3, 3), 64),
    _conv((32, 14, 14, 128), (3, 3), 128),
    _conv((8, 7, 7, 256), (3, 3), 256),
    _conv((64, 14, 14, 6), (5, 5), 16, padding="VALID"),
    _conv((7, 17, 13, 12), (3, 3), 20),
    _conv((16, 17, 17, 32), (1, 7), 32),
    _conv((16, 17, 17, 32), (7, 1), 32),
    _conv((32, 28, 28, 2), (3, 3), 2),
    _conv((8, 32, 32, 64), (3, 3), 3),
    # Strides.
    _conv((32, 28, 28, 64), (1, 1), 128, strides=2),
    _conv((8, 64, 64, 3), (7, 7), 64, strides=2, padding=3),
    _conv((32, 32, 32, 3), (4, 4), 96, strides=4),
    _conv((32, 28, 28, 32), (2, 2), 64, strides=2),
    _conv((64, 32, 32, 16), (3, 3), 32, strides=2, padding=1),
    _conv((4, 63, 63, 3), (11, 11), 64, strides=4, padding=2),
    # Dilations.
    _conv((32, 28, 28, 32), (3, 3), 32, dilation=2),
    _conv((16, 28, 28, 16), (3, 3), 16, dilation=4),
    # Groups.
    _conv((32, 28, 28, 32), (3, 3), 32, groups=2),
    _conv((32, 14, 14, 64), (3, 3), 64, groups=8),
    _conv((16, 14, 14, 128), (3, 3), 128, groups=32),
    _conv((32, 28, 28, 64), (3, 3), 64, groups=64, strides=2, padding=1),
    _conv((16, 28, 28, 32), (5, 5), 32, groups=32),
    _conv((8, 28, 28, 96), (7, 7), 96, groups=96),
    _conv((32, 14, 14, 32), (3, 3), 64, groups=32),
    # One dimension.
    _conv((64, 128, 32), (3,), 32),
    _conv((128, 256, 1), (5,), 16),
    _conv((32, 256, 16), (7,), 32, strides=2, padding=3),
    _conv((16, 512, 32), (3,), 32, dilation=8),
    _conv((16, 512, 64), (4,), 64, groups=64, padding=((3, 0),)),
    _transpose((32, 64, 32), (4,), 16, strides=2, padding=2),
    _max((64, 256, 32), (2,), 2),
    # Three dimensions.
    _conv((8, 16, 16, 16, 1), (3, 3, 3), 8),
    _conv((8, 16, 16, 16, 8), (3, 3, 3), 8),
    _conv((8, 16, 16, 16, 8), (3, 3, 3), 16, strides=2, padding=1),
    _conv((2, 16, 16, 16, 32), (3, 3, 3), 32),
    _conv((4, 8, 28, 28, 16), (1, 3, 3), 16),
    _transpose((8, 8, 8, 8, 16), (2, 2, 2), 8, strides=2),
    _max((8, 16, 16, 16, 16), (2, 2, 2), 2),
    # Transposed convolutions.
    _transpose((32, 8, 8, 64), (4, 4), 32, strides=2, padding=2),
    _transpose((16, 14, 14, 64), (2, 2), 32, strides=2),
    _transpose((16, 28, 28, 32), (3, 3), 32),
    _transpose((8, 14, 14, 16), (5, 5), 8, strides=3),
    # Pools and the rest.
    _max((32, 28, 28, 32), (3, 3), 1, 1),
    _max((1, 56, 56, 64), (2, 2), 2),
    _max((256, 14, 14, 8), (3, 3), 3),
    _avg((128, 28, 28, 32), (2, 2), 2),
    _avg((32, 28, 28, 64), (3, 3), 2, 1),
    _avg((128, 7, 7, 64), (7, 7), 1),
    Case("dense", (256, 1024), features=1024),
    Case("softmax", (256, 1000)),
    Case("softmax_cross_entropy_with_integer_labels", (256, 1000)),
    # Under jax.vmap.
    *(
        _mapped(conv, mapped, copies)
        for conv, copies in (
            (_conv((1, 28, 28, 4), (5, 5), 4), 64),
            (_conv((1, 14, 14, 8), (3, 3), 16), 64),
            (_conv((1, 14, 14, 32), (3, 3), 64), 64),
            (_conv((8, 28, 28, 16), (3, 3), 32, strides=2, padding=1), 8),
        )
        for mapped in ("x", "w", "both")
    ),
    _mapped(_max((1, 28, 28, 32), (2, 2), 2), "x", 64),
)


def matches(name: str, group: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern is the group, lies in the name, or fits it with its wildcards."""
    return not patterns or any(
        pattern == group or pattern in name or fnmatch.fnmatch(name, pattern)
        for pattern in patterns
    )
