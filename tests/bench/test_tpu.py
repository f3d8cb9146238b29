"""The TPU's own compiler on the rules and the step, where `pip install libtpu` has brought it."""

import importlib.util
import json

import jax
import pytest

from jaxcnn import _errors
from jaxcnn.bench import chip, networks
from tests.processes import run

# Every kind of pooling, one grouped convolution, and the step, which holds nearly all layers.
CASES = (
    "max_pool/2x2/s2/32/128x28x28",
    "max_pool/3x3/s2/64/32x28x28",
    "avg_pool/3x3/s2/64/32x28x28",
    "conv/3x3/g4/64-64/32x28x28",
    "step/pos?",  # and not step/post/bfloat16
)
# dx of overlapping windows, by itself: both passes together take fewer bytes than autodiff's.
ALONE = {("max_pool/3x3/s2/64/32x28x28", "dx")}

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, the TPU's compiler, is missing"
)
needs_the_newest_jax = pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="libtpu is installed beside the newest JAX"
)


@needs_libtpu
@needs_the_newest_jax
def test_the_rules_and_the_step_compile_for_a_tpu_with_few_bytes(tmp_path):
    """In one test, hence one process: libtpu is loaded by one at a time."""
    path = tmp_path / "rows.json"
    code, out, err = run("bench", "--compile-for", "tpu", "--json", path, "--cases", *CASES)
    assert code == 0, out + err
    found = json.loads(path.read_text())
    assert found["chip"] == "TPU v5 lite"
    rows = {(row["case"], row["what"]): row for row in found["rows"]}
    assert {case for case, _ in rows} == {*CASES[:-1], "step/post"}
    for name, row in rows.items():
        assert row["hand"]["flops"] > 0
        assert row["bytes_of_automatic"] <= 1.1 or name in ALONE, row

    gradients = jax.tree.leaves(jax.eval_shape(lambda: networks.parameters("post")))
    assert len(found["sharded"]) == 2
    for sharded in found["sharded"]:
        reduced = sharded["collectives"].pop("all-reduce")
        assert set(sharded["collectives"].values()) == {0}
        assert 1 <= reduced <= len(gradients) + 2  # and the loss and the accuracy
        # XLA may round what it sums together up to a tile.
        assert sharded["all_reduced_bytes"] >= 4 * sum(g.size for g in gradients)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(_errors.CommandError, match="pip install libtpu"):
        chip.devices("v5e:1x1")
