"""Cores that are kept awake: one process on each, which gives way, and which ends."""

import os
import signal

import pytest

from jaxcnn.bench import awake
from tests.processes import has_ended, started_by_one_that_is_killed, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux alone has SCHED_IDLE")


@pytest.fixture
def started(monkeypatch):
    """The processes by the core that they were started for."""
    processes, start = {}, awake._spinning

    def recorded(core, stack):
        processes[core] = start(core, stack)
        return processes[core]

    monkeypatch.setattr(awake, "_spinning", recorded)
    return processes


def test_each_core_has_a_process_that_gives_way_to_all_others(started):
    with awake.cores() as kept_awake:
        if not kept_awake:
            pytest.skip("this sandbox has no such processes")
        assert set(started) == os.sched_getaffinity(0)
        for core, process in started.items():
            assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
            wait_until(lambda p=process, c=core: os.sched_getaffinity(p.pid) == {c})
            assert process.poll() is None
    assert all(process.poll() == -signal.SIGKILL for process in started.values())


def test_it_says_where_linux_does_not_let_them(started, monkeypatch):
    monkeypatch.setattr(awake, "_SPIN", "raise PermissionError")
    with awake.cores() as kept_awake:
        assert kept_awake is False
    assert not awake.possible()
    assert all(process.poll() is not None for process in started.values())


def test_they_end_with_a_process_that_is_killed():
    words = "from jaxcnn.bench import awake; s = awake._spinning\n"
    words += "def told(core, stack):\n p = s(core, stack); print(p.pid, flush=True); return p\n"
    words += "awake._spinning = told\nwith awake.cores():\n print('on', flush=True); input()\n"
    spinning = started_by_one_that_is_killed(words)
    assert spinning
    for pid in spinning:
        wait_until(lambda pid=pid: has_ended(pid))
