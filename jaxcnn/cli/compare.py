"""`jaxcnn compare`: every layer's gradient on this machine's backend, in one dtype."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import CommandError


@dataclass(frozen=True)
class LayerCall:
    """One layer with its options, and its arrays: a shape each, or a number of classes."""

    layer: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    # Integer labels below this number, as the last argument.
    classes: int | None = None

    def __str__(self) -> str:
        """The call as one line."""
        shapes = ["x".join(map(str, s)) for s in self.shapes]
        options = [f"{k}={v}".replace(" ", "") for k, v in self.options.items()]
        return " ".join([self.layer, *shapes, *options])


def calls() -> Iterator[LayerCall]:
    """Every layer, and of its options those that take another way through the rule."""
    image, kernel, bias = (4, 9, 8, 6), (3, 3, 6, 8), (8,)
    yield LayerCall("conv", (image, kernel, bias))
    yield LayerCall("conv", ((8, 28, 28, 1), (5, 5, 1, 4), (4,)))
    yield LayerCall("conv", ((2, 14, 14, 32), (3, 3, 32, 32), (32,)))
    for strides, padding in itertools.product((2, (3, 1)), ("SAME", "VALID", ((2, 0), (1, 3)))):
        yield LayerCall("conv", (image, kernel), {"strides": strides, "padding": padding})
    yield LayerCall("conv", (image, kernel), {"kernel_dilation": (2, 1), "padding": "SAME_LOWER"})
    yield LayerCall("conv", (image, (2, 4, 3, 8), bias), {"feature_group_count": 2, "padding": 1})
    yield LayerCall("conv", (image, (3, 3, 1, 6), (6,)), {"feature_group_count": 6})
    yield LayerCall("conv", ((3, 17, 4), (5, 4, 6), (6,)), {"strides": 2})
    yield LayerCall("conv", ((2, 5, 6, 4, 3), (3, 2, 3, 3, 4), (4,)))
    for strides, padding in itertools.product((1, 2), ("SAME", "VALID", ((2, 1), (0, 3)))):
        options = {"strides": strides, "padding": padding}
        yield LayerCall("conv_transpose", ((2, 5, 6, 4), (3, 3, 4, 6), (6,)), options)
    options = {"strides": 2, "transpose_kernel": True}
    yield LayerCall("conv_transpose", ((2, 5, 6, 4), (3, 3, 6, 4), (6,)), options)
    nhwc = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "padding": "SAME"}
    nchw = {"dimension_numbers": ("NCHW", "OIHW", "NCHW"), "padding": ((1, 2), (0, 1))}
    yield LayerCall("conv_general_dilated", (image, kernel), {"window_strides": (1, 2), **nhwc})
    yield LayerCall(
        "conv_general_dilated", ((2, 4, 7, 6), (6, 4, 3, 2)), {"window_strides": (2, 1), **nchw}
    )
    yield LayerCall(
        "conv_general_dilated",
        ((4, 7, 6, 4), (3, 2, 4, 8)),
        {"window_strides": (1, 1), "batch_group_count": 2, **nhwc},
    )
    dilated = {"window_strides": (2, 1), "lhs_dilation": (1, 2), "rhs_dilation": (2, 1)}
    dilated |= {"padding": ((1, 2), (2, 0))}
    yield LayerCall("conv_general_dilated", ((2, 4, 7, 6), (6, 4, 3, 2)), dilated)
    for ties in ("first", "all", "split"):
        yield LayerCall("max_pool", (image,), {"window_shape": (2, 2), "strides": 2, "ties": ties})
    overlapping = {"window_shape": (3, 2), "strides": (2, 1)}
    yield LayerCall("max_pool", (image,), {**overlapping, "padding": "SAME"})
    yield LayerCall("max_pool", (image,), {"window_shape": (2, 2), "window_dilation": 2})
    for counted in (True, False):
        options = {**overlapping, "padding": "SAME", "count_include_pad": counted}
        yield LayerCall("avg_pool", (image,), options)
    yield LayerCall("avg_pool", (image,), {"window_shape": (2, 2), "strides": 2})
    yield LayerCall("relu", (image,))
    yield LayerCall("softmax", ((32, 10),))
    yield LayerCall("softmax", ((4, 5, 6),), {"axis": 1})
    yield LayerCall("dense", ((32, 20), (20, 10), (10,)))
    yield LayerCall("dense", ((2, 3, 20), (20, 10)))
    yield LayerCall("softmax_cross_entropy", ((32, 10), (32, 10)))
    yield LayerCall("softmax_cross_entropy", ((4, 5, 6), (4, 5, 6)), {"axis": 1})
    yield LayerCall("softmax_cross_entropy_with_integer_labels", ((32, 10),), classes=10)


@dataclass
class Compare:
    """Compare every layer's hand-written gradient with the automatic and the numerical one.

    Runs on the backend that JAX finds here, and ends with a count. The exit status is 0 where all
    gradients match and 1 where one does not.
    """

    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """The dtype of every array. The rules are run again in float64 in any case."""

    layer: tuple[str, ...] = ()
    """Only these layers, by name. All of them by default."""

    json: bool = False
    """Print one JSON document instead of lines, with every number of every leaf."""

    def run(self) -> int:
        """Compare, print, and return the exit status."""
        layers = list(dict.fromkeys(call.layer for call in calls()))
        unknown = [name for name in self.layer if name not in layers]
        if unknown:
            raise CommandError(
                f"--layer: there is no layer {unknown[0]!r}; the layers are {', '.join(layers)}"
            )
        import jax

        chosen = [call for call in calls() if not self.layer or call.layer in self.layer]
        results = []
        device = jax.devices()[0].device_kind
        with jax.enable_x64(True) if self.dtype == "float64" else contextlib.nullcontext():
            for call in chosen:
                result = self._compare(call)
                results.append((call, result))
                if not self.json:
                    line = _line(call, result) if result.ok else f"WRONG  {call}\n{result}"
                    print(line, flush=True)
        right = sum(result.ok for _, result in results)
        if self.json:
            document = {
                "backend": jax.default_backend(),
                "device": device,
                "jax": jax.__version__,
                "dtype": self.dtype,
                "matched": right,
                "compared": len(results),
                "cases": [{"case": str(c), **r.as_dict()} for c, r in results],
            }
            print(json.dumps(_strict(document), indent=2, allow_nan=False))
        else:
            where = f"{jax.default_backend()} ({device}), {self.dtype}, JAX {jax.__version__}"
            print(f"{right} of {len(results)} comparisons match on {where}")
        return 0 if right == len(results) else 1

    def _compare(self, call: LayerCall) -> Any:
        import jax.numpy as jnp
        import numpy as np

        import jaxcnn

        from ..comparison.gradients import compare

        rng = np.random.default_rng(zlib.crc32(str(call).encode()))
        args = [jnp.asarray(rng.normal(size=s), self.dtype) for s in call.shapes]
        if call.classes is not None:
            args.append(jnp.asarray(rng.integers(0, call.classes, call.shapes[0][:-1])))
        layer = getattr(jaxcnn, call.layer)
        bound = functools.partial(layer, **call.options) if call.options else layer
        # The package promises its conventions at ties and zeros: those of the reference.
        return compare(bound, *args, kinks="fail")


def _line(call: LayerCall, result: Any) -> str:
    errors = [
        f"{leaf.path} {leaf.max_abs_error:.1g} (of {leaf.tolerance:.1g})"
        for leaf in result.leaves
        if leaf.max_abs_error is not None
    ]
    kinks = sum(leaf.kinks for leaf in result.leaves)
    noted = f"; {kinks} kinks" if kinks else ""
    return f"ok     {call}: error {', '.join(errors)}{noted}"


def _strict(value: Any) -> Any:
    """JSON has no infinity and no NaN: null in their place."""
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
