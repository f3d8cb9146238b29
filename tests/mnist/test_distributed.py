"""The same run on one device, on eight, and on two processes of four: started for real."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import processes
from tests.mnist import distributed_worker as worker

FLAGS = ("train", "--dataset", "digits", "--recipe", "fast", "--batch-size", "64", "--epochs", "3",
         "--checkpoint-every", "18", "--keep", "9")  # fmt: skip


def pair(*words: object, devices: int = 2):
    """Two processes of one run, each with so many devices, on the loopback device."""
    port = processes.free_port()
    return [
        processes.start(
            *words,
            *("--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--process-id", i),
            JAX_NUM_CPU_DEVICES=str(devices),
        )
        for i in range(2)
    ]


def run_pair(*words: object) -> list[tuple[int, str, str]]:
    both = pair(*words)
    with processes.group(*both):
        ends = [processes.finish(process) for process in both]
    for status, out, err in ends:
        assert status == 0, out + err
    return ends


@pytest.fixture(scope="module")
def by_layout(tmp_path_factory):
    """What the worker computes on 1 device, 8 devices, and 2 processes of 4 devices each."""
    folder = tmp_path_factory.mktemp("layouts")
    port = processes.free_port()
    both = [
        processes.start_module(
            "tests.mnist.distributed_worker", folder / "pair.npz", f"127.0.0.1:{port}", i,
            JAX_NUM_CPU_DEVICES="4",
        )
        for i in range(2)
    ]  # fmt: skip
    with processes.group(*both):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            results = {n: worker.compute(n) for n in (1, 8)}
        for process in both:
            status, out, err = processes.finish(process)
            assert status == 0, out + err
    with np.load(folder / "pair.npz") as pair_result:
        return results | {"2x4": dict(pair_result)}


@pytest.mark.parametrize("layout", [8, "2x4"])
def test_order_gradients_and_parameters_do_not_depend_on_the_devices(layout, by_layout):
    one, other = by_layout[1], by_layout[layout]
    assert one.keys() == other.keys()
    np.testing.assert_array_equal(one["order"], other["order"])
    gradient = [name for name in one if name.startswith("gradient")]
    parameters = [name for name in one if name.startswith("params")]
    assert len(gradient) == len(parameters) == 12
    distance, norm = (
        np.sqrt(sum(np.square(tree[name], dtype=np.float64).sum() for name in gradient))
        for tree in ({n: one[n] - other[n] for n in gradient}, one)
    )
    assert one[gradient[0]].dtype == np.float32
    assert 0 < norm < np.inf
    assert distance / norm < 1e-5
    for name in parameters:
        assert one[name].dtype == np.float64
        np.testing.assert_allclose(other[name], one[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """An unharmed run by two processes."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    (_, first, _), (_, second, _) = run_pair(*FLAGS, "--out", folder)
    # The first process alone speaks.
    assert without_gloo(first).splitlines()[-1].startswith("test accuracy 0.")
    assert without_gloo(second).strip() == ""
    return folder


def without_gloo(out: str) -> str:
    """What a process printed but the lines of Gloo's threads, whose words fall between each other.

    Its phrases are never cut, so without them only ranks and counts are left, which go too.
    """
    words = ("[Gloo] Rank ", " is connected to ",
             " peer ranks. Expected number of connected peer ranks is : ")  # fmt: skip
    for phrase in words:
        out = out.replace(phrase, "\n")
    return "\n".join(line for line in out.splitlines() if not line.strip().isdecimal())


def test_the_lines_of_gloo_are_recognised_even_when_mixed():
    line = (
        "[Gloo] Rank 1 is connected to 3 peer ranks. Expected number of connected peer ranks is : 3"
    )
    mixed = (
        "[Gloo] Rank [Gloo] Rank 11 is connected to 1 is connected to 1 peer ranks. Expected "
        "number of connected peer ranks is : 1\n\n"
        " peer ranks. Expected number of connected peer ranks is : 3\n"
    )
    assert without_gloo(line + "\n" + mixed).strip() == ""
    ours = "test accuracy 0.9912"
    assert without_gloo(f"{mixed}{ours}\n{line}").strip() == ours


