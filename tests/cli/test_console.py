"""The process of the console script: signals, the clock, the bar on a terminal."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests import processes
from tests.proof import interrupts

pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")


@pytest.mark.parametrize(
    ("command", "moment", "number"),
    [
        ("train", 0.0, signal.SIGINT),
        ("compare", 0.5, signal.SIGINT),
        ("bench", 1.0, signal.SIGTERM),
        ("compare", 4.0, signal.SIGINT),
    ],
)
def test_a_signal_ends_a_command_with_one_line_and_its_status(command, moment, number, tmp_path):
    status, err = interrupts.interrupt(command, moment, tmp_path, number)
    assert interrupts.fault(status, err, number) == ""


def test_a_signal_in_a_callback_is_not_lost():
    code = """
import os, signal, sys, weakref
from jaxcnn.cli import console, dispatch
class Thing: pass
def main():
    thing = Thing()
    weakref.finalize(thing, os.kill, os.getpid(), signal.SIGINT)
    del thing  # an exception raised in here would be printed and lost
    return 0
dispatch.main = main
console.entry()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (130, "jaxcnn: interrupted\n")


def test_the_clock_starts_with_the_interpreter_and_not_with_the_shell(tmp_path):
    folder = tmp_path / "run"
    words = [sys.executable, "-m", "jaxcnn", "train", "--dataset", "digits", "--steps", "1"]
    line = shlex.join([*words, "--out", str(folder)])
    began = time.monotonic()
    # The shell becomes the interpreter: no fork, and one start time for both.
    subprocess.run(
        ["bash", "-c", f"sleep 4; exec {line}"],
        env=processes.environment(),
        check=True,
        capture_output=True,
        timeout=processes.LIMIT,
    )
    whole = time.monotonic() - began
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["time"]["seconds"] < whole - 3.5


def test_the_bar_shows_what_the_metrics_hold(tmp_path):
    folder = tmp_path / "run"
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (40, 160))
    # One chunk of steps an epoch, so that the bar's means are the epoch's.
    words = ("--dataset", "digits", "--batch-size", "400", "--epochs", "4", "--out", str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxcnn", "train", *words],
        env=processes.environment(),
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(master, 4096):
            shown += part
    except OSError:  # Linux's word for the end of a terminal.
        pass
    finally:
        os.close(master)
    assert process.wait(processes.LIMIT) == 0
    losses = re.findall(r"loss=([0-9.]+)", shown.decode())
    accuracies = re.findall(r"accuracy=([0-9.]+)", shown.decode())
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    measured = [(f"{m['train_loss']:.4f}", f"{m['train_accuracy']:.4f}") for m in lines[:-1]]
    assert len(measured) == 4
    assert set(zip(losses, accuracies, strict=True)) == set(measured)
