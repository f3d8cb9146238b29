"""Ctrl-C at random moments: one line, status 130, no traceback, no crash.

    python -m tests.proof.interrupts --count 20

Every second moment is drawn from the first two and a half seconds, in which JAX starts, the others
from the first twelve. They count from where the package answers signals: before it has read a line
of this package, it is Python that answers.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests import processes

# Each takes longer than the last moment.
COMMANDS = {
    "train": ("train", "--dataset", "digits", "--epochs", "400"),
    "compare": ("compare",),
    "bench": ("bench", "--cases", "step", "--seconds", "60"),
}
START, LAST = 2.5, 12.0


def moments(count: int, seed: int) -> list[float]:
    """Seconds after the start, the same for the same seed."""
    generator = random.Random(seed)
    return [generator.uniform(0.0, LAST if n % 2 else START) for n in range(count)]


def interrupt(
    command: str, moment: float, folder: Path, number: signal.Signals = signal.SIGINT
) -> tuple[int, str]:
    """Send the signal to a command after so many seconds; its status and standard error."""
    words = COMMANDS[command]
    if command == "train":
        words = (*words, "--out", str(folder / f"{number.name}-{moment}"))
    process = processes.start(*words)
    with processes.group(process):
        _wait_until_it_answers(process.pid)
        time.sleep(moment)
        assert process.poll() is None, f"it ended before {moment:.2f} s: {process.communicate()}"
        process.send_signal(number)
        status, _, err = processes.finish(process)
    return status, err


def _wait_until_it_answers(pid: int) -> None:
    """Wait until the process catches SIGTERM, which Python itself leaves alone."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # not Linux
        time.sleep(1.0)
        return
    deadline = time.monotonic() + processes.LIMIT
    while time.monotonic() < deadline:
        caught = [line for line in status.read_text().splitlines() if line.startswith("SigCgt")]
        if caught and int(caught[0].split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


def fault(status: int, err: str, number: signal.Signals = signal.SIGINT) -> str:
    """What is wrong with how a command ended; empty where nothing is."""
    if status != 128 + number:
        return f"status {status}: {err[-300:]}"
    word = "interrupted" if number == signal.SIGINT else "terminated"
    lines = err.splitlines()
    if len(lines) != 1 or not lines[0].startswith((f"jaxcnn: {word}", "jaxcnn: stopped by")):
        return f"{len(lines)} lines: {err[-300:]}"
    return ""


def main() -> int:
    """Interrupt every command as often as asked for, and count those that ended as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="interrupts-"))
    right = 0
    try:
        for command in COMMANDS:
            for moment in moments(arguments.count, arguments.seed):
                status, err = interrupt(command, moment, root)
                wrong = fault(status, err)
                right += not wrong
                print(f"{command} {moment:.2f} s: {wrong or err.strip()}", flush=True)
    finally:
        shutil.rmtree(root)
    total = arguments.count * len(COMMANDS)
    print(f"{right} of {total} ended with one line and status 130")
    return 0 if right == total else 1


if __name__ == "__main__":
    sys.exit(main())
