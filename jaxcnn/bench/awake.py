"""The processor's cores kept awake while short programs are timed.

A core without work is put to sleep, in a virtual machine lent to others, and waking it takes as
long as a small layer does. A process on each core that Linux runs only where there is nothing else
to run keeps it from sleeping. Where several threads compute for milliseconds it does harm, probably
because Linux takes such a core for a busy one, and gives it no thread that waits for another. So
whole networks are timed without.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator

# It ends with whoever started it, however that ended.
_SPIN = """
import os, sys
core, parent = map(int, sys.argv[1:])
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {core})
print(flush=True)
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def cores() -> Generator[bool]:
    """Keep this process's cores awake; yields whether that could be done.

    Another system than Linux has no such processes, and some sandboxes do not let them be.
    """
    if not hasattr(os, "SCHED_IDLE"):
        yield False
        return
    with contextlib.ExitStack() as stack:
        spinning = [_spinning(core, stack) for core in os.sched_getaffinity(0)]
        # The line that each writes once it gives way to all others; none where it may not.
        yield all([process.stdout is not None and process.stdout.read(1) for process in spinning])


def possible() -> bool:
    """Whether they can be kept awake here."""
    with cores() as kept_awake:
        return kept_awake


def _spinning(core: int, stack: contextlib.ExitStack) -> "subprocess.Popen[bytes]":
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-S", "-c", _SPIN, str(core), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    )
    stack.callback(process.kill)
    return process
