"""How far cores are from each other: what is measured, where it cannot be, and what is left."""

import os
import subprocess

import pytest

from jaxcnn.bench import distance
from tests.processes import has_ended, started_by_one_that_is_killed, wait_until

linux = hasattr(os, "memfd_create") and len(os.sched_getaffinity(0)) > 1
pytestmark = pytest.mark.skipif(not linux, reason="Linux alone has cores to be chosen")


@pytest.fixture
def started(monkeypatch):
    """The processes that answer."""
    processes, start = [], subprocess.Popen

    def recorded(*words, **options):
        processes.append(start(*words, **options))
        return processes[-1]

    monkeypatch.setattr(distance.subprocess, "Popen", recorded)
    return processes


def test_a_byte_goes_from_core_to_core_and_back(started):
    cores = os.sched_getaffinity(0)
    with distance.of_cores() as measured:
        (process,) = started
        assert os.sched_getaffinity(process.pid) == {max(cores)}
        for _ in range(3):
            seconds = measured()
            # A cache's line takes tens of nanoseconds, waking a thread tens of microseconds.
            assert seconds is not None
            assert 5e-8 < seconds < 1e-4
            assert os.sched_getaffinity(0) == cores
    assert process.poll() is not None


@pytest.mark.parametrize(
    "answering", ["raise PermissionError", "print(flush=True); import time; time.sleep(600)"]
)
def test_where_the_last_core_does_not_answer_it_is_unknown(answering, started, monkeypatch):
    monkeypatch.setattr(distance, "_ANSWERING", answering)
    monkeypatch.setattr(distance, "_PATIENCE", 1000)
    cores = os.sched_getaffinity(0)
    with distance.of_cores() as measured:
        assert measured() is None
        assert measured() is None
        assert os.sched_getaffinity(0) == cores
    assert started[0].poll() is not None


def test_one_core_has_no_distance(monkeypatch, started):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with distance.of_cores() as measured:
        assert measured() is None
    assert not started


def test_what_answers_ends_with_a_process_that_is_killed():
    words = "from jaxcnn.bench import distance; import subprocess; start = subprocess.Popen\n"
    words += "def told(*a, **k):\n p = start(*a, **k); print(p.pid, flush=True); return p\n"
    words += "distance.subprocess.Popen = told\n"
    words += "with distance.of_cores() as d: d(); print('on', flush=True); input()\n"
    (pid,) = started_by_one_that_is_killed(words)
    wait_until(lambda: has_ended(pid))
