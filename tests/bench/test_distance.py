"""How far cores are from each other: what is measured, where it cannot be, and what is left."""

import os
import subprocess
import types

import pytest

from jaxcnn.bench import distance
from tests.processes import has_ended, started_by_one_that_is_killed, wait_until

linux = hasattr(os, "memfd_create") and len(os.sched_getaffinity(0)) > 1
on_linux = pytest.mark.skipif(not linux, reason="Linux alone has cores to be chosen")


@pytest.fixture
def started(monkeypatch):
    """The processes that answer."""
    processes, start = [], subprocess.Popen

    def recorded(*words, **options):
        processes.append(start(*words, **options))
        return processes[-1]

    monkeypatch.setattr(distance.subprocess, "Popen", recorded)
    return processes


@on_linux
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


@on_linux
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


@on_linux
def test_one_core_has_no_distance(monkeypatch, started):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with distance.of_cores() as measured:
        assert measured() is None
    assert not started


@on_linux
def test_what_answers_ends_with_a_process_that_is_killed():
    words = "from jaxcnn.bench import distance; import subprocess; start = subprocess.Popen\n"
    words += "def told(*a, **k):\n p = start(*a, **k); print(p.pid, flush=True); return p\n"
    words += "distance.subprocess.Popen = told\n"
    words += "with distance.of_cores() as d: d(); print('on', flush=True); input()\n"
    (pid,) = started_by_one_that_is_killed(words)
    wait_until(lambda: has_ended(pid))


class Cores:
    """Distances one after the other, and a clock that only waiting and timing move."""

    def __init__(self, monkeypatch, distances):
        self.left, self.now, self.timed = list(distances), 0.0, 0
        clock = types.SimpleNamespace(perf_counter=lambda: self.now, sleep=self.wait)
        monkeypatch.setattr(distance, "time", clock)

    def wait(self, seconds):
        self.now += seconds

    def distance(self):
        return self.left.pop(0)

    def time(self):
        """Something that takes ten seconds."""
        self.wait(10.0)
        self.timed += 1
        return self.timed


@pytest.mark.parametrize(
    ("patience", "distances", "found", "seconds"),
    [
        # Without patience it is told as it is.
        (0.0, [2.0, 6.0], (1, (2.0, 6.0)), 10.0),
        (60.0, [2.0, 2.9], (1, (2.0, 2.9)), 10.0),
        (60.0, [None, None], (1, ()), 10.0),
        # They went apart while it was timed: it waits until they are near, and times it again.
        (60.0, [2.0, 6.0, 6.0, 6.0, 2.0, 2.1], (2, (2.0, 2.1)), 20.5),
        # They came together meanwhile: what it took for near was far.
        (60.0, [6.0, 2.0, 2.0, 2.0], (2, (2.0, 2.0)), 20.0),
        # What it may spend is spent.
        (5.0, [2.0, 6.0, 6.0, 6.0], (2, (6.0, 6.0)), 20.0),
        (10.5, [2.0, 6.0, 6.0, 6.0, 6.0, 6.0], (2, (6.0, 6.0)), 20.5),
    ],
)
def test_it_waits_and_times_again(patience, distances, found, seconds, monkeypatch):
    cores = Cores(monkeypatch, distances)
    assert distance.Watch(cores.distance, patience).over(cores.time) == found
    assert cores.now == seconds


def test_what_is_near_is_remembered_and_patience_is_of_all_rows_together(monkeypatch):
    cores = Cores(monkeypatch, [2.0, 2.0, 6.0, 6.0, 2.0, 2.0, *[6.0] * 4])
    watch = distance.Watch(cores.distance, 0.75)
    assert watch.over(cores.time) == (1, (2.0, 2.0))
    assert watch.over(cores.time) == (2, (2.0, 2.0))
    assert watch.over(cores.time) == (3, (6.0, 6.0))
    assert cores.now == 30.75
