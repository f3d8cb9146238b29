"""PyTorch's programs of the benchmark compute what the reference computes."""

import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn.bench import networks, steps
from jaxcnn.bench.cases import Case
from jaxcnn.bench.layers import layer_programs
from jaxcnn.bench.program import difference
from tests.bench.made import TINY

PEERS = (
    *TINY,
    Case("conv", (2, 7, 3), (3,), 4, dilation=2),
    Case("conv", (2, 6, 7, 4), (3, 2), 4, groups=2),
    Case("conv", (2, 4, 4, 5, 2), (3, 3, 3), 4, strides=2),
    Case("conv_transpose", (2, 4, 4, 3), (3, 3), 2, strides=2),
    Case("conv_transpose", (2, 4, 4, 3), (3, 3), 2, strides=2, padding=((1, 2), (1, 2))),
    Case("conv_transpose", (2, 5, 3), (2,), 2, strides=3),
    Case("max_pool", (2, 6, 6, 3), (3, 3), strides=2, padding=1),
    Case("max_pool", (2, 6, 6, 3), (3, 3), strides=2),
    Case("max_pool", (2, 9, 9, 3), (3, 3), dilation=2, padding="VALID"),
    Case("avg_pool", (2, 6, 6, 3), (3, 3), strides=2, padding=1),
    Case("avg_pool", (2, 6, 3), (2,)),
    Case("dense", (2, 5), features=3),
    Case("softmax", (2, 5)),
    Case("softmax_cross_entropy_with_integer_labels", (4, 3)),
)


@pytest.mark.parametrize("case", PEERS, ids=lambda case: f"{case.name}-{case.padding}")
def test_pytorch_computes_the_same(case):
    pytest.importorskip("torch")
    from jaxcnn.bench import torch_peer

    expected = layer_programs(case, reference)
    found = torch_peer.layer_programs(case)
    assert set(found) == set(case.passes)
    for what, modes in found.items():
        assert modes
        for p in modes.values():
            assert difference(p.outputs(), expected[what].outputs()) < 1e-5


@pytest.mark.parametrize("network", ["post", "resnet", "mobilenet"])
def test_pytorch_makes_the_same_step_and_evaluation(network, monkeypatch):
    pytest.importorskip("torch")
    from jaxcnn.bench import torch_peer

    batch = steps.batch(4, network)
    monkeypatch.setattr(steps, "batch", lambda *_, **__: batch)
    params, rate = networks.parameters(network), (steps.LEARNING_RATE, steps.MOMENTUM)
    for found, expected in (
        (
            torch_peer.step_programs(network, params, *batch, *rate, compiled=False),
            steps.alone(network, jaxcnn),
        ),
        (
            torch_peer.evaluation_programs(network, params, batch[0], compiled=False, at_once=2),
            steps.evaluation(network, jaxcnn),
        ),
    ):
        modes = {name.removesuffix(" by 2") for name in found}
        assert modes == {"NCHW eager", "channels_last eager"}
        for p in found.values():
            assert difference(p.outputs(), expected.outputs()) < 1e-3
