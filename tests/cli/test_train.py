"""`jaxcnn train` on the bundled digits: what it writes, how it resumes, how it fails."""

import csv
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxcnn.mnist
from jaxcnn.cli.dispatch import main
from tests import processes
from tests.cli.short_run import contents, refused, train
from tests.lenient import as_a_user_has_it

pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield


def test_a_run_leaves_its_configuration_metrics_and_checkpoints(finished):
    record = json.loads((finished / "config.json").read_text())
    assert record["configuration"] == {
        "dataset": "digits", "model": "post", "recipe": "fast", "layers": "jaxcnn", "steps": 6,
        "batch_size": 400, "learning_rate": record["configuration"]["learning_rate"], "seed": 0,
        "dtype": "float32",
    }  # fmt: skip
    assert record["versions"]["jax"] == jax.__version__
    assert record["devices"]["platform"] == "cpu"
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in record["data"].values())
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line.get("final", False)) for line in lines] == [
        (3, False), (6, False), (6, True),
    ]  # fmt: skip
    assert lines[-1]["test_accuracy"] == lines[1]["test_accuracy"]
    assert lines[0]["train_loss"] > lines[1]["train_loss"] > 0
    assert lines[-1]["time"]["compilation_cache"] == "off"
    assert processes.checkpoint_steps(finished) == [3, 6]
    with open(finished / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert [float(row["test_accuracy"]) for row in rows] == [m["test_accuracy"] for m in lines[:2]]


def test_last_line_is_the_test_accuracy_and_a_finished_run_resumes_to_it(folder, capsys):
    before = contents(folder)
    assert train("--out", folder, "--resume") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    accuracy = json.loads(before["metrics.jsonl"].splitlines()[-1])["test_accuracy"]
    assert last == f"test accuracy {accuracy:.4f}"
    after = contents(folder)
    assert {n: b for n, b in after.items() if n != "metrics.jsonl"} == {
        n: b for n, b in before.items() if n != "metrics.jsonl"
    }


def test_a_time_that_was_cold_stays_cold(folder):
    note = folder / "checkpoints" / "6" / "note" / "metadata"
    record = json.loads(note.read_text())
    assert record["position"]["compilation_cache"] == "off"
    record["position"]["compilation_cache"] = "cold"
    note.write_text(json.dumps(record))
    assert train("--out", folder, "--resume") == 0
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["time"]["compilation_cache"] == "cold"


def test_resuming_from_the_middle_ends_as_the_whole_run(finished, folder):
    shutil.rmtree(folder / "checkpoints" / "6")
    # What a kill leaves: metrics past the checkpoint, the last line cut short.
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "trai')
    assert train("--out", folder, "--resume") == 0
    assert processes.final_digest(folder) == processes.final_digest(finished)
    assert processes.metrics_without_times(folder) == processes.metrics_without_times(finished)


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "no checkpoint"])
def test_resuming_where_no_checkpoint_was_reached_begins_the_run(left, finished, folder):
    if left == "no checkpoint":
        shutil.rmtree(folder / "checkpoints")
    else:
        shutil.rmtree(folder)
        if left == "an empty folder":
            folder.mkdir()
    assert train("--out", folder, "--resume") == 0
    assert processes.final_digest(folder) == processes.final_digest(finished)
    assert processes.metrics_without_times(folder) == processes.metrics_without_times(finished)


def test_a_folder_that_holds_a_run_is_left_alone(folder, capsys):
    before = contents(folder)
    message = refused(capsys, "--out", folder)
    assert str(folder) in message
    assert "--resume" in message
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--seed", 3), ("--seed 3", "seed is 0")),
        (("--recipe", "best"), ("--recipe best", "recipe is fast")),
        (("--model", "wide"), ("--model wide", "model is post")),
        (("--dtype", "bfloat16"), ("--dtype bfloat16", "dtype is float32")),
        (("--steps", 5), ("--steps 5", "to make 6")),
        (("--epochs", 1), ("--epochs 1", "to make 2")),
    ],
)
def test_flags_that_do_not_match_the_run_are_refused(flags, named, folder, capsys):
    before = contents(folder)
    message = refused(capsys, "--out", folder, "--resume", *flags)
    assert all(words in message for words in named), message
    assert contents(folder) == before


def test_resume_takes_what_is_left_out_from_the_run(folder, capsys):
    shutil.rmtree(folder / "checkpoints" / "6")
    record = json.loads((folder / "config.json").read_text())
    words = ["train", "--out", str(folder), "--resume", "--devices", "1"]
    assert main([*words, "--no-compilation-cache"]) == 0
    assert f"{record['configuration']['steps']} steps of 400" in capsys.readouterr().out


def extended(tmp_path, recipe: str, short: int, long: int) -> tuple[Path, Path]:
    """A run of `short` steps that is extended to `long`, and one of `long` from the start."""
    flags = ("train", "--dataset", "digits", "--recipe", recipe, "--batch-size", "400",
             "--devices", "1", "--no-compilation-cache")  # fmt: skip
    one, other = tmp_path / "extended", tmp_path / "whole"
    assert main([*flags, "--steps", str(short), "--out", str(one)]) == 0
    assert main([*flags, "--steps", str(long), "--out", str(one), "--resume"]) == 0
    assert main([*flags, "--steps", str(long), "--out", str(other)]) == 0
    return one, other


def test_an_extended_run_with_a_constant_rate_is_the_longer_run_to_the_bit(tmp_path, capsys):
    one, other = extended(tmp_path, "post", 3, 5)
    assert "going on to 5 steps instead of 3" in capsys.readouterr().err
    assert processes.final_digest(one) == processes.final_digest(other)
    records = [json.loads((f / "config.json").read_text()) for f in (one, other)]
    assert records[0]["configuration"] == records[1]["configuration"]


