"""A run of a network in words, with everything that can be done with a run."""

import json
from typing import Any

import jax
import numpy as np
import pytest

import jaxcnn.mnist
from jaxcnn._errors import CommandError
from jaxcnn.cli.dispatch import main
from jaxcnn.mnist import export, model
from jaxcnn.play.inside import Inside
from tests.mnist.test_trained import as_a_user_has_it

WORDS = "conv 3 5x5, pool 3, conv 4, dense 9"
KEPT = "conv 3 5x5, pool 3, conv 4 3x3, dense 9"
HOW: dict[str, Any] = {"recipe": "fast", "batch_size": 400, "devices": 1, "quiet": True}


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with as_a_user_has_it():
        return jaxcnn.mnist.train("digits", model=WORDS, steps=2, out=folder, **HOW)


def test_it_is_kept_in_the_run_and_loaded(run):
    record = json.loads((run.folder.path / "config.json").read_text())
    assert record["configuration"]["model"] == KEPT
    again = jaxcnn.mnist.load(run.folder.path)
    assert {name: layer["w"].shape for name, layer in again.params.items()} == model.shapes(WORDS)
    image = np.zeros((28, 28), np.uint8)
    assert tuple(again.activations(image)) == tuple(again.gradients(image, 1)) == model.names(WORDS)


def test_it_goes_on_whichever_way_it_is_spelled(run):
    out = run.folder.path
    more = jaxcnn.mnist.train(model="conv 3 5,pool 3,conv 4,dense 9", steps=3, out=out,
                              resume=True, devices=1, quiet=True)  # fmt: skip
    assert (more.step, more.configuration.model) == (3, KEPT)
    with pytest.raises(CommandError, match=f"whose model is {KEPT}"):
        jaxcnn.mnist.train(model="conv 3 5", out=out, resume=True, devices=1, quiet=True)


def test_the_commands_read_it(run, capsys, tmp_path):
    folder = str(run.folder.path)
    assert main(["evaluate", folder]) == 0
    assert main(["visualize", folder, "--out", str(tmp_path)]) == 0
    names = {path.stem for path in tmp_path.iterdir()}
    assert {"filters", "activations", "gradients"} <= names
    capsys.readouterr()
    assert main(["train", "--dataset", "digits", "--model", "conv 8 4x4"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "jaxcnn: error: --model: layer 1 of the model, 'conv 8 4x4', has kernels"
    )


def test_exported_it_predicts_the_same(run, tmp_path):
    path = export.write(run, tmp_path / "network", "stablehlo")
    images = np.random.default_rng(0).random((2, 28, 28), np.float32)
    logits = jax.export.deserialize(bytearray(path.read_bytes())).call(images)
    expected = model.apply(run.params, jax.numpy.asarray(images[..., None]), model=WORDS)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_page_shows_all_of_it(run):
    inside = Inside(run.params, name="described", network=WORDS)
    image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    parts = inside.split(inside.look(image, 3, 0.1))
    told = inside.description()
    assert told["places"] == list(model.names(WORDS))
    assert told["windows"] == {"pool1": 3}
    assert {name for name, _ in told["weights"]} >= {"conv1.w", "dense2.b"}
    assert parts["d.conv2.w"].shape == (3, 3, 3, 4)
    for name, value in run.gradients(image, 3).items():
        np.testing.assert_allclose(parts[f"dx.{name}"], value, rtol=1e-3, atol=1e-5)


def test_a_model_in_config_json_that_is_none_is_named(run, tmp_path):
    record = json.loads((run.folder.path / "config.json").read_text())
    record["configuration"]["model"] = "conv"
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(CommandError, match=r"config\.json is damaged: model must be"):
        jaxcnn.mnist.load(tmp_path)
