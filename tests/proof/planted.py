"""Wrong rules, planted to test the tests: each is the layer with one mistake in its backward pass.

The forward pass is the reference's. The wrong gradients are made out of the right ones, or are
those of another cotangent, other arrays or other options.
"""

import dataclasses
import math
import types
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn import reference
from tests.proof.cases import CASES, Case


@dataclass(frozen=True)
class Backward:
    """One backward pass to be got wrong: what a rule has at hand."""

    case: Case
    arrays: dict
    g: jax.Array

    def right(self, g=None, arrays=None, **options) -> dict:
        """The right gradients, or those of another cotangent, other arrays or other options."""
        arrays = self.arrays if arrays is None else arrays
        case = dataclasses.replace(self.case, options=self.case.options | options)
        fixed = {k: v for k, v in arrays.items() if k not in case.differentiable}
        free = {k: v for k, v in arrays.items() if k in case.differentiable}
        y, pull = jax.vjp(lambda free: case.call(reference, free | fixed), free)
        return pull(jnp.asarray(self.g if g is None else g, y.dtype))[0]

    def spatial(self) -> tuple[int, ...]:
        return tuple(range(self.arrays["w"].ndim - 2))


@dataclass(frozen=True)
class Mistake:
    """A wrong rule for one layer, and for which of its cases the rule can be written."""

    name: str
    layer: str
    wrong: Callable[[Backward], dict]
    where: Callable[[Case], bool] = lambda case: True

    def cases(self) -> list[Case]:
        return [c for c in CASES if c.layer == self.layer and self.where(c) and _not_empty(c)]

    def layers(self, case: Case) -> types.SimpleNamespace:
        """A stand-in for the package, with the wrong layer."""

        def layer(**arguments):
            arrays = {k: jnp.asarray(arguments[k]) for k in case.arrays}
            fixed = {k: v for k, v in arrays.items() if k not in case.differentiable}
            free = {k: v for k, v in arrays.items() if k in case.differentiable}

            def forward(free, fixed):
                return case.call(reference, free | fixed)

            def backward(residuals, g):
                free, fixed = residuals
                found = self.wrong(Backward(case, free | fixed, g))
                return {k: found[k] for k in free}, None

            planted = jax.custom_vjp(forward)
            planted.defvjp(lambda free, fixed: (forward(free, fixed), (free, fixed)), backward)
            return planted(free, fixed)

        return types.SimpleNamespace(**{self.layer: layer})


def _not_empty(case: Case) -> bool:
    return not any(0 in shape for shape, _ in case.arrays.values())


def _square(case: Case) -> bool:
    return case.arrays["w"][0][-1] == case.arrays["w"][0][-2]


def _padded(case: Case) -> bool:
    return isinstance(case.options.get("padding"), int)


def _strided(case: Case) -> bool:
    return case.options.get("strides") in (2, 3)


def _kernel(case: Case) -> tuple[int, ...]:
    return case.arrays["w"][0][:-2]


def _but(backward: Backward, /, **changed) -> dict:
    return backward.right() | changed


def _kernel_not_flipped(b):
    w = jnp.flip(b.arrays["w"], b.spatial())
    return _but(b, x=b.right(arrays=b.arrays | {"w": w})["x"])


def _channels_not_exchanged(b):
    w = jnp.swapaxes(b.arrays["w"], -1, -2)
    return _but(b, x=b.right(arrays=b.arrays | {"w": w})["x"])


def _pad_off_by_one(b):
    p = b.case.options["padding"]
    n = len(b.spatial())
    return _but(b, x=b.right(padding=((p - 1, p + 1),) * n)["x"])


def _pad_off_by_one_in_dw(b):
    p = b.case.options["padding"]
    n = len(b.spatial())
    return _but(b, w=b.right(padding=((p + 1, p - 1),) * n)["w"])


def _stride_forgotten(b):
    """The cotangent laid side by side, not strides apart, and zeros after it."""
    y = jax.eval_shape(lambda: dataclasses.replace(
        b.case, options=b.case.options | {"strides": 1}).call(reference, b.arrays))  # fmt: skip
    g = jnp.pad(b.g, [(0, big - small) for big, small in zip(y.shape, b.g.shape, strict=True)])
    return _but(b, x=b.right(g, strides=1)["x"])


