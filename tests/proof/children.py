"""Random geometries in child processes, since XLA or its engine can end one: counted, not lost."""

import argparse
import subprocess
import sys
from collections.abc import Callable

EACH = 20  # geometries a child


def run(
    module: str,
    about: str,
    *,
    geometry: Callable[[int, int], object],
    disagreement: Callable[[int, int], tuple[float, str]],
    most: float,
    count: int,
) -> int:
    """Work through the geometries that the command line names; 1 where one ended or disagreed.

    Args:
        module: of the caller, to be started again as a child.
        about: what `--help` says.
        geometry: `(seed, number)` to what is printed of one that failed.
        disagreement: `(seed, number)` to its error, and a word or two that are counted.
        most: the largest error that is none.
        count: how many where the command line does not say.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seed = arguments.seed
    if arguments.first is not None:
        for number in range(arguments.first, arguments.first + arguments.count):
            print(number, *disagreement(seed, number), flush=True)
        return 0
    ended, wrong, number, words = 0, 0, 0, {}
    while number < arguments.count:
        size = min(EACH, arguments.count - number)
        child = subprocess.run(
            [sys.executable, "-m", module, "--seed", str(seed), "--first", str(number),
             "--count", str(size)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [line.split(maxsplit=2) for line in child.stdout.splitlines()]
        for name, error, *rest in lines:
            for word in " ".join(rest).split():
                words[word] = words.get(word, 0) + 1
            if not float(error) < most:
                wrong += 1
                print(f"{name}: off by {error}: {geometry(seed, int(name))}", flush=True)
        number += size
        if child.returncode:
            number += len(lines) - size
            ended += 1
            print(f"{number} ended: {geometry(seed, number)}\n{child.stderr[-500:]}", flush=True)
            number += 1
    print(
        f"seed {seed}: {arguments.count} geometries: {ended} ended the process, "
        f"{wrong} disagreements; {words}"
    )
    return 1 if ended or wrong else 0
