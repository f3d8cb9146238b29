"""PyTorch's programs compute where they are told to: seen without a GPU on its device "meta"."""

import jax
import pytest

from jaxcnn.bench import machine, networks, steps
from tests.bench.test_torch_peer import PEERS

torch_peer = pytest.importorskip("jaxcnn.bench.torch_peer", exc_type=ModuleNotFoundError)
torch_device = pytest.importorskip("jaxcnn.bench.torch_device", exc_type=ModuleNotFoundError)


def _devices(outputs):
    return {t.device.type for t in jax.tree.leaves(outputs)}


@pytest.mark.parametrize("case", PEERS, ids=lambda case: f"{case.name}-{case.padding}")
def test_every_operand_of_a_layer_lies_on_the_device(case, monkeypatch):
    """One that stayed on the CPU does not go together with the others, or comes back from there."""
    monkeypatch.setattr(torch_device, "_device", torch_peer.torch.device("meta"))
    for modes in torch_peer.layer_programs(case).values():
        for program in modes.values():
            assert _devices(program.call()) == {"meta"}


def test_every_operand_of_an_evaluation_does(monkeypatch):
    monkeypatch.setattr(torch_device, "_device", torch_peer.torch.device("meta"))
    images, _ = steps.batch(4, "post")
    found = torch_peer.evaluation_programs(
        "post", networks.parameters("post"), images, compiled=False
    )
    assert {name for p in found.values() for name in _devices(p.call())} == {"meta"}


def test_a_call_ends_when_the_gpu_is_done(monkeypatch):
    """A CUDA call returns before its work is done: the time of that would be no time at all."""
    ended = []
    monkeypatch.setattr(torch_device, "_device", torch_peer.torch.device("cuda"))
    monkeypatch.setattr(torch_peer.torch.cuda, "synchronize", lambda: ended.append("work"))
    assert torch_device.waited(lambda: ended.append("call") or 5)() == 5
    assert ended == ["call", "work"]


def test_no_peer_beside_a_device_that_it_has_not(monkeypatch):
    monkeypatch.setattr(torch_peer.torch.cuda, "is_available", lambda: False)
    assert not torch_peer.use("gpu", tf32=True)
    assert not torch_peer.use("tpu", tf32=False)
    assert torch_peer.use("cpu", tf32=False)


@pytest.mark.parametrize(
    ("backend", "precision", "rounded"),
    [("cpu", None, False), ("gpu", None, True), ("gpu", "highest", False), ("tpu", None, False)],
)
def test_both_round_products_on_a_gpu_or_neither(backend, precision, rounded, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with jax.default_matmul_precision(precision):
        assert machine.tf32() == rounded