def _dilation_forgotten(b):
    n = len(b.spatial())
    d = b.case.options["kernel_dilation"]
    d = (d,) * n if isinstance(d, int) else d
    low_high = tuple((0, (k - 1) * (di - 1)) for k, di in zip(b.arrays["w"].shape, d, strict=False))
    # A dense kernel over the same outputs: what the dilated one spans more becomes padding.
    return _but(
        b, x=b.right(kernel_dilation=1, padding=tuple((lo, -hi) for lo, hi in low_high))["x"]
    )


def _groups_mixed(b):
    groups = b.case.options["feature_group_count"]
    c = b.arrays["x"].shape[-1]
    order = jnp.arange(c).reshape(groups, -1)[::-1].ravel()
    return _but(b, x=b.right()["x"][..., order])


def _groups_interleaved(b):
    groups = b.case.options["feature_group_count"]
    o = b.arrays["w"].shape[-1]
    return _but(b, w=b.right()["w"][..., jnp.arange(o).reshape(groups, -1).T.ravel()])


def _first_example_only(b):
    keep = jnp.zeros_like(b.g).at[0].set(b.g[0])
    return _but(b, w=b.right(keep)["w"])


def _batch_mean(b):
    return {k: v if k == "x" else v / b.arrays["x"].shape[0] for k, v in b.right().items()}


def _mean_loss(name):
    """The gradients over the number of examples, as if the layer took the mean."""
    return lambda b: {k: v / b.arrays[name].shape[0] for k, v in b.right().items()}


def _bias_over_batch_alone(b):
    middle = tuple(0 for _ in b.spatial())
    return _but(b, b=b.g[(slice(None), *middle)].sum(0))


def _bias_mean_over_space(b):
    return _but(b, b=b.right()["b"] / (b.g[0, ..., 0].size))


def _one_element_off(b):
    """One element of one gradient, by 2 parts in a million."""
    dw = b.right()["w"]
    return _but(b, w=dw.at[(-1,) * dw.ndim].multiply(1 + 2e-6))


def _wider_dtype(name):
    return lambda b: {k: v.astype(jnp.float32) if k == name else v for k, v in b.right().items()}


def _relu_at_zero(slope):
    return lambda b: {"x": jnp.where(b.arrays["x"] == 0, slope * b.g, b.right()["x"])}


def _ties(policy):
    return lambda b: b.right(ties=policy)


def _last_of_ties(b):
    """First in a mirrored window is last; window and strides cover the map without overlap."""
    axes = (-2, -3)
    mirrored = b.right(jnp.flip(b.g, axes), {"x": jnp.flip(b.arrays["x"], axes)})
    return {"x": jnp.flip(mirrored["x"], axes)}


def _isclose_mask(b):
    """The post's mask: within 1e-5 of the maximum counts as the maximum."""
    return b.right(arrays={"x": jnp.round(b.arrays["x"], 4)}, ties="all")


def _overlaps_overwrite(b):
    """Where windows overlap the last one wins instead of adding up: no element gets over its g."""
    dx = b.right()["x"]
    return {"x": jnp.clip(dx, -jnp.abs(b.g).max(), jnp.abs(b.g).max())}


def _mask_twice(b):
    won = b.right(jnp.ones_like(b.g))["x"]
    return {"x": b.right()["x"] * won}


def _window_shifted(b):
    return {"x": jnp.roll(b.right()["x"], 1, -2)}


def _count_swapped(b):
    return b.right(count_include_pad=not b.case.options["count_include_pad"])


def _sum_not_mean(b):
    window = b.case.options["window_shape"]
    return {"x": b.right()["x"] * math.prod(window)}


def _diagonal_softmax(b):
    p = b.case.call(reference, b.arrays)
    return {"x": b.g * p * (1 - p)}


def _softmax_without_its_sum(b):
    return {"x": b.g * b.case.call(reference, b.arrays)}


def _softmax_over_another_axis(b):
    p = b.case.call(reference, b.arrays)
    return {"x": p * (b.g - (b.g * p).sum(0, keepdims=True))}


def _dense_not_transposed(b):
    return _but(b, x=b.g @ b.arrays["w"])


def _dense_dw_transposed(b):
    return _but(b, w=b.right()["w"].T)