def test_an_extended_run_with_a_falling_rate_says_what_it_does(folder, capsys):
    words = ["train", "--out", str(folder), "--resume", "--epochs", "3", "--devices", "1"]
    assert main([*words, "--learning-rate", "0.001", "--no-compilation-cache"]) == 0
    out, err = capsys.readouterr()
    assert "going on to 9 steps instead of 6" in err
    assert "schedule" in err
    assert "the learning rate is 0.001 from here on" in err
    assert out.splitlines()[-1].startswith("test accuracy")
    assert processes.final_digest(folder)[0] == 9
    record = json.loads((folder / "config.json").read_text())
    assert (record["configuration"]["steps"], record["configuration"]["learning_rate"]) == (9, 1e-3)


def test_a_run_in_bfloat16_keeps_float32_parameters_and_is_read_back_as_it_was(
    finished, tmp_path, capsys
):
    out = tmp_path / "run"
    assert train("--out", out, "--dtype", "bfloat16") == 0
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    run = jaxcnn.mnist.load(out)
    assert run.configuration.dtype == "bfloat16"
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(run.params))
    assert run.evaluate()["accuracy"] == pytest.approx(last["test_accuracy"], abs=1e-9)
    # Not the numbers of float32, and not far from them.
    other = jaxcnn.mnist.load(finished).params
    away = jax.tree.map(lambda a, b: np.abs(a - b).max() / np.abs(b).max(), run.params, other)
    assert 1e-5 < max(jax.tree.leaves(away)) < 0.5
    assert "dtype is bfloat16" in refused(capsys, "--out", out, "--resume", "--dtype", "float32")
    assert train("--out", out, "--resume") == 0


def test_a_dtype_and_double_precision_are_refused_together(tmp_path, capsys):
    with jax.enable_x64(True):
        message = refused(capsys, "--out", tmp_path / "run", "--dtype", "bfloat16")
    assert "JAX_ENABLE_X64" in message


def test_a_run_from_before_there_was_a_dtype_is_read(folder, capsys):
    record = json.loads((folder / "config.json").read_text())
    assert record["configuration"].pop("dtype") == "float32"
    record["configuration"]["float64"] = False
    (folder / "config.json").write_text(json.dumps(record))
    for note in folder.glob("checkpoints/*/note/metadata"):
        kept = json.loads(note.read_text())
        del kept["configuration"]["dtype"]
        note.write_text(json.dumps(kept | {"configuration": record["configuration"]}))
    assert jaxcnn.mnist.load(folder).configuration.dtype == "float32"
    capsys.readouterr()
    assert train("--out", folder, "--resume") == 0
    assert not capsys.readouterr().err.startswith("\n")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert str(file / "run") in refused(capsys, "--out", file / "run")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, capsys):
    out = tmp_path / "run"
    message = refused(capsys, "--out", out, "--learning-rate", 1e30, "--checkpoint-every", 1)
    step = int(re.search(r"at step (\d+)", message)[1])  # pyright: ignore[reportOptionalSubscript]
    assert 1 <= step <= 3
    assert "--learning-rate" in message
    # What was saved before is good.
    for kept in processes.checkpoint_steps(out):
        assert kept < step
        assert f"step {kept}" in message


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--epochs", 0), "--epochs 0"),
        (("--batch-size", 1201), "1200 examples"),
        (("--learning-rate", "nan"), "--learning-rate"),
        (("--seed", -1), "--seed -1"),
        (("--devices", 9), "--devices 9"),
        (("--devices", 3), "399 or 402"),
        (("--resume",), "--out"),
        (("--coordinator", "localhost:1"), "--processes, --process-id"),
        (("--data-dir", "/nowhere"), "--data-dir"),
    ],
)
def test_flags_that_make_no_sense_are_named(flags, named, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, *flags)
    assert not list(tmp_path.iterdir())


def test_default_folders_are_fresh(tmp_path, monkeypatch):
    from jaxcnn.mnist.run.configuration import Configuration
    from jaxcnn.mnist.run.folder import new_name

    monkeypatch.chdir(tmp_path)
    c = Configuration("digits", "post", "fast", "jaxcnn", 6, 400, 1e-3, 0)
    names = set()
    for _ in range(3):
        name = new_name(c)
        name.mkdir(parents=True)
        names.add(name)
    assert len(names) == 3
    assert all(name.parent == Path("runs") for name in names)


def test_evaluate_agrees_with_the_run(finished, capsys):
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    assert main(["evaluate", str(finished), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["accuracy"] == last["test_accuracy"]
    np.testing.assert_allclose(record["loss"], last["test_loss"], rtol=1e-5)
    assert main(["evaluate", str(finished)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"test accuracy {last['test_accuracy']:.4f}"


@pytest.mark.parametrize("command", ["evaluate", "predict", "visualize"])
def test_what_is_no_run_is_named(command, tmp_path, capsys):
    words = [command, str(tmp_path)] + (["x.png"] if command == "predict" else [])
    assert main(words) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "Traceback" not in error


def test_a_run_that_learnt_nothing_says_so(tmp_path, capsys):
    assert train("--learning-rate", 1000, "--steps", 2, "--out", tmp_path / "run") == 0
    *_, told, last = capsys.readouterr().out.splitlines()
    assert told.startswith("The network has learnt nothing: its test loss, ")
    assert "--learning-rate (now 1000)" in told
    assert last.startswith("test accuracy")
