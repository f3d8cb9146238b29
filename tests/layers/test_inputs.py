"""What the layers take: whatever jnp.asarray takes, complex numbers where a rule is right."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof.cases import SAMPLES, Case
from tests.proof.checks import assert_equal

every_sample = pytest.mark.parametrize("case", SAMPLES, ids=str)


@every_sample
def test_numpy_float64_with_x64_off(case):
    """`images / 255.0` is float64 in NumPy; beside float32 weights it counts as float32."""
    with jax.enable_x64(False):
        mixed = {
            name: array if i == 0 else jnp.asarray(array)
            for i, (name, array) in enumerate(case.inputs().items())
        }
        for layers in (jaxcnn, reference):
            # Not traced arguments: jit would have made them JAX's own.
            y = jax.eval_shape(lambda layers=layers: case.call(layers, mixed))
            assert y.dtype == jnp.float32


@every_sample
def test_lists(case):
    arrays = case.inputs()
    lists = {name: array.tolist() for name, array in arrays.items()}
    for layers in (jaxcnn, reference):
        found, expected = (
            jax.eval_shape(lambda given=given, layers=layers: case.call(layers, given))
            for given in (lists, arrays)
        )
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


def test_the_numbers_of_a_numpy_array_and_a_list():
    images = np.arange(4).reshape(1, 4, 1) / 255.0
    w = cast(Any, [[[1.0]], [[0.0]], [[-1.0]]])  # more than the types promise
    with jax.enable_x64(False):
        y = jaxcnn.conv(images, jnp.asarray(w))
        np.testing.assert_allclose(y.ravel() * 255, [-1, -2, -2, 2], rtol=1e-6)
    assert_equal(jaxcnn.conv(images, w).ravel() * 255, [-1, -2, -2, 2], "y")


def test_python_scalars_where_jax_nn_takes_them():
    assert float(jaxcnn.relu(-2.0)) == 0
    assert float(jaxcnn.relu(2.0)) == 2
    assert jax.grad(jaxcnn.relu)(2.0) == 1
    label = jaxcnn.softmax_cross_entropy_with_integer_labels(np.zeros(2), 1)
    assert_equal(label, np.log(2), "loss")


def _complex(shape, *seeds) -> jax.Array:
    rng = np.random.default_rng(seeds)
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def _normal(layer: str, *shapes: tuple[int, ...], **options) -> Case:
    names = {"softmax_cross_entropy": ("logits", "labels")}.get(layer, ("x", "w", "b"))
    return Case(layer, {n: (s, "normal") for n, s in zip(names, shapes, strict=False)}, options)


# XLA takes a second to compile one complex convolution: few programs, and each option once.
COMPLEX = [
    _normal("conv", (2, 6, 4), (3, 2, 6), (6,), strides=2, feature_group_count=2),
    _normal("conv_transpose", (2, 4, 2), (3, 2, 3), strides=2, kernel_dilation=2),
    _normal("dense", (3, 4), (4, 2), (2,)),
]


@pytest.mark.parametrize("case", COMPLEX, ids=str)
def test_complex_gradients_are_those_of_autodiff(case):
    """The convention of jax.vjp: g is not conjugated, and neither are x and w in the formulas."""
    inputs = {name: _complex(shape, i) for i, (name, (shape, _)) in enumerate(case.arrays.items())}

    def gradients(layers, inputs, g):
        y, pull = jax.vjp(lambda inputs: case.call(layers, inputs), inputs)
        return {"y": y} | pull(g.astype(y.dtype))[0]

    g = _complex(jax.eval_shape(lambda: case.call(reference, inputs)).shape, 9)
    program = jax.jit(lambda *given: [gradients(m, *given) for m in (jaxcnn, reference)])
    ours, expected = program(inputs, g)
    for name, found in ours.items():
        assert_equal(found, expected[name], name)
    # conv_general_dilated has the rule of conv; and complex64 that of complex128.
    half = {name: x.astype(jnp.complex64) for name, x in inputs.items()}
    narrow = jax.eval_shape(lambda half: gradients(jaxcnn, half, g), half)
    assert {x.dtype for x in narrow.values()} == {np.dtype("complex64")}


def test_a_complex_gradient_by_hand():
    """For y = x w, dx is g w and dw is x g, and neither is conjugated."""
    x, w, g = (jnp.full((1, 1), v) for v in (1 + 2j, 3 - 1j, 1j))
    dx, dw = jax.vjp(jaxcnn.dense, x, w)[1](g)
    assert (complex(dx[0, 0]), complex(dw[0, 0])) == (1 + 3j, -2 + 1j)


EMPTY = [
    _normal("conv", (1, 0, 4, 2), (3, 3, 2, 3), padding=3, strides=2),
    _normal("conv", (0, 2), (3, 2, 3), padding=2),
    _normal("conv", (2, 2, 4, 0, 2), (3, 1, 2, 2), padding=2, feature_group_count=1),
    _normal("conv", (2, 4, 3, 2), (2, 2, 2, 0)),
    _normal("conv", (2, 4, 3, 0), (2, 2, 0, 3)),
    _normal("conv_transpose", (0, 4, 2), (3, 3, 2, 3), padding=4, strides=2),
    _normal("conv_transpose", (1, 3, 3, 2), (3, 3, 2, 0)),
    *(_normal("max_pool", (1, 5, 4, 0), window_shape=(3, 2), strides=2, ties=ties)
      for ties in ("first", "all", "split")),
    _normal("avg_pool", (1, 5, 4, 0), window_shape=(2, 2), padding=1, count_include_pad=False),
    _normal("relu", (0, 3)),
    _normal("softmax", (3, 0)),
    _normal("softmax", (0,), axis=0),
    _normal("softmax_cross_entropy", (3, 0), (3, 0)),
    _normal("softmax_cross_entropy", (2, 0, 4), (2, 0, 4), axis=(1, 2)),
    _normal("dense", (3, 0), (0, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", EMPTY, ids=str)
def test_empty_arrays(case):
    """The values and gradients of the reference, whose sums over nothing are 0."""
    inputs = {k: jnp.asarray(v) for k, v in case.inputs().items()}

    @jax.jit
    def both(inputs):
        pulls = [jax.vjp(lambda a, m=m: case.call(m, a), inputs) for m in (jaxcnn, reference)]
        return [{"y": y} | pull(jnp.ones_like(y))[0] for y, pull in pulls]

    found, expected = both(inputs)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], strict=True)


def test_softmax_of_no_class_is_that_of_jax():
    assert jaxcnn.softmax(jnp.zeros((3, 0))).shape == jax.nn.softmax(jnp.zeros((3, 0))).shape


def test_no_label_names_a_class_where_there_is_none():
    loss = jaxcnn.softmax_cross_entropy_with_integer_labels(jnp.zeros((3, 0)), jnp.zeros(3, int))
    assert np.isnan(loss).all()
