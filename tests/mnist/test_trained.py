"""A run from Python: trained, loaded, asked, and exported."""

import json
import re

import jax
import numpy as np
import pytest

import jaxcnn.mnist
from jaxcnn._errors import CommandError
from jaxcnn.mnist import export, model
from jaxcnn.mnist.run.programs import LAYERS


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield


class as_a_user_has_it:
    """JAX's own defaults in place of the tests' strict ones."""

    def __enter__(self):
        self.settings = [
            jax.enable_x64(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ]
        for setting in self.settings:
            setting.__enter__()

    def __exit__(self, *error):
        for setting in reversed(self.settings):
            setting.__exit__(*error)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with as_a_user_has_it():
        return jaxcnn.mnist.train(
            "digits", recipe="fast", batch_size=400, steps=6, checkpoint_every=1, keep=2,
            devices=1, out=folder, quiet=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)


def test_training_is_quiet_where_asked_and_returns_what_load_returns(run, capfd):
    again = jaxcnn.mnist.load(run.folder.path)
    assert again.configuration == run.configuration
    assert again.step == run.step == 6
    jax.tree.map(np.testing.assert_array_equal, again.params, run.params)
    assert capfd.readouterr() == ("", "")


def test_history_and_evaluate_agree(run):
    assert [line["step"] for line in run.history] == [3, 6]
    measured = run.evaluate()
    assert measured["accuracy"] == pytest.approx(run.history[-1]["test_accuracy"])
    assert measured["loss"] == pytest.approx(run.history[-1]["test_loss"], rel=1e-4)
    assert len(measured["by_class"]) == 10


def test_predictions_in_every_shape(run, images):
    p = run.probabilities(images)
    np.testing.assert_allclose(p.sum(-1), 1)
    np.testing.assert_array_equal(run.predict(images), p.argmax(-1))
    np.testing.assert_allclose(run.probabilities(images[0]), p[0], rtol=1e-4)
    np.testing.assert_allclose(run.logits(images[None] / 255.0)[0], run.logits(images), rtol=1e-5)
    assert run.logits(images, batch_size=2).shape == (5, 10)
    assert run.predict(images[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (np.zeros((27, 28), np.uint8), r"\[27, 28\]"),
        (np.full((28, 28), 255.0), "from 0 to 1"),
        (np.zeros((28, 28), np.int32), "int32"),
    ],
)
def test_what_is_no_image_is_refused(run, given, named):
    with pytest.raises(ValueError, match=named):
        run.predict(given)


def test_activations_and_gradients_are_the_models(run, images):
    layers = LAYERS[run.configuration.layers]
    x = model.pixels(images[:1])
    forward = model.activations(run.params, x, layers=layers)
    backward = model.activation_gradients(run.params, x, jax.numpy.array([3]), layers=layers)
    for mine, whole in (
        (run.activations(images[0]), forward),
        (run.gradients(images[0], 3), backward),
    ):
        assert tuple(mine) == model.NAMES
        for name, value in mine.items():
            np.testing.assert_allclose(value, whole[name][0], rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="label"):
        run.gradients(images[0], 10)
    with pytest.raises(ValueError, match="image"):
        run.activations(images)


def test_the_best_checkpoint_is_kept_and_found(tmp_path):
    folder = tmp_path / "run"
    # A rate far too high: what was best is soon over.
    whole = jaxcnn.mnist.train(
        "digits", recipe="post", batch_size=400, steps=3, checkpoint_every=1, keep=1, devices=1,
        out=folder, quiet=True,
    )  # fmt: skip
    jaxcnn.mnist.train(out=folder, resume=True, steps=102, learning_rate=0.05, checkpoint_every=1,
                       keep=1, devices=1, quiet=True)  # fmt: skip
    accuracies = {m["step"]: m["validation_accuracy"] for m in whole.history}
    best = max(accuracies, key=lambda step: (accuracies[step], -step))
    assert jaxcnn.mnist.load(folder, "best").step == best
    assert jaxcnn.mnist.load(folder).step == 102
    with pytest.raises(CommandError, match=f"there are {best}, 102"):
        jaxcnn.mnist.load(folder, 50)


@pytest.mark.parametrize("format", export.FORMATS)
def test_an_exported_network_predicts_the_same(format, run, images, tmp_path):
    path = export.write(run, tmp_path / "network", format)
    x = (images / 255).astype(np.float32)
    if format == "stablehlo":
        program = jax.export.deserialize(bytearray(path.read_bytes()))
        assert program.platforms == ("cpu", "cuda", "tpu")
        # Nothing but JAX's own check of n, which it takes out before it compiles.
        assert set(re.findall(r"custom_call @(\w+)", program.mlir_module())) <= {"shape_assertion"}
        logits = program.call(x)
    else:
        if format == "npz":
            with np.load(path) as file:
                arrays = dict(file)
        else:
            from safetensors import safe_open
            from safetensors.numpy import load_file

            arrays = load_file(path)
            with safe_open(path, "numpy") as file:
                kept = json.loads(file.metadata()["configuration"])
            assert kept == run.configuration.to_json()
        params = {}
        for name, value in arrays.items():
            layer, _, part = name.partition(".")
            params.setdefault(layer, {})[part] = value
        logits = model.apply(params, x[..., None])
    np.testing.assert_allclose(logits, run.logits(images), rtol=1e-4, atol=1e-5)


def test_an_export_that_cannot_be_written_is_named(run, tmp_path):
    with pytest.raises(CommandError, match="nowhere"):
        export.write(run, tmp_path / "nowhere" / "network", "npz")
    with pytest.raises(ValueError, match="onnx"):
        export.write(run, tmp_path / "network", "onnx")
