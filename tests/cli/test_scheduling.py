"""How Linux schedules the threads of a process of the command line."""

import os
import subprocess
import sys

import pytest

from tests import processes

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has batches")

# The policy of every thread, once JAX has started its own.
_POLICIES = """
import os, sys
if len(sys.argv) > 1:
    os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0))
from jaxcnn.cli import scheduling
scheduling.batch()
import jax, jax.numpy as jnp
jax.jit(jnp.matmul)(jnp.ones((300, 300)), jnp.ones((300, 300))).block_until_ready()
threads = [int(name) for name in os.listdir("/proc/self/task")]
print(len(threads), *{os.sched_getscheduler(thread) for thread in threads})
"""


def _policies(*words: str) -> tuple[int, set[int]]:
    done = subprocess.run(
        [sys.executable, "-c", _POLICIES, *words],
        env=processes.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    threads, *policies = map(int, done.stdout.split())
    return threads, set(policies)


def test_every_thread_is_batch():
    threads, policies = _policies()
    assert threads > 1
    assert policies == {os.SCHED_BATCH}


def test_a_policy_that_the_user_chose_stays():
    assert _policies(str(os.SCHED_IDLE))[1] == {os.SCHED_IDLE}


def test_the_command_line_is_batch():
    words = [sys.executable, "-m", "jaxcnn", "bench", "--no-torch", "--repeats", "1"]
    done = subprocess.run(
        [*words, "--seconds", "0.1", "--cases", "conv/3x3/12-20/7x17x13"],
        env=processes.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "SCHED_BATCH" in done.stdout