def params_of(folder: Path) -> dict[str, np.ndarray]:
    from jaxcnn.mnist.run import trained

    leaves = jax.tree_util.tree_leaves_with_path(trained.load(folder).params)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_close(folder: Path, other: Path) -> None:
    """The same run but for rounding, which training amplifies."""
    one, two = params_of(folder), params_of(other)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=2e-2, atol=2e-3, err_msg=name)
    lines = [processes.metrics_without_times(path) for path in (folder, other)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]


def test_one_of_two_killed_ends_the_other_and_both_resume(by_two, tmp_path):
    folder = tmp_path / "run"
    both = pair(*FLAGS, "--out", folder)
    with processes.group(*both):
        processes.wait_for(lambda: processes.evaluations(folder) >= 1, both[0])
        processes.kill(both[1])
        status, out, err = processes.finish(both[0], limit=60)
    assert status != 0
    assert "test accuracy" not in out
    (line,) = [line for line in err.splitlines() if line.startswith("jaxcnn: error: ")]
    assert "another process of the run has died" in line
    assert f"jaxcnn train --resume --out {folder}" in line
    assert processes.checkpoint_steps(folder)[-1:] != [54]

    alone = Path(shutil.copytree(folder, tmp_path / "alone"))
    run_pair(*FLAGS, "--out", folder, "--resume")
    assert processes.final_digest(folder) == processes.final_digest(by_two)
    assert processes.metrics_without_times(folder) == processes.metrics_without_times(by_two)
    status, _, err = processes.run(*FLAGS, "--out", alone, "--resume")
    assert status == 0, err
    assert "not bit for bit" in err
    assert_close(alone, by_two)


def test_the_first_process_killed_ends_the_other(tmp_path):
    # It keeps the books for all: JAX's runtime aborts the others, in C++, as soon as it is gone.
    folder = tmp_path / "run"
    both = pair(*FLAGS, "--out", folder)
    with processes.group(*both):
        processes.wait_for(lambda: processes.evaluations(folder) >= 1, both[0])
        processes.kill(both[0])
        status, _, err = processes.finish(both[1], limit=60)
    assert status == 2
    last = err.splitlines()[-1]
    assert last.startswith("jaxcnn: error: another process of the run has died")
    assert f"jaxcnn train --resume --out {folder}" in last


def test_a_checkpoint_of_one_process_resumes_on_two_and_the_other_way(by_two, tmp_path):
    one = tmp_path / "one"
    status, _, err = processes.run(*FLAGS, "--out", one)
    assert status == 0, err
    assert_close(one, by_two)
    for source, others in ((one, 2), (by_two, 1)):
        folder = Path(shutil.copytree(source, tmp_path / f"on{others}"))
        for step in processes.checkpoint_steps(folder)[1:]:
            shutil.rmtree(folder / "checkpoints" / str(step))
        assert processes.checkpoint_steps(folder) == [18]
        if others == 2:
            run_pair(*FLAGS, "--out", folder, "--resume")
        else:
            status, _, err = processes.run(*FLAGS, "--out", folder, "--resume")
            assert status == 0, err
        assert_close(folder, by_two)


def test_processes_agree_on_a_mistake(by_two):
    before = (by_two / "metrics.jsonl").read_bytes()
    both = pair(*FLAGS, "--out", by_two)
    with processes.group(*both):
        ends = [processes.finish(process) for process in both]
    for status, _, err in ends:
        assert status == 2
        assert "already holds a run" in err
    assert (by_two / "metrics.jsonl").read_bytes() == before


def test_a_run_on_eight_devices_says_so(tmp_path):
    folder = tmp_path / "run"
    words = (*FLAGS, "--steps", 2, "--out", folder)
    status, out, err = processes.run(*words, JAX_NUM_CPU_DEVICES="8")
    assert status == 0, err
    assert "on 8 devices" in out
    record = json.loads((folder / "config.json").read_text())
    assert record["devices"]["count"] == 8
    assert sys.version.split()[0] == record["versions"]["python"]
