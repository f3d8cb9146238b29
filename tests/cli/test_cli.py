"""The command line's edges: help, version, mistakes."""

import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

from jaxcnn._errors import CommandError
from jaxcnn.cli import dispatch

COMMANDS = ("train", "evaluate", "predict", "visualize", "export", "play", "compare", "bench")


def test_version(capsys):
    assert dispatch.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxcnn {metadata.version('jaxcnn')}\n"


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_help_lists_every_command(argv, capsys):
    assert dispatch.main(argv) == 0
    out = capsys.readouterr().out
    assert all(f" {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command, capsys):
    assert dispatch.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"jaxcnn {command}" in out
    assert not re.search(r"\(default: (None)?\)", out)
    # Lines of a paragraph are full: the next line's first word would not have fitted.
    lines = [line.strip("\u2502 ") for line in out.splitlines() if line.startswith("\u2502    ")]
    indented = [line for line in lines if not line.startswith(("-", "RUN", "IMAGE"))]
    assert all(len(line) > 20 or line.endswith((".", ")")) for line in indented), indented


@pytest.mark.parametrize(
    "argv",
    [
        ["trian"],
        ["train", "--bogus"],
        ["train", "--steps", "many"],
        ["train", "--recipe", "slow"],
        ["train", "--dataset", "None"],
        ["evaluate"],
    ],
)
@pytest.mark.parametrize("coloured", [False, True])
def test_a_word_it_does_not_know_ends_with_status_2(argv, coloured, capsys, monkeypatch):
    # As on a terminal, where tyro writes in colours.
    monkeypatch.setattr(sys.stdout, "isatty", lambda: coloured, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert dispatch.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("jaxcnn: error: ")
    assert line.isascii()
    assert "\x1b" not in line
    assert argv[-1].lstrip("-") in line


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CommandError("no such thing"), 2, "jaxcnn: error: no such thing\n"),
        (KeyboardInterrupt(), 130, "jaxcnn: interrupted\n"),
    ],
)
def test_an_error_of_the_users_is_one_line(error, status, line, capsys, monkeypatch):
    class Command:
        def run(self):
            raise error

    monkeypatch.setattr(dispatch, "_parse", lambda argv: Command())
    assert dispatch.main(["anything"]) == status
    assert capsys.readouterr().err == line


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    class Command:
        def run(self):
            raise ZeroDivisionError

    monkeypatch.setattr(dispatch, "_parse", lambda argv: Command())
    with pytest.raises(ZeroDivisionError):
        dispatch.main(["anything"])


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from jaxcnn.cli.dispatch import main; main(['train', '--help']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "jaxcnn.cli.train" in loaded
    heavy = {
        "jax",
        "optax",
        "orbax",
        "matplotlib",
        "sklearn",
        "scipy",
        "PIL",
        "torch",
        "pooch",
        "chex",
    }
    assert not heavy & loaded


def test_a_reader_that_stops_reading_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "jaxcnn", "--version"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "Traceback" not in done.stderr
