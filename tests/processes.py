"""Real `jaxcnn` processes on the bundled digits: started, watched, killed, none left behind."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Compiled once, by whichever process comes first; gone when the tests are.
_CACHE = tempfile.TemporaryDirectory(prefix="jaxcnn-compiled-")
LIMIT = 240  # seconds; a process that takes longer is killed, and its test fails


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, with one CPU device and one compilation cache for all tests."""
    cleared = {"JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "JAX_ENABLE_X64"}
    kept = {name: value for name, value in os.environ.items() if name not in cleared}
    ours = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": _CACHE.name}
    return kept | ours | variables


def start(*words: object, **variables: str) -> subprocess.Popen[str]:
    """`jaxcnn` with these words, in a process of its own."""
    return start_module("jaxcnn", *words, **variables)


def start_module(module: str, *words: object, **variables: str) -> subprocess.Popen[str]:
    """`python -m module` with these words, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], limit: float = LIMIT) -> tuple[int, str, str]:
    """Its exit status, standard output and standard error; killed where it takes too long."""
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {limit} s\n{out}\n{err}") from None
    return process.returncode, out, err


def run(*words: object, **variables: str) -> tuple[int, str, str]:
    """`start`, then `finish`."""
    return finish(start(*words, **variables))


@contextlib.contextmanager
def group(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Kill what is still running of these when the block is left."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the condition holds; fail where the process ends first, or time runs out."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "time ran out"
        time.sleep(0.01)


def free_port() -> int:
    """A port of the loopback device that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kill(process: subprocess.Popen[str]) -> None:
    """Kill as `kill -9` does."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def evaluations(folder: Path) -> int:
    """How many whole lines of metrics a run has written."""
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def metrics_without_times(folder: Path) -> list[dict]:
    """The lines of metrics, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["time"]
    return lines


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of a run's whole checkpoints."""
    found = (folder / "checkpoints").glob("*")
    return sorted(int(path.name) for path in found if path.name.isdigit())


def final_digest(folder: Path) -> tuple[int, str]:
    """The step of a run's newest checkpoint, and the SHA-256 over every number in it."""
    step = checkpoint_steps(folder)[-1]
    note = json.loads((folder / "checkpoints" / str(step) / "note" / "metadata").read_text())
    return step, note["digest"]


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Until it is true; fails where that takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Whether it is gone, or waits to be collected by whoever has it now."""
    try:
        with open(f"/proc/{pid}/stat") as line:
            return line.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def started_by_one_that_is_killed(words: str) -> list[int]:
    """Who was started by Python lines that print each one's number, then "on", and are killed."""
    parent = subprocess.Popen(
        [sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(line) for line in itertools.takewhile(lambda s: s != "on\n", parent.stdout)]
        parent.kill()
    return pids
