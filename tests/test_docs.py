"""Every example in a docstring and in the README gives what it says, in JAX's default precision."""

import importlib.util
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import jaxcnn

ROOT = pathlib.Path(__file__).parent.parent
PUBLIC = [n for n in dir(jaxcnn) if not n.startswith("_") and callable(getattr(jaxcnn, n))]

# A process of its own: the tests run in float64, the examples as a user's first lines do.
RUNNER = """
import doctest, importlib, sys
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
failed = tried = 0
for name in sys.argv[1:]:
    if name.endswith(".md"):
        result = doctest.testfile(name, module_relative=False, optionflags=flags)
    else:
        result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    failed, tried = failed + result.failed, tried + result.attempted
print(tried)
sys.exit(failed > 0)
"""


def run(*names: str) -> int:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.splitlines()[-1])


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(jaxcnn.__path__, "jaxcnn.")]
    peers = () if importlib.util.find_spec("torch") else ("jaxcnn.bench.torch_",)
    return sorted(
        name for name in found if not name.endswith("__main__") and not name.startswith(peers)
    )


def test_docstring_examples():
    assert run("jaxcnn", *modules()) > 40


def test_readme_examples():
    pytest.importorskip("flax", reason="the README shows a Flax model")
    assert run(str(ROOT / "README.md")) > 10


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_show_an_example(name):
    assert ">>>" in (getattr(jaxcnn, name).__doc__ or "")
