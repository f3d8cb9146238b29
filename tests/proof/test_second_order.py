"""A few second derivatives in a child; `second_order` runs thousands."""

import subprocess
import sys

from tests.processes import environment


def test_second_derivatives_end_no_process():
    command = [sys.executable, "-m", "tests.proof.second_order", "--count", "6", "--seed", "3"]
    found = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert "6 geometries: 0 ended the process, 0 disagreements" in found.stdout, found
