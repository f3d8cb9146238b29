"""How far two cores are from each other: the seconds that a byte takes there and back.

A virtual machine's cores are moved about. While two of them are near each other, a program whose
parts are handed from thread to thread runs at one speed, and while they are far, probably without a
last-level cache that both share, at another; that lasts for seconds or minutes, and no figure of
the operating system shows it.
"""

import contextlib
import math
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from typing import TypeVar

Distance = Callable[[], float | None]
Found = TypeVar("Found")

# So many times as far from each other as at the nearest, cores are far.
FAR = 1.5
_BETWEEN_LOOKS = 0.25

_ROUNDS = 100
_SAMPLES = 20
# A core on which another program runs answers when that program's turn is over.
_PATIENCE = 1_000_000
# OpenMP's threads hold their cores for some time after PyTorch's last call.
_OTHERS_SLEEP = 0.02

# Answers every byte that is new, as often as it is told, until nobody is there to tell it.
_ANSWERING = f"""
import mmap, os, sys
memory, core = map(int, sys.argv[1:])
os.sched_setaffinity(0, {{core}})
shared = mmap.mmap(memory, mmap.PAGESIZE)
print(flush=True)
while sys.stdin.buffer.read(1):
    for _ in range({_ROUNDS * _SAMPLES}):
        for _ in range({_PATIENCE}):
            if shared[0] != shared[128]:
                break
        else:
            sys.exit()
        shared[128] ^= 1
"""


def unknown() -> None:
    """Where it cannot be measured."""


@contextlib.contextmanager
def of_cores() -> Generator[Distance]:
    """What measures it between this process's first core and its last.

    It gives None where there is one core, where the system is not Linux, or where the last core
    does not answer.
    """
    if not hasattr(os, "memfd_create") or len(os.sched_getaffinity(0)) < 2:
        yield unknown
        return
    last = max(os.sched_getaffinity(0))
    memory = os.memfd_create("distance")
    os.ftruncate(memory, mmap.PAGESIZE)
    with (
        mmap.mmap(memory, mmap.PAGESIZE) as shared,
        subprocess.Popen(
            [sys.executable, "-S", "-c", _ANSWERING, str(memory), str(last)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a byte that was not taken is not kept to be written once more
            pass_fds=(memory,),
        ) as process,
    ):
        os.close(memory)
        assert process.stdout is not None
        process.stdout.read(1)
        try:
            yield lambda: _measured(process, shared)
        finally:
            process.kill()


class Watch:
    """Sees how far the cores are while something is timed, and waits while they are far.

    What is far shows by the nearest that it has seen: a run that starts while they are far takes
    that for near, until they are nearer.
    """

    def __init__(self, distance: Distance = unknown, patience: float = 0.0):
        """Of this distance; patience is how many seconds it may spend in all."""
        self._distance, self._patience = distance, patience
        self._nearest = math.inf

    def over(self, timed: Callable[[], Found]) -> tuple[Found, tuple[float, ...]]:
        """What it returns, and how far the cores were before and after, where that is known."""
        while True:
            start = time.perf_counter()
            before = self._once_near()
            found = timed()
            apart = tuple(d for d in (before, self._look()) if d is not None)
            if self._patience <= 0 or not any(map(self._is_far, apart)):
                return found, apart
            self._patience -= time.perf_counter() - start

    def _once_near(self) -> float | None:
        found = self._look()
        while self._patience > 0 and found is not None and self._is_far(found):
            time.sleep(_BETWEEN_LOOKS)
            self._patience -= _BETWEEN_LOOKS
            found = self._look()
        return found

    def _look(self) -> float | None:
        found = self._distance()
        self._nearest = min(self._nearest, found or math.inf)
        return found

    def _is_far(self, distance: float) -> bool:
        return distance > FAR * self._nearest


def _measured(process: "subprocess.Popen[bytes]", shared: mmap.mmap) -> float | None:
    assert process.stdin is not None
    time.sleep(_OTHERS_SLEEP)
    cores = os.sched_getaffinity(0)
    # Of this thread alone.
    os.sched_setaffinity(0, {min(cores)})
    try:
        process.stdin.write(b".")
        samples = [_there_and_back(shared) for _ in range(_SAMPLES)]
        return min(samples) / _ROUNDS
    except (BrokenPipeError, TimeoutError):
        process.kill()  # whatever it answers now is no answer to what it will be asked
        return None
    finally:
        os.sched_setaffinity(0, cores)


def _there_and_back(shared: mmap.mmap) -> float:
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        shared[0] ^= 1
        for _ in range(_PATIENCE):
            if shared[0] == shared[128]:
                break
        else:
            raise TimeoutError
    return time.perf_counter() - start
