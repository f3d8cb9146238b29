"""The engine of a run: a wide network's programs call oneDNN, and a narrow one's are kept."""

import json
import subprocess
import sys

import pytest

from jaxcnn.lowering import onednn
from tests.processes import environment

pytestmark = pytest.mark.skipif(
    not onednn.available("float32"), reason="no proven oneDNN in this jaxlib, or turned off"
)
NARROW, WIDE = "conv 2 3x3, pool 2", "conv 48 3x3, conv 32 3x3, pool 2"


def trained(folder, cache, *options, **variables):
    """Two steps on the digits in a process with a compilation cache, a warning being an error."""
    kept = {k: v for k, v in environment().items() if k != "JAXCNN_ONEDNN"}
    return subprocess.run(
        [sys.executable, "-W", "error:Error writing", "-m", "jaxcnn", "train", "--dataset",
         "digits", "--steps", "2", "--batch-size", "8", "--out", str(folder), *options],
        env=kept | {"JAX_COMPILATION_CACHE_DIR": str(cache)} | variables,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def record(folder):
    return json.loads((folder / "config.json").read_text())["devices"]["convolutions"]


def test_a_narrow_networks_programs_are_kept(tmp_path):
    trained(tmp_path / "run", tmp_path / "cache", "--model", NARROW)
    assert record(tmp_path / "run") == "XLA"
    assert any("jit_chunk" in file.name for file in (tmp_path / "cache").iterdir())


def test_a_wide_network_has_the_engine_and_a_resumed_run_says_where_it_changes(tmp_path):
    run, cache = tmp_path / "run", tmp_path / "cache"
    first = trained(run, cache, "--model", WIDE)
    assert "Error writing" not in first.stderr
    assert record(run) == "oneDNN"
    assert not any("jit_chunk" in file.name for file in cache.glob("*"))
    changed = trained(run, cache, "--resume", "--steps", "3", JAXCNN_ONEDNN="0")
    assert "convolutions oneDNN -> XLA" in changed.stderr
