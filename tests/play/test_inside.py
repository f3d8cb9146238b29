"""The network that comes with the page, how drawings are placed, and one row of numbers."""

from importlib import resources

import jax
import numpy as np
import pytest

import jaxcnn.play
from jaxcnn import reference
from jaxcnn.mnist import model
from jaxcnn.mnist.data.digits import TRAIN, VALIDATION, load_digits
from jaxcnn.play import shipped, training
from jaxcnn.play.canvas import CANVAS, place
from jaxcnn.play.inside import Inside

FILES = ("weights.npz", "page/index.html", "page/style.css", "page/script.js")


@pytest.fixture(scope="module")
def inside():
    return Inside(shipped.load(), name="shipped")


def test_what_is_shipped_is_small_and_knows_digits():
    sizes = {name: len((resources.files(jaxcnn.play) / name).read_bytes()) for name in FILES}
    assert sizes["weights.npz"] < 500_000
    assert sum(sizes.values()) < 600_000
    images, labels, _ = load_digits()
    unseen = TRAIN + VALIDATION
    params = shipped.load()
    assert training.accuracy(params, images[unseen:], labels[unseen:]) > 0.98
    drawn = training.written(np.random.default_rng(99), 200)
    assert training.accuracy(params, *drawn) > 0.97


def test_weights_are_kept_as_they_will_be_read(tmp_path):
    params = model.init(jax.random.key(0))
    kept = shipped.save(tmp_path / "weights.npz", params)
    with np.load(tmp_path / "weights.npz") as arrays:
        for name, layer in kept.items():
            for part, value in layer.items():
                np.testing.assert_array_equal(arrays[f"{name}.{part}"], value)
                np.testing.assert_allclose(value, params[name][part], atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(80, 8), (8, 80), (1, 1), (112, 112), (60, 30)])
def test_a_drawing_fills_the_box_and_has_its_mass_in_the_middle(height, width):
    ink = np.zeros((CANVAS, CANVAS), np.uint8)
    ink[:height, CANVAS - width :] = 255
    image = place(ink)
    assert image.dtype == np.uint8
    rows, columns = (np.nonzero(image.max(axis))[0] for axis in (1, 0))
    extent = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    assert max(extent) == 20
    assert image.max() == 255
    y, x = (np.average(np.arange(28), weights=image.sum(axis)) for axis in (1, 0))
    assert abs(y - 13.75) <= 0.75
    assert abs(x - 13.75) <= 0.75


def test_nothing_drawn_gives_nothing():
    assert not place(np.zeros((CANVAS, CANVAS), np.uint8)).any()
    assert not place(np.full((CANVAS, CANVAS), 20, np.uint8)).any()


def test_a_row_is_what_the_model_says(inside):
    image = training.written(np.random.default_rng(1), 1)[0][0]
    parts = inside.split(inside.look(image, label=4, rate=0.25))
    params, x = shipped.load(), model.pixels(image[None])
    labels = np.array([4], np.int32)

    @jax.jit
    def automatic(params):
        def loss(params):
            logits = model.apply(params, x, layers=reference)
            return reference.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, g = jax.value_and_grad(loss)(params)
        moved = jax.tree.map(lambda w, dw: w - np.float32(0.25) * dw, params, g)
        return value, g, loss(moved), model.activations(params, x, layers=reference)

    before, g, after, places = automatic(params)
    for name in model.NAMES:
        np.testing.assert_allclose(parts[f"x.{name}"], places[name][0], rtol=1e-5, atol=1e-5)
    for n in range(1, 5):
        for part in ("w", "b"):
            expected = g[f"conv{n}"][part]
            scale = float(np.abs(expected).max())
            assert scale > 0
            np.testing.assert_allclose(
                parts[f"d.conv{n}.{part}"], expected, atol=1e-4 * scale, rtol=1e-4
            )
    np.testing.assert_allclose(parts["loss"], [before, after], rtol=1e-3, atol=1e-5)
    assert parts["label"] == [4]


def test_the_description_fits_the_numbers(inside):
    d = inside.description()
    assert [name for name, _ in d["sections"]] == list(inside.sections)
    row = inside.look(np.zeros((28, 28), np.uint8))
    assert len(row) == sum(int(np.prod(shape)) for _, shape in d["sections"])
    assert len(inside.weights()) == sum(int(np.prod(shape)) for _, shape in d["weights"])
    assert len(d["examples"]) == 10
    dresses = Inside(inside.params, name="other", class_names=("dress",) * 10)
    assert dresses.description()["examples"] == []
