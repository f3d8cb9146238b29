"""An installation of the layers alone: what needs an extra says which, in one line."""

import subprocess
import sys

import pytest

# Each in a process of its own, in which these cannot be imported.
WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
"""
COMMAND = "from jaxcnn.cli import entry; entry()"
PLOT = """
import jax.numpy as jnp, jaxcnn
result = jaxcnn.compare(jaxcnn.relu, jnp.ones(3))
try:
    result.plot()
except ImportError as error:
    print(error)
"""


def run(code: str, missing: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, missing, *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("tyro", ()),
        ("tyro", ("train",)),
        ("orbax", ("evaluate", "nowhere")),
        ("optax", ("train", "--dataset", "digits")),
    ],
)
def test_a_command_without_its_extra_is_one_line_and_status_2(missing, words):
    done = run(COMMAND, missing, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"jaxcnn: error: this command needs {missing}")
    assert "jaxcnn[train]" in line


def test_version_needs_no_extra():
    assert run(COMMAND, "tyro", "--version").stdout.startswith("jaxcnn ")


def test_plot_without_matplotlib_is_one_error_that_names_the_extra():
    done = run(PLOT, "matplotlib")
    assert "plot() needs matplotlib" in done.stdout
    assert "jaxcnn[train]" in done.stdout


def test_a_module_that_is_missing_for_another_reason_is_not_hidden():
    done = run(COMMAND, "jaxcnn.cli.train", "train")
    assert "Traceback" in done.stderr
