"""A few second derivatives in a child; `second_order` runs thousands."""

import subprocess
import sys

import pytest

from tests.processes import environment

# Where XLA would take an axis of a second derivative for its groups and end the process.
LIKE_GROUPS = [64, 357]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.proof.second_order", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def test_second_derivatives_end_no_process():
    found = run("--count", 6, "--seed", 3)
    assert "6 geometries: 0 ended the process, 0 disagreements" in found.stdout, found


@pytest.mark.parametrize("number", LIKE_GROUPS)
def test_an_axis_that_xla_takes_for_groups(number):
    found = run("--count", 1, "--seed", 0, "--first", number)
    name, error, *_ = found.stdout.split() or ("ended", "inf")
    assert (name, found.returncode) == (str(number), 0), found
    assert float(error) < 1e-3, found