def _short_formula(b):
    """The post's p - y, which takes the sum of the labels as 1."""
    z, y = (b.arrays[k].astype(b.g.dtype) for k in ("logits", "labels"))
    axis = b.case.options["axis"]
    dz = jnp.expand_dims(b.g, axis) * (reference.softmax(z, axis) - y)
    return _but(b, logits=dz.astype(b.arrays["logits"].dtype))


def _labels_without_gradient(b):
    return _but(b, labels=jnp.zeros_like(b.arrays["labels"]))


def _labels_over_p(b):
    """-y/p belongs to the probabilities, not to the labels."""
    z, y = (b.arrays[k].astype(b.g.dtype) for k in ("logits", "labels"))
    axis = b.case.options["axis"]
    dy = -jnp.expand_dims(b.g, axis) * y / reference.softmax(z, axis)
    return _but(b, labels=dy.astype(b.arrays["labels"].dtype))


def _mask_ignored(b):
    arrays = {k: jnp.ones_like(v) if k == "where" else v for k, v in b.arrays.items()}
    return b.right(arrays=arrays)


def _g_ignored(b):
    return b.right(jnp.ones_like(b.g))


def _label_off_by_one(b):
    return b.right(arrays=b.arrays | {"labels": (b.arrays["labels"] + 1) % 3})


def _relu_forgotten(b):
    return b.right(activation=None)


def _relu_forgotten_in_db(b):
    return _but(b, b=b.right(activation=None)["b"])


def _relu_by_the_bias_alone(b):
    return b.right(jnp.where(b.arrays["b"] > 0, b.g, 0), activation=None)


def _activated(case: Case) -> bool:
    return case.options.get("activation") == "relu"


