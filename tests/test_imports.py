"""Imports run one way through the house, and never in a circle."""

import graphlib
import inspect
import pathlib

import pytest

import jaxcnn
from tests.imports import imported, package_files

# A room may import from its own and from those before it. The first match of a name counts.
ROOMS = [
    ("errors", ["jaxcnn._errors", "jaxcnn._extras"]),
    ("reference", ["jaxcnn.reference"]),
    ("integers", ["jaxcnn._window"]),
    ("arrays", ["jaxcnn._checks", "jaxcnn._cotangent", "jaxcnn._widen", "jaxcnn._taps"]),
    ("lowering", ["jaxcnn.lowering"]),
    (
        "layers",
        [
            f"jaxcnn.{name}"
            for name in (
                "_copies",
                "activation",
                "convolution",
                "drop_in",
                "linear",
                "loss",
                "pooling",
            )
        ],
    ),
    ("drawing", ["jaxcnn.drawing"]),
    ("comparison", ["jaxcnn.comparison"]),
    ("public names", ["jaxcnn._public"]),
    ("mnist", ["jaxcnn.mnist"]),
    ("play", ["jaxcnn.play"]),
    ("bench", ["jaxcnn.bench"]),
    ("cli", ["jaxcnn.cli", "jaxcnn.__main__"]),
]
# The public names, which everything above the layers may use.
FRONT = "jaxcnn"


def files():
    """The text of every module of the package, with its package's name."""
    found = package_files(pathlib.Path(inspect.getfile(jaxcnn)).parent)
    return {name: (path.read_text(), package) for name, package, path in found}


def room(name: str) -> int:
    """The place of a module in the order of the rooms."""
    for i, (_, prefixes) in enumerate(ROOMS):
        if any(name == p or name.startswith(p + ".") for p in prefixes):
            return i
    raise AssertionError(f"{name} belongs to no room: add it to ROOMS")


def wrong_arrows(modules) -> list[str]:
    """The imports that point up; the front counts as the public names, which it passes on."""
    order = {name: room(name) for name in modules if name != FRONT}
    order[FRONT] = room("jaxcnn._public")
    arrows = [
        (name, target)
        for name, (text, package) in modules.items()
        for target in imported(text, package, set(modules))
    ]
    return [f"{a} imports {b}" for a, b in arrows if order[b] > order[a]]


def circle(modules) -> list[str]:
    """One circle of imports, or none; a package stands for what its __init__ imports."""
    graph = {n: imported(t, p, set(modules)) - {n} for n, (t, p) in modules.items()}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_import_points_up():
    assert wrong_arrows(files()) == []


def test_there_is_no_circle():
    assert circle(files()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("jaxcnn._window", "from .lowering import choice"),
        ("jaxcnn.lowering.choice", "from .. import convolution"),
        ("jaxcnn.mnist.model", "def f():\n    from ..bench import cases"),
        ("jaxcnn.reference", "import jaxcnn.pooling"),
    ],
)
def test_a_planted_arrow_is_seen(module, line):
    modules = files()
    text, package = modules.get(module, ("", module.rpartition(".")[0]))
    assert wrong_arrows(modules | {module: (f"{text}\n{line}\n", package)})


def test_a_planted_circle_is_seen():
    modules = files()
    text, package = modules["jaxcnn._cotangent"]
    planted = {"jaxcnn._cotangent": (f"{text}\nfrom . import _taps\n", package)}
    assert set(circle(modules | planted)) == {"jaxcnn._cotangent", "jaxcnn._taps"}
