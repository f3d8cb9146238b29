"""Execute the notebooks in fresh kernels without a network; hold their outputs to the stored ones.

    python notebooks/run.py            run all, say what differs, exit with 1 if anything does
    python notebooks/run.py --store    run all, and store the outputs
    python notebooks/run.py 1 3        these alone

Text has to be the same but for times and for the last digits of numbers; pictures pixel by pixel,
within a little. Cells tagged `trained` show what a trained network does. Training magnifies the
rounding that differs from one processor to the next, so there numbers and pictures have more room.

The answers of the exercises are not right yet, and stored so. In the end the Python of the cell
tagged `solutions` takes their place, the cells tagged `check` run again, and every `solved_...`
that they set has to be true.
"""

import base64
import io
import math
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell
from PIL import Image

FOLDER = Path(__file__).parent
CELL_SECONDS = 120

_TIME = re.compile(r"\d[\d.,]*(?:e[+-]?\d+)?\s*(?:ns|us|µs|ms|s|min|times)\b")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d*)?(?:e[+-]?\d+)?", re.IGNORECASE)
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SOLVED = re.compile(r"^(solved_\w+) =", re.MULTILINE)


@dataclass(frozen=True)
class Room:
    """How far fresh outputs may be from stored ones."""

    relative: float  # of a number
    absolute: float  # of a number
    pixels: float  # mean difference of a picture's pixels, 1 being black against white


EXACT = Room(relative=1e-3, absolute=1e-6, pixels=0.01)
ROUNDING = Room(relative=math.inf, absolute=math.inf, pixels=0.0)
TRAINED = Room(relative=0.25, absolute=0.05, pixels=0.1)


def paths() -> list[Path]:
    """The notebooks in their order."""
    return sorted(FOLDER.glob("[0-9]*.ipynb"))


def execute(path: Path) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """The notebook as it is stored, and as a fresh kernel without a network leaves it.

    Raises:
        CellExecutionError: a cell raised, or a solution is wrong.
    """
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.reads(nbformat.writes(stored), as_version=4)
    fresh.cells += [new_code_cell(source) for source in solutions(stored)]
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            # No settings of the person who runs this, and nothing but dead ends for downloads.
            **{name: scratch for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "XDG_CACHE_HOME")},
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
            "JAX_PLATFORMS": "cpu",
            # The kernel starts in the scratch folder; the notebooks' own modules are beside them.
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(FOLDER.resolve()), os.environ.get("PYTHONPATH")))
            ),
        }
        saved = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            NotebookClient(
                fresh,
                kernel_name="python3",
                timeout=CELL_SECONDS,
                resources={"metadata": {"path": scratch}},
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            ).execute()
        finally:
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
    del fresh.cells[len(stored.cells) :]
    for cell in fresh.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
    return stored, fresh


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """What to run after the notebook: its solutions, its checks once more, and that they pass."""
    answers, checks = (
        "\n".join(c.source for c in notebook.cells if tag in c.metadata.get("tags", ()))
        for tag in ("solutions", "check")
    )
    solved = _SOLVED.findall(checks)
    asserts = [f"assert {name}, 'a solution is wrong: not {name}'" for name in solved]
    return [*_PYTHON.findall(answers), checks, *asserts] if solved else []


def differences(stored: nbformat.NotebookNode, fresh: nbformat.NotebookNode) -> list[str]:
    """What the fresh outputs have that the stored have not, in words; empty where they agree."""
    found = []
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True), start=1):
        if old.cell_type != "code":
            continue
        room = TRAINED if "trained" in old.metadata.get("tags", ()) else EXACT
        old_parts, new_parts = _parts(old.outputs), _parts(new.outputs)
        if [kind for kind, _ in old_parts] != [kind for kind, _ in new_parts]:
            kinds = [[kind for kind, _ in parts] for parts in (old_parts, new_parts)]
            found.append(f"cell {number}: shows {kinds[1]}, stored are {kinds[0]}")
            continue
        for (kind, was), (_, is_) in zip(old_parts, new_parts, strict=True):
            problem = _picture_problem if kind == "picture" else _text_problem
            # A table of errors holds rounding and nothing else: its words alone are compared.
            if reason := problem(was, is_, ROUNDING if kind == "table" else room):
                found.append(f"cell {number}: {reason}")
    return found


def _parts(outputs: list) -> list[tuple[str, str]]:
    """The outputs as kind and content, each in the one form that is compared."""
    parts: list[tuple[str, str]] = []
    for output in outputs:
        if output.output_type == "stream":
            kind, content = output.name, output.text
            if parts and parts[-1][0] == kind:  # a flush in the middle makes two of one
                content = parts.pop()[1] + content
        elif "image/png" in output.data:
            kind, content = "picture", output.data["image/png"]
        elif "text/html" in output.data:
            kind, content = "table", _TAG.sub(" ", _STYLE.sub(" ", output.data["text/html"]))
        else:
            kind, content = "text", output.data.get("text/plain", "")
        parts.append((kind, content))
    return parts


def _text_problem(was: str, is_: str, room: Room) -> str | None:
    was, is_ = (_ADDRESS.sub("<address>", _TIME.sub("<time>", text)) for text in (was, is_))
    words = [_NUMBER.sub("<number>", text).split() for text in (was, is_)]
    if words[0] != words[1]:
        return f"text differs:\n--- stored\n{was}\n--- now\n{is_}"
    numbers = [_NUMBER.findall(text) for text in (was, is_)]
    for old, new in zip(*numbers, strict=True):
        a, b = (float(text.replace(",", "").rstrip(".")) for text in (old, new))
        if abs(a - b) > room.absolute + room.relative * max(abs(a), abs(b)):
            return f"{new} instead of {old}"
    return None


def _picture_problem(was: str, is_: str, room: Room) -> str | None:
    old, new = (Image.open(io.BytesIO(base64.b64decode(png))).convert("L") for png in (was, is_))
    if max(abs(a - b) for a, b in zip(old.size, new.size, strict=True)) > 8:
        return f"a picture of {new.size} pixels instead of {old.size}"
    # Half the size: a label that moved by a pixel is no other picture.
    half = (old.width // 2, old.height // 2)
    a, b = (np.asarray(picture.resize(half), float) / 255 for picture in (old, new))
    off = float(np.abs(a - b).mean())
    return f"a picture differs by {off:.3f}" if off > room.pixels else None


def main(words: list[str]) -> int:
    """Run what the words say; returns the exit status."""
    store = "--store" in words
    chosen = [word for word in words if word != "--store"]
    status = 0
    for path in paths():
        if chosen and path.name.split("-")[0].lstrip("0") not in chosen:
            continue
        start = time.monotonic()
        try:
            stored, fresh = execute(path)
        except CellExecutionError as error:
            print(f"{path.name}: {error}")
            status = 1
            continue
        seconds = time.monotonic() - start
        found = [] if store else differences(stored, fresh)
        print(f"{path.name}: {seconds:.0f} s, {'stored' if store else found or 'as stored'}")
        status = status or int(bool(found))
        if store:
            nbformat.write(fresh, path)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
