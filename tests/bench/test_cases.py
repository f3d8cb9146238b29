"""The benchmark's table of layers, and its networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn.bench import cases as table
from jaxcnn.bench import networks, steps
from jaxcnn.bench.cases import CASES, Case, matches
from tests.bench.made import TINY


def test_names_are_unique_and_tell_the_groups():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.group for case in CASES} == {"known", "network", "more", "vmap"}


def test_at_least_forty_other_shapes_of_every_kind():
    more = [case for case in CASES if case.group == "more"]
    convolutions = [case for case in more if case.layer in table.CONVOLUTIONS]
    assert len(more) >= 40
    assert {len(case.k) for case in convolutions} == {1, 2, 3}
    assert {case.x[0] for case in more} >= {1, 2, 256}
    assert {case.layer for case in more} >= {"conv", "conv_transpose", "max_pool", "avg_pool"}
    assert any(case.strides > 1 for case in convolutions)
    assert any(case.dilation > 1 for case in convolutions)
    assert any(case.groups > 1 for case in convolutions)
    assert {min(case.x[-1], case.features) for case in convolutions} >= {1, 2, 256}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_fits_its_layer(case):
    operands = case.operands()
    assert {a.dtype for a in operands} == {np.dtype(np.float32)}
    ours = jax.eval_shape(case.function(jaxcnn), *operands)
    assert ours.shape == case.output_shape == case.cotangent().shape
    assert len(case.passes) == 3 or case.layer in ("relu", "softmax", *_LOSSES)
    assert (case.flops is None) == (not case.features)


_LOSSES = ("softmax_cross_entropy_with_integer_labels",)


@pytest.mark.parametrize(
    "case",
    [
        Case("conv", (2, 9, 8, 4), (3, 2), 6, strides=2, padding="VALID"),
        Case("conv", (2, 8, 4), (3,), 8, groups=2, padding="VALID"),
        Case("dense", (3, 5), features=7),
    ],
    ids=lambda case: case.name,
)
def test_flops_are_xlas(case):
    x, w, b = case.operands()
    costs = jax.jit(case.function(reference)).lower(x, w, b).compile().cost_analysis()
    assert costs is not None
    assert case.flops == costs["flops"] - math.prod(case.output_shape)  # less the bias


def test_flops_of_a_step():
    # 28 and 14 pixels a side; forward and dw of the first layer, dx too of the others.
    first = 2 * 2 * 128 * 28**2 * 5 * 5 * 4
    rest = 28**2 * 5 * 5 * 4 * 4 + 14**2 * 9 * (4 * 8 + 8 * 16) + 784 * 128 + 128 * 10
    assert networks.flops("post", 128)["step"] == first + 3 * 2 * 128 * rest


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ((), ["conv", "max_pool", "relu"]),
        (("known",), ["conv"]),
        (("*/s2/*",), ["conv", "max_pool"]),
        (("pool", "relu"), ["max_pool", "relu"]),
        (("gelu",), []),
    ],
)
def test_cases_filter(patterns, chosen):
    assert [c.layer for c in TINY if matches(c.name, c.group, patterns)] == chosen


@pytest.mark.parametrize("network", ["resnet", "mobilenet"])
def test_every_layer_of_a_network_takes_part(network):
    images, labels = steps.batch(2, network)
    state, step = steps.state_and_step(network, jaxcnn)
    _, _, trace = steps.loss_and_params(jax.jit(step)(state, images, labels))
    assert {name: a["w"].shape for name, a in trace.items()} == networks.NETWORKS[network].shapes
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(trace))
