"""`jaxcnn train --resume` on what is damaged, foreign or in use: named, and left as it is."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests import processes
from tests.cli.short_run import contents, refused, train
from tests.lenient import as_a_user_has_it

fcntl = pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield


def _largest(step: Path) -> Path:
    return max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def _flip(step: Path) -> None:
    path = _largest(step)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    path.write_bytes(damaged)


def _truncate(step: Path) -> None:
    path = _largest(step)
    path.write_bytes(path.read_bytes()[:100])


def _lose_note(step: Path) -> None:
    shutil.rmtree(step / "note")


def _garble_note(step: Path) -> None:
    (step / "note" / "metadata").write_text("{not json")


def _make_foreign(step: Path) -> None:
    path = step / "note" / "metadata"
    note = json.loads(path.read_text())
    note["configuration"]["model"] = "wide"
    path.write_text(json.dumps(note))


@pytest.mark.parametrize("damage", [_flip, _truncate, _lose_note, _garble_note])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(damage, finished, folder, capfd):
    step = folder / "checkpoints" / "6"
    damage(step)
    before = contents(step)
    capfd.readouterr()
    assert train("--out", folder, "--resume") == 0
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "checkpoint" in line]
    assert str(step) in line
    assert line.endswith("Taking that of step 3.")
    # What went wrong is told without what it is called in C++, and nothing that did not.
    assert not re.search("zarr|ocdbt|tensorstore|::|_FOUND|shape", line.partition(": ")[2])
    assert contents(folder / "damaged" / "6") == before
    assert processes.final_digest(folder) == processes.final_digest(finished)
    assert processes.metrics_without_times(folder) == processes.metrics_without_times(finished)


def test_where_all_checkpoints_are_damaged_nothing_is_changed(folder, capsys):
    for step in (3, 6):
        _flip(folder / "checkpoints" / str(step))
    before = contents(folder)
    message = refused(capsys, "--out", folder, "--resume")
    assert "None of the 2 checkpoints there is whole: train anew in another folder." in message
    assert contents(folder) == before


def test_a_foreign_checkpoint_is_named_and_kept(folder, capsys):
    _make_foreign(folder / "checkpoints" / "6")
    before = contents(folder)
    message = refused(capsys, "--out", folder, "--resume")
    assert "its model is wide, not post" in message
    assert contents(folder) == before


def test_config_json_that_is_damaged_is_named(folder, capsys):
    (folder / "config.json").write_text('{"configuration": {"seed": 0}}')
    assert "config.json" in refused(capsys, "--out", folder, "--resume")


def test_other_data_than_the_runs_is_refused(folder, capsys):
    path = folder / "config.json"
    record = json.loads(path.read_text())
    record["data"] = dict.fromkeys(record["data"], "0" * 64)
    path.write_text(json.dumps(record))
    assert "digests" in refused(capsys, "--out", folder, "--resume")


def test_a_folder_of_other_things_is_not_resumed(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert "thesis.tex" in refused(capsys, "--out", tmp_path, "--resume")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_in_use_is_not_shared(folder, capsys):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert "in use" in refused(capsys, "--out", folder, "--resume")
    finally:
        os.close(descriptor)
