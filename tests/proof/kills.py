"""Kill a run at random moments, resume it, and hold its parameters against an unharmed run's.

    python -m tests.proof.kills --count 30

Each run is killed once, at a moment drawn evenly from the time that the unharmed run took (its
start and compilation included) or, every second time, from the time that it trained; then it is
resumed to its end. All that the final checkpoints hold must be equal to the bit.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests import processes

# A checkpoint every 5 steps and an evaluation every 9, so that kills fall on all their orders.
FLAGS = ("--dataset", "digits", "--recipe", "fast", "--epochs", "12", "--checkpoint-every", "5")


def unharmed(folder: Path) -> tuple[float, float]:
    """Make the run that the others are held against; when it began to train, and its end."""
    began = time.monotonic()
    process = processes.start("train", *FLAGS, "--out", folder)
    with processes.group(process):
        processes.wait_for(lambda: processes.evaluations(folder) > 0, process)
        trained = time.monotonic() - began
        status, _, err = processes.finish(process)
    assert status == 0, err
    return trained, time.monotonic() - began


def kill_and_resume(folder: Path, moment: float) -> int | None:
    """Kill a run after so many seconds and resume it; the step that its checkpoint was at."""
    process = processes.start("train", *FLAGS, "--out", folder)
    with processes.group(process):
        time.sleep(moment)
        processes.kill(process)
    steps = processes.checkpoint_steps(folder)
    status, out, err = processes.run("train", *FLAGS, "--out", folder, "--resume")
    assert status == 0, err
    assert out.splitlines()[-1].startswith("test accuracy 0."), out
    return steps[-1] if steps else None


def assert_same(folder: Path, other: Path) -> None:
    """All numbers of the final checkpoints, and all metrics but the times, are equal."""
    assert processes.final_digest(folder) == processes.final_digest(other)
    assert processes.metrics_without_times(folder) == processes.metrics_without_times(other)


def main() -> int:
    """Kill as many runs as were asked for, and count those that came back whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    whole = 0
    try:
        reference = root / "unharmed"
        unharmed(root / "warm")  # so that the compilation cache is warm for all that follow
        trained, end = unharmed(reference)
        print(f"unharmed: trains from {trained:.1f} s to {end:.1f} s", flush=True)
        for number in range(arguments.count):
            moment = generator.uniform(trained if number % 2 else 0, end)
            folder = root / str(number)
            step = kill_and_resume(folder, moment)
            try:
                assert_same(folder, reference)
                verdict = "identical"
                whole += 1
            except AssertionError as error:
                verdict = f"DIFFERENT: {str(error)[:200]}"
            print(f"{number}: killed at {moment:.2f} s, resumed from {step}: {verdict}", flush=True)
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(root)
    print(f"{whole} of {arguments.count} identical to the bit")
    return 0 if whole == arguments.count else 1


if __name__ == "__main__":
    sys.exit(main())
