"""The TPU's own compiler on the rules and the steps, where `pip install libtpu` has brought it."""

import importlib.util
import json

import jax
import pytest

from jaxcnn import _errors
from jaxcnn.bench import chip, networks
from jaxcnn.bench.cases import CASES
from tests.processes import finish, start

# Every layer, and of pooling and convolution several kinds; the whole table is the command's.
LAYERS = (
    "max_pool/2x2/s2/32/128x28x28",
    "max_pool/3x3/s2/64/32x28x28",
    "avg_pool/2x2/s2/32/128x28x28",
    "conv/5x5/4-4/128x28x28",
    "conv/3x3/g4/64-64/32x28x28",
    "conv_transpose/3x3/s2/32-16/32x14x14",
    "dense/784-128/128",
    "relu/32/128x28x28",
    "softmax/1000/256",
    "softmax_cross_entropy_with_integer_labels/10/128",
)
LEVEL = 1.1
# More of autodiff's bytes than that, why, and how much at most.
ABOVE = {
    # Two passes, where select-and-scatter is one; with the forward pass it is 0.78.
    ("max_pool/3x3/s2/64/32x28x28", "dx"): 1.5,
    # 0.08 MB of 0.07: which of the labels is none of the classes.
    ("softmax_cross_entropy_with_integer_labels/10/128", "forward"): 1.15,
}
# A step is one large program; on a busy machine each of the three takes a minute.
LIMIT = 600

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, the TPU's compiler, is missing"
)
needs_the_newest_jax = pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="libtpu is installed beside the newest JAX"
)


def test_every_layer_of_the_benchmark_is_here():
    assert {case.split("/")[0] for case in LAYERS} == {case.layer for case in CASES}


def compiled(path, *patterns):
    """What the command writes, each time in a process of its own: libtpu is never unloaded."""
    command = start("bench", "--compile-for", "tpu", "--json", path, "--cases", *patterns)
    code, out, err = finish(command, LIMIT)
    assert code == 0, out + err
    found = json.loads(path.read_text())
    assert found["chip"] == "TPU v5 lite"
    for row in found["rows"]:
        name = row["case"], row["what"]
        assert row["hand"]["bytes"] > 0, name
        assert row["bytes_of_automatic"] <= ABOVE.get(name, LEVEL), row
    return found, {(row["case"], row["what"]) for row in found["rows"]}


@needs_libtpu
@needs_the_newest_jax
def test_every_pass_of_every_layer_compiles_for_a_tpu_with_few_bytes(tmp_path):
    _, rows = compiled(tmp_path / "rows.json", *LAYERS)
    assert rows == {
        (case.name, what) for case in CASES if case.name in LAYERS for what in case.passes
    }


@needs_libtpu
@needs_the_newest_jax
@pytest.mark.parametrize("network", ["post", "wide"])
def test_the_step_compiles_for_a_tpu_and_on_four_sums_the_gradients_once(network, tmp_path):
    # A pattern: step/post alone would be step/post/bfloat16 too.
    found, rows = compiled(tmp_path / "rows.json", f"step/{network[:-1]}?")
    assert rows == {(f"step/{network}", "alone")}
    (sharded,) = found["sharded"]
    gradients = jax.tree.leaves(jax.eval_shape(lambda: networks.parameters(network)))
    reduced = sharded["collectives"].pop("all-reduce")
    assert set(sharded["collectives"].values()) == {0}, sharded
    # One a gradient, which may be combined, and the loss and the accuracy.
    assert 1 <= reduced <= len(gradients) + 2
    # No gradient is summed twice; XLA may round what it sums together up to a tile.
    exact = 4 * sum(g.size for g in gradients)
    assert exact <= sharded["all_reduced_bytes"] <= 1.1 * exact


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(_errors.CommandError, match="pip install libtpu"):
        chip.devices("v5e:1x1")
