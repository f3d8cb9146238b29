"""Several processes of the benchmark: what each is asked for, and their samples put together."""

import dataclasses
import json
import sys

import pytest

from jaxcnn.bench import processes, rows
from jaxcnn.bench.options import Options
from jaxcnn.bench.timing import Timing
from jaxcnn.cli.bench import Bench
from tests.bench.made import row

MACHINE = {
    "device": "a processor", "jax": "1.0", "torch": None, "onednn": [], "tf32": False,
    "matrix_product_flops": 1e9, "asynchronous": False, "batch": True, "awake": True,
}  # fmt: skip
# A benchmark that was finished beforehand: its n-th call writes the n-th of the files.
FAKE = """
import json, pathlib, sys
folder = pathlib.Path({folder!r})
calls = folder / "calls"
n = len(calls.read_text().splitlines()) if calls.exists() else 0
with calls.open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
status, result = json.loads((folder / f"{{n}}.json").read_text())
if result is not None:
    pathlib.Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(result))
sys.exit(status)
"""


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """Has the processes end with these statuses and rows; returns what they were asked for."""

    def prepare(*ends):
        for n, (status, found) in enumerate(ends):
            result = found and {"machine": MACHINE, "rows": [rows.as_json(r) for r in found]}
            (tmp_path / f"{n}.json").write_text(json.dumps((status, result)))
        command = [sys.executable, "-c", FAKE.format(folder=str(tmp_path))]
        monkeypatch.setattr(processes, "_command", lambda: command)
        return lambda: [json.loads(c) for c in (tmp_path / "calls").read_text().splitlines()]

    return prepare


def test_a_row_is_read_as_it_was_written():
    known = row(
        [1.0, 2.0], [3.0], {"NCHW eager": [4.0]}, compile_seconds={"hand": 0.5}, apart=(1e-7,)
    )
    assert rows.from_json(json.loads(json.dumps(rows.as_json(known)))) == known


def test_the_samples_of_all_processes_are_put_together(finished, tmp_path, capfd):
    first = row(
        [1.0],
        [3.0],
        {"eager": [4.0]},
        error=1e-6,
        compile_seconds={"hand": 1.0},
        apart=(1e-7, 2e-7),
    )
    second = row([9.0, 2.0], [3.0], {"eager": [2.0]}, error=2e-6, compile_seconds={"hand": 3.0})
    alone = row([1.0], [1.0], case="conv/b")
    calls = finished((0, [first, alone]), (0, [second]))
    file, picture = tmp_path / "rows.json", tmp_path / "rows.png"
    options = Options(cases=("conv/a", "conv/b"), processes=2, json=file, plot=picture)
    assert processes.compare(options) == 0
    written = json.loads(file.read_text())
    assert written["machine"] == MACHINE | {"processes": 2}
    # A row that one of them does not have is left out.
    (found,) = map(rows.from_json, written["rows"])
    assert found.hand == Timing((1.0, 9.0, 2.0))
    assert found.automatic == Timing((3.0, 3.0))
    assert found.torch == {"eager": Timing((4.0, 2.0))}
    assert found.error == 2e-6
    assert found.compile_seconds == {"hand": 2.0}
    assert found.apart == (1e-7, 2e-7)
    out = capfd.readouterr().out
    assert "the samples of 2 processes together" in out
    assert "conv/a dx" in out
    assert "1.50x" in out
    assert picture.stat().st_size
    for words in calls():
        assert words[:3] == ["--cases", "conv/a", "conv/b"]
        assert not {"--plot", "--processes"} & set(words)


def test_outputs_that_disagree_in_one_process_fail_the_command(finished):
    finished((1, [row([1.0], [1.0])]), (0, [row([1.0], [1.0])]))
    assert processes.compare(Options(processes=2)) == 1


def test_a_process_that_fails_ends_the_command_and_what_was_measured_is_kept(finished, tmp_path):
    finished((0, [row([1.0], [2.0])]), (2, None))
    file = tmp_path / "rows.json"
    assert processes.compare(Options(processes=3, json=file)) == 2
    assert [r["times_faster_than_automatic"] for r in json.loads(file.read_text())["rows"]] == [2.0]


def test_the_command_line_reads_the_flags_as_the_options_they_were(tmp_path):
    from jaxcnn.cli import dispatch

    for asked in (
        Options(),
        Options(
            cases=("relu", "conv*"), repeats=3, seconds=0.5, awake=False, torch=False,
            torch_compile="all", form="plain", json=tmp_path / "a", plot=tmp_path / "b.png",
        ),
    ):  # fmt: skip
        command = dispatch._parse(["bench", *processes._flags(asked)])
        assert isinstance(command, Bench)
        assert dataclasses.asdict(command) == dataclasses.asdict(asked)


def test_two_real_processes(tmp_path, capfd):
    file = tmp_path / "rows.json"
    cases = ("dense/128-10/128",)
    bench = Bench(cases, processes=2, repeats=2, seconds=0.01, torch=False, json=file)
    assert bench.run() == 0
    found = json.loads(file.read_text())
    assert found["machine"]["processes"] == 2
    assert [(r["case"], r["what"], len(r["hand"])) for r in found["rows"]] == [
        (cases[0], what, 4) for what in ("forward", "dx", "dw")
    ]
    assert "process 2 of 2" in capfd.readouterr().out
