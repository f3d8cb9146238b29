"""Real processes: killed, interrupted, and out of disk."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.proof import kills

# The limit is set in the child: a function between fork and exec would run beside JAX's threads.
LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
runpy.run_module("jaxcnn", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """A run from start to end, when it began to train, and when it ended."""
    folder = tmp_path_factory.mktemp("runs") / "unharmed"
    return folder, *kills.unharmed(folder)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_run_killed_and_resumed_is_the_unharmed_run_to_the_bit(share, unharmed, tmp_path):
    folder, trained, end = unharmed
    kills.kill_and_resume(tmp_path / "run", trained + share * (end - trained))
    kills.assert_same(tmp_path / "run", folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_resume(number, unharmed, tmp_path):
    folder = tmp_path / "run"
    process = processes.start("train", *kills.FLAGS, "--out", folder)
    with processes.group(process):
        processes.wait_for(lambda: processes.evaluations(folder) >= 2, process)
        process.send_signal(number)
        status, _, err = processes.finish(process)
    # So that nothing follows it in `jaxcnn train && ...`.
    assert status == 128 + number
    (last,) = err.splitlines()
    (step,) = processes.checkpoint_steps(folder)[-1:]
    assert 18 <= step < 108
    command = f"jaxcnn train --resume --out {folder}"
    assert last == (
        f"jaxcnn: stopped by {number.name}, saved after step {step}; resume with: {command}"
    )
    # The command that it prints, word for word.
    status, _, err = processes.run(*command.split()[1:])
    assert status == 0, err
    kills.assert_same(folder, unharmed[0])


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_there_was(tmp_path):
    folder = tmp_path / "run"
    flags = ("train", "--dataset", "digits", "--batch-size", "400", "--epochs", "4",
             "--no-compilation-cache", "--out", str(folder))  # fmt: skip
    # No file may grow past 300 kB: the configuration and the metrics fit, a checkpoint does not.
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, *flags],
        env=processes.environment(),
        capture_output=True,
        text=True,
        timeout=processes.LIMIT,
        check=False,
    )
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("jaxcnn: error: no checkpoint could be written")
    assert str(folder / "checkpoints") in line
    assert processes.checkpoint_steps(folder) == []
    # Epochs are short here, so the first checkpoint is due at the end; what came before is kept.
    assert processes.evaluations(folder) == 4
    # With room again, the run begins anew and comes to its end.
    status, out, err = processes.run(*flags, "--resume")
    assert status == 0, err
    assert "test accuracy" in out.splitlines()[-1]


def test_a_metrics_file_that_cannot_grow_ends_the_run_in_one_line(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    flags = ("train", "--dataset", "digits", "--steps", "2", "--out", folder, "--resume")
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (folder / "metrics.jsonl.new").symlink_to(full)
    status, _, err = processes.run(*flags)
    assert status == 2
    assert "metrics.jsonl" in err
    assert "Traceback" not in err
