"""The TPU's own compiler on the rules and the steps, where `pip install libtpu` has brought it."""

import importlib.util
import json

import jax
import pytest

from jaxcnn import _errors
from jaxcnn.bench import chip, networks
from jaxcnn.bench.cases import CASES
from tests.processes import run

# Every layer, and of pooling and convolution every kind; the whole table is the command's.
LAYERS = (
    "max_pool/2x2/s2/32/128x28x28",
    "max_pool/3x3/s2/64/32x28x28",
    "avg_pool/3x3/s2/64/32x28x28",
    "conv/5x5/4-4/128x28x28",
    "conv/3x3/s2/64-64/32x28x28",
    "conv/3x3/g64/64-64/32x28x28",
    "conv_transpose/3x3/s2/32-16/32x14x14",
    "dense/784-128/128",
    "relu/32/128x28x28",
    "softmax/1000/256",
    "softmax_cross_entropy_with_integer_labels/10/128",
)
STEPS = ("post", "wide")
# As patterns: step/post alone would be step/post/bfloat16 too.
PATTERNS = ("step/pos?", "step/wid?")
LEVEL = 1.1

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, the TPU's compiler, is missing"
)
needs_the_newest_jax = pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="libtpu is installed beside the newest JAX"
)


def test_every_layer_of_the_benchmark_is_here():
    assert {case.split("/")[0] for case in LAYERS} == {case.layer for case in CASES}


@needs_libtpu
@needs_the_newest_jax
def test_the_rules_and_the_steps_compile_for_a_tpu_with_few_bytes(tmp_path):
    """In one test, hence one process: libtpu is loaded by one at a time."""
    path = tmp_path / "rows.json"
    code, out, err = run(
        "bench", "--compile-for", "tpu", "--json", path, "--cases", *LAYERS, *PATTERNS
    )
    assert code == 0, out + err
    found = json.loads(path.read_text())
    assert found["chip"] == "TPU v5 lite"
    rows = {(row["case"], row["what"]): row for row in found["rows"]}
    passes = {(case.name, what) for case in CASES if case.name in LAYERS for what in case.passes}
    assert set(rows) == passes | {(f"step/{network}", "alone") for network in STEPS}
    for name, row in rows.items():
        assert row["hand"]["bytes"] > 0, name
        assert row["bytes_of_automatic"] <= LEVEL, (name, row)

    assert len(found["sharded"]) == 2 * len(STEPS)
    for sharded in found["sharded"]:
        network = sharded["step"].removeprefix("step/")
        gradients = jax.tree.leaves(jax.eval_shape(lambda n=network: networks.parameters(n)))
        reduced = sharded["collectives"].pop("all-reduce")
        assert set(sharded["collectives"].values()) == {0}, sharded
        # One a gradient, which may be combined, and the loss and the accuracy.
        assert 1 <= reduced <= len(gradients) + 2
        # XLA may round what it sums together up to a tile.
        assert sharded["all_reduced_bytes"] >= 4 * sum(g.size for g in gradients)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(_errors.CommandError, match="pip install libtpu"):
        chip.devices("v5e:1x1")