MISTAKES = [
    *(Mistake("relu's mask forgotten", layer, _relu_forgotten, _activated)
      for layer in ("conv", "conv_transpose", "dense")),
    *(Mistake("relu's mask forgotten in db", layer, _relu_forgotten_in_db,
              lambda c: _activated(c) and "b" in c.arrays)
      for layer in ("conv", "conv_transpose", "dense")),
    Mistake("relu's mask from the bias alone", "conv", _relu_by_the_bias_alone,
            lambda c: _activated(c) and "b" in c.arrays),
    Mistake("kernel not flipped", "conv", _kernel_not_flipped, lambda c: max(_kernel(c)) > 1),
    Mistake("channels not exchanged", "conv", _channels_not_exchanged, _square),
    Mistake("padding of dx off by one", "conv", _pad_off_by_one, _padded),
    Mistake("padding of dw off by one", "conv", _pad_off_by_one_in_dw, _padded),
    Mistake("stride forgotten in dx", "conv", _stride_forgotten,
            lambda c: _strided(c) and c.options.get("padding") == "VALID"),
    Mistake("kernel dilation forgotten in dx", "conv", _dilation_forgotten,
            lambda c: c.options.get("kernel_dilation", 1) != 1
            and c.options.get("padding") == "VALID" and max(_kernel(c)) > 1),
    Mistake("groups mixed in dx", "conv", _groups_mixed,
            lambda c: c.options.get("feature_group_count", 1) > 1),
    Mistake("groups interleaved in dw", "conv", _groups_interleaved,
            lambda c: 1 < c.options.get("feature_group_count", 1) < c.arrays["w"][0][-1]),
    Mistake("dw of the first example alone", "conv", _first_example_only,
            lambda c: c.arrays["x"][0][0] > 1),
    Mistake("the post's 1/m inside conv", "conv", _batch_mean, lambda c: c.arrays["x"][0][0] > 1),
    Mistake("db not summed over space", "conv", _bias_over_batch_alone,
            lambda c: "b" in c.arrays and len(c.arrays["x"][0]) == len(c.arrays["w"][0])),
    Mistake("db a mean over space", "conv", _bias_mean_over_space,
            lambda c: "b" in c.arrays and len(c.arrays["x"][0]) == len(c.arrays["w"][0])),
    Mistake("one element of dw off by 2e-6", "conv", _one_element_off),
    Mistake("dw in float32 whatever w is", "conv", _wider_dtype("w")),
    Mistake("kernel not flipped", "conv_transpose", _kernel_not_flipped,
            lambda c: max(_kernel(c)) > 1),
    Mistake("channels not exchanged", "conv_transpose", _channels_not_exchanged, _square),
    Mistake("padding off by one", "conv_transpose", _pad_off_by_one, _padded),
    Mistake("groups mixed in dx", "conv_transpose", _groups_mixed,
            lambda c: c.options.get("feature_group_count", 1) > 1),
    Mistake("groups interleaved in dw", "conv_transpose", _groups_interleaved,
            lambda c: not c.options.get("transpose_kernel")
            and 1 < c.options.get("feature_group_count", 1) < c.arrays["w"][0][-1]),
    Mistake("the cotangent ignored", "conv_general_dilated", _g_ignored),
    Mistake("dw of the first example alone", "conv_general_dilated",
            lambda b: _but(b, rhs=b.right(jnp.zeros_like(b.g).at[0].set(b.g[0]))["rhs"]),
            lambda c: c.arrays["lhs"][0][0] > 1),
    Mistake("relu' at 0 = 1", "relu", _relu_at_zero(1.0)),
    Mistake("relu' at 0 = 1/2", "relu", _relu_at_zero(0.5)),
    Mistake("relu passes where g > 0", "relu", lambda b: {"x": jnp.maximum(b.g, 0)}),
    Mistake("ties: all for first", "max_pool", _ties("all"),
            lambda c: c.options.get("ties", "first") == "first"),
    Mistake("ties: split for first", "max_pool", _ties("split"),
            lambda c: c.options.get("ties", "first") == "first"),
    Mistake("ties: the last for the first", "max_pool", _last_of_ties,
            lambda c: c.options == {"window_shape": (2, 2), "strides": 2, "ties": "first"}),
    Mistake("ties: first for split", "max_pool", _ties("first"),
            lambda c: c.options.get("ties") == "split"),
    Mistake("isclose for equal", "max_pool", _isclose_mask,
            lambda c: c.options.get("ties") == "all"),
    Mistake("overlaps overwrite", "max_pool", _overlaps_overwrite),
    Mistake("mask counted twice", "max_pool", _mask_twice,
            lambda c: c.options.get("ties", "first") == "first"),
    Mistake("window off by one", "max_pool", _window_shifted),
    Mistake("padding counted, or not, the other way", "avg_pool", _count_swapped,
            lambda c: "count_include_pad" in c.options),
    Mistake("sum for mean", "avg_pool", _sum_not_mean),
    Mistake("diagonal of the Jacobian alone", "softmax", _diagonal_softmax),
    Mistake("its sum not subtracted", "softmax", _softmax_without_its_sum),
    Mistake("sum over another axis", "softmax", _softmax_over_another_axis,
            lambda c: c.options["axis"] == -1 and len(c.arrays["x"][0]) == 2),
    Mistake("w not transposed", "dense", _dense_not_transposed, _square),
    Mistake("dw transposed", "dense", _dense_dw_transposed, _square),
    Mistake("the post's 1/m inside dense", "dense", _batch_mean,
            lambda c: len(c.arrays["x"][0]) > 1 and c.arrays["x"][0][0] > 1),
    Mistake("S taken as 1", "softmax_cross_entropy", _short_formula,
            lambda c: "where" not in c.arrays),
    Mistake("no gradient of the labels", "softmax_cross_entropy", _labels_without_gradient),
    Mistake("-y/p for the labels", "softmax_cross_entropy", _labels_over_p,
            lambda c: "where" not in c.arrays),
    Mistake("mask ignored", "softmax_cross_entropy", _mask_ignored, lambda c: "where" in c.arrays),
    Mistake("batch mean inside the loss", "softmax_cross_entropy", _mean_loss("logits"),
            lambda c: len(c.arrays["logits"][0]) > 1),
    Mistake("label off by one", "softmax_cross_entropy_with_integer_labels", _label_off_by_one),
    Mistake("batch mean inside the loss", "softmax_cross_entropy_with_integer_labels",
            _mean_loss("logits"), lambda c: len(c.arrays["logits"][0]) > 1),
    Mistake("mask ignored", "softmax_cross_entropy_with_integer_labels", _mask_ignored,
            lambda c: "where" in c.arrays),
]  # fmt: skip
