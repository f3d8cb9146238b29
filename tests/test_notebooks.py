"""The notebooks run from a fresh kernel without a network, and give the outputs that they store."""

import importlib.util
import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

_RUN = Path(__file__).parent.parent / "notebooks" / "run.py"
_SPEC = importlib.util.spec_from_file_location("notebooks_run", _RUN)
assert _SPEC is not None
assert _SPEC.loader is not None
run = importlib.util.module_from_spec(_SPEC)
sys.modules["notebooks_run"] = run  # where its dataclass looks itself up
_SPEC.loader.exec_module(run)

# zmq and tornado tell of sockets and loops that a finished kernel leaves to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("path", run.paths(), ids=lambda path: path.stem)
def test_a_fresh_kernel_gives_what_is_stored(path):
    if "flax" in path.read_text():
        pytest.importorskip("flax", reason="the model of this notebook is written in Flax")
    stored, fresh = run.execute(path)
    assert run.differences(stored, fresh) == []


@pytest.mark.parametrize("path", run.paths(), ids=lambda path: path.stem)
def test_what_is_stored_is_complete_and_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr", "a warning stands in the notebook"
    stored = json.dumps(outputs)
    for private in ("/home/", "/root/", "/tmp/", "/work/"):
        assert private not in stored


def test_there_are_five():
    assert [path.name[0] for path in run.paths()] == ["1", "2", "3", "4", "5"]


def notebook(source, output=None, tags=()):
    cell = new_code_cell(source, outputs=[output] if output else [], metadata={"tags": list(tags)})
    return new_notebook(cells=[new_markdown_cell("words"), cell])


def printed(text, tags=()):
    return notebook("", new_output("stream", name="stdout", text=text), tags)


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        ("error 1.2e-16", "error 3.1e-16", True),
        ("0.123456", "0.123457", True),
        ("0.1234", "0.1244", False),
        ("took 12.5 ms, 3 times less", "took 3 ms, 8.1 times less", True),
        ("12 wrong", "13 wrong", False),
        ("(3, 4)", "(3, 5)", False),
        ("True", "False", False),
        ("[1.0, -2.0]", "[1.0, 2.0]", False),
        ("<f at 0x7f0123456789>", "<f at 0x7f9876543210>", True),
        ("a b", "a  b\n", True),
    ],
)
def test_numbers_may_differ_by_rounding_and_times_at_will(was, now, same):
    assert (run.differences(printed(was), printed(now)) == []) is same


def test_a_trained_cell_has_more_room_but_not_any():
    def found(was, now):
        return run.differences(printed(was, ["trained"]), printed(now, ["trained"]))

    assert not found("accuracy 0.93", "accuracy 0.95")
    assert found("accuracy 0.93", "accuracy 0.10")
    assert found("accuracy 0.93", "loss 0.93")


def test_a_missing_or_a_new_output_is_told():
    assert run.differences(printed("a"), notebook("")) == [
        "cell 2: shows [], stored are ['stdout']"
    ]


def test_pictures_are_compared():
    import base64
    import io

    import numpy as np
    from PIL import Image

    def picture(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        data = {"image/png": base64.b64encode(file.getvalue()).decode()}
        return notebook("", new_output("display_data", data=data))

    pixels = np.random.default_rng(0).integers(0, 256, (40, 60))
    nearly = np.clip(pixels + 1, 0, 255)
    assert run.differences(picture(pixels), picture(nearly)) == []
    assert "a picture differs" in run.differences(picture(pixels), picture(255 - pixels))[0]
    assert "pixels instead of" in run.differences(picture(pixels), picture(pixels[:20]))[0]


def test_a_cell_that_raises_fails_and_nothing_reaches_the_network(tmp_path):
    from nbclient.exceptions import CellExecutionError

    path = tmp_path / "1-broken.ipynb"
    nbformat.write(notebook("1 / 0"), path)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run.execute(path)
    asks = "import requests\nrequests.get('https://example.org', timeout=5)"
    nbformat.write(notebook(asks), path)
    with pytest.raises(CellExecutionError, match="ProxyError"):
        run.execute(path)


def test_solutions_take_the_place_of_the_answers_and_have_to_be_right(tmp_path):
    from nbclient.exceptions import CellExecutionError

    def exercise(solution):
        cells = [
            new_code_cell("def answer():\n    return 1"),
            new_code_cell(
                "solved_1 = answer() == 2\nprint(solved_1)", metadata={"tags": ["check"]}
            ),
            new_markdown_cell(
                f"<details>\n\n```python\n{solution}\n```\n</details>",
                metadata={"tags": ["solutions"]},
            ),
        ]
        nbformat.write(new_notebook(cells=cells), path)
        return run.execute(path)[1].cells

    path = tmp_path / "1-exercise.ipynb"
    answer, check, _ = exercise("def answer():\n    return 2")
    assert not answer.outputs
    assert check.outputs[0].text == "False\n"  # the answer's, not the solution's
    with pytest.raises(CellExecutionError, match="a solution is wrong: not solved_1"):
        exercise("def answer():\n    return 3")
