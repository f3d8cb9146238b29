"""The pictures show the numbers they were given, on scales that tell the truth about them."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxcnn.cli.visualize import Visualize
from jaxcnn.drawing import montage
from jaxcnn.mnist import model, plot
from jaxcnn.mnist.data import sources
from jaxcnn.mnist.plot.network import columns_for

DIGITS = sources.class_names("mnist")
MAPS = [name for name in model.NAMES if name not in ("logits", "probabilities")]


def axes_of(figure):
    return {str(axes.get_label()): axes for axes in figure.axes if axes.get_label()}


def picture_in(axes):
    """The numbers of the one image in an axes."""
    (image,) = axes.images
    return np.ma.filled(image.get_array(), np.nan)


def colour_of_zero(axes):
    (image,) = axes.images
    return image.cmap(float(image.norm(np.zeros(1))[0]))


def heights_in(axes):
    """The heights of the bars in an axes."""
    return [bar.get_height() for bar in axes.patches]


def fits(figure):
    """Whether nothing that is drawn is cut by the figure's edge."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01


@pytest.fixture(scope="module")
def places():
    params = model.init(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (1, 28, 28, 1), jnp.float32)

    def both(params, images):
        labels = jnp.array([3])
        return (
            model.activations(params, images),
            model.activation_gradients(params, images, labels),
        )

    return [
        {name: np.asarray(value[0]) for name, value in each.items()}
        for each in jax.jit(both)(params, images)
    ]


@pytest.fixture(scope="module", params=["forward", "backward"])
def drawn(request, places):
    """The values, and the figure that shows them."""
    if request.param == "forward":
        return places[0], plot.activation_figure(places[0], class_names=DIGITS, note="a noise")
    return places[1], plot.gradient_figure(places[1], class_names=DIGITS, note="a noise")


def maps_in(picture, shape):
    """The maps that a montage holds, without the gaps between them."""
    height, width, count = shape
    columns = (picture.shape[1] + 1) // (width + 1)
    tops = [(i // columns) * (height + 1) for i in range(count)]
    lefts = [(i % columns) * (width + 1) for i in range(count)]
    return np.stack(
        [
            picture[top : top + height, left : left + width]
            for top, left in zip(tops, lefts, strict=True)
        ],
        axis=-1,
    )


def test_every_place_is_drawn_with_every_number(drawn):
    values, figure = drawn
    axes = axes_of(figure)
    assert set(axes) >= set(model.NAMES)
    for name in MAPS:
        picture = picture_in(axes[name])
        expected = values[name]
        shown = picture.ravel() if expected.ndim == 1 else maps_in(picture, expected.shape)
        np.testing.assert_array_equal(shown, expected.astype(np.float64), err_msg=name)
        assert axes[name].get_title("left").startswith(name)
    for name in ("logits", "probabilities"):
        np.testing.assert_array_equal(heights_in(axes[name]), values[name].astype(np.float64))
        assert [label.get_text() for label in axes[name].get_xticklabels()] == list(DIGITS)
    assert fits(figure)


def test_gradients_are_on_a_scale_around_zero_and_activations_from_it(places):
    forward, backward = (
        axes_of(draw(values, class_names=DIGITS))
        for draw, values in zip((plot.activation_figure, plot.gradient_figure), places, strict=True)
    )
    white = matplotlib.colormaps["RdBu_r"](0.5)
    for name in MAPS:
        (image,) = backward[name].images
        largest = np.abs(places[1][name]).max()
        assert image.get_clim() == pytest.approx((-largest, largest))
        np.testing.assert_allclose(colour_of_zero(backward[name]), white, atol=1e-6)
        (image,) = forward[name].images
        low, high = image.get_clim()
        if name.startswith(("conv", "dense")):
            assert low == -high
        else:
            assert low == 0
            assert colour_of_zero(forward[name])[:3] == (0, 0, 0)
    for axes in (forward["logits"], backward["logits"], backward["probabilities"]):
        low, high = axes.get_ylim()
        assert low == -high


def test_nothing_finite_to_show_is_shown_as_nothing(places):
    values = {name: np.zeros_like(value) for name, value in places[1].items()}
    values["probabilities"][4] = -np.inf
    figure = plot.gradient_figure(values, class_names=DIGITS)
    axes = axes_of(figure)
    assert axes["conv1"].images[0].get_clim() == (-1, 1)
    assert [text.get_text() for text in axes["probabilities"].texts] == ["-inf"]
    assert fits(figure)


@pytest.mark.parametrize("name", ["post", "wide"])
def test_filters(name):
    shapes = model.shapes(name)
    rng = np.random.default_rng(0)
    params = {layer: {"w": rng.normal(size=shape)} for layer, shape in shapes.items()}
    figure = plot.filters(params)
    axes = axes_of(figure)
    assert [label for label in axes if label.startswith("conv")] == list(list(shapes)[:4])
    for layer in list(shapes)[:4]:
        w = params[layer]["w"][:, :, :4, :16]
        (image,) = axes[layer].images
        shown = maps_in(picture_in(axes[layer]), (*w.shape[:2], w[0, 0].size))
        np.testing.assert_array_equal(shown.reshape(w.shape), w)
        largest = np.abs(w).max()
        assert image.get_clim() == (-largest, largest)
        _, _, inputs, outputs = shapes[layer]
        title = axes[layer].get_title("left")
        assert ("of which" in title) == (inputs > 4 or outputs > 16)
        assert ("in 0 to 3" in title) == (inputs > 4)
        assert ("out 0 to 15" in title) == (outputs > 16)
    assert fits(figure)


def test_learning_curves_leave_out_the_closing_line():
    lines = [
        json.loads(line)
        for line in (
            '{"step": 10, "train_loss": 1.0, "train_accuracy": 0.5, "validation_accuracy": 0.6}',
            '{"step": 20, "train_loss": 0.5, "train_accuracy": 0.8, "validation_accuracy": 0.7}',
            '{"step": 20, "final": true, "test_accuracy": 0.75}',
        )
    ]
    figure = plot.learning_curves(lines, published={0: 0.1, 50: 0.6})
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["train"]
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[10, 1.0], [20, 0.5]])
    assert loss.get_yscale() == "log"
    drawn = {line.get_label(): line.get_xydata() for line in accuracy.lines}
    assert set(drawn) == {"train", "validation", "published, validation"}
    np.testing.assert_array_equal(drawn["validation"], [[10, 0.6], [20, 0.7]])
    np.testing.assert_array_equal(drawn["published, validation"], [[0, 0.1], [50, 0.6]])
    assert fits(figure)
    assert fits(plot.learning_curves([]))


def test_confusion_matrix_counts_and_colours_mistakes_alone():
    labels = np.array([0, 0, 0, 1, 1, 2], np.uint8)
    predictions = np.array([0, 0, 2, 1, 0, 0])
    figure = plot.confusion_matrix(labels, predictions, class_names=("a", "b", "c"))
    axes = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    # (column, line): (predicted, true)
    assert cells == {(0, 0): "2", (2, 0): "1", (1, 1): "1", (0, 1): "1", (0, 2): "1"}
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 0, 1], [1, 0, 0], [1, 0, 0]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    # Nobody makes half a mistake.
    assert all(tick == round(tick) for tick in figure.axes[1].get_yticks())
    assert axes.get_title() == "50.00% right, 3 of 6 wrong"
    assert fits(figure)


def test_worst_mistakes_come_worst_first():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    labels = np.array([1, 1, 1, 0], np.uint8)
    probabilities = np.array([[0.6, 0.4, 0], [0.1, 0.9, 0], [0.7, 0.05, 0.25], [0.3, 0.3, 0.4]])
    figure = plot.worst_mistakes(images, labels, probabilities, class_names=("a", "b", "c"))
    pictures = [axes for axes in figure.axes if axes.images]
    bars = [axes for axes in figure.axes if not axes.images]
    assert [axes.get_title() for axes in pictures] == [
        "no. 2: b (5.0%)\ntaken for a (70.0%)",
        "no. 3: a (30.0%)\ntaken for c (40.0%)",
        "no. 0: b (40.0%)\ntaken for a (60.0%)",
    ]
    for axes, bar, example in zip(pictures, bars, (2, 3, 0), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), images[example])
        np.testing.assert_array_equal(heights_in(bar), probabilities[example])
    assert figure.get_suptitle() == "The worst of 3 mistakes among 4"
    assert fits(figure)

    first = plot.worst_mistakes(images, labels, probabilities, class_names="abc", count=1)
    assert len([axes for axes in first.axes if axes.images]) == 1
    none = plot.worst_mistakes(images[1:2], labels[1:2], probabilities[1:2], class_names="abc")
    assert not none.axes
    assert [text.get_text() for text in none.texts][1:] == ["no mistake among 1"]


def test_networks_in_words_are_drawn_row_by_row():
    words = "pool 2, conv 3 1x1, pool 2, pool 7, dense 33"
    rng = np.random.default_rng(0)
    values = {
        name: rng.random(shape)
        for name, shape in zip(
            model.names(words),
            [
                *((28, 28, 1), (14, 14, 1), (14, 14, 3), (14, 14, 3), (7, 7, 3), (1, 1, 3)),
                *((33,), (33,), (10,), (10,)),
            ],
            strict=True,
        )
    }
    figure = plot.activation_figure(values, class_names=DIGITS, model=words)
    axes = axes_of(figure)
    assert set(axes) >= set(values)
    grid = [(p.rowspan.start, p.colspan.start) for n in values if (p := axes[n].get_subplotspec())]
    assert grid == [
        *((0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (4, 0), (4, 1), (5, 0), (5, 1)),
    ]
    shown = picture_in(axes["dense1"]).ravel()
    np.testing.assert_array_equal(shown[:33], values["dense1"])
    assert np.isnan(shown[33:]).all()
    assert fits(figure)


def test_a_right_one_is_followed_beside_the_worst():
    labels = np.array([1, 1, 1, 0])
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    command = Visualize(Path("run"))
    assert command._indices(labels, p) == {"": 0, "_of_a_right_one": 2}
    assert command._indices(labels[[0, 3]], p[[0, 3]]) == {"": 0}
    assert Visualize(Path("run"), index=1)._indices(labels, p) == {"": 1}


def test_long_class_names_fit(places):
    names = sources.class_names("fashion_mnist")
    assert fits(plot.activation_figure(places[0], class_names=names))
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 10, (2, 500))
    assert fits(plot.confusion_matrix(labels, predictions, class_names=names))
    p = rng.dirichlet(np.ones(10), 500)
    images = rng.integers(0, 256, (500, 28, 28)).astype(np.uint8)
    assert fits(plot.worst_mistakes(images, labels, p, class_names=names))


def test_figures_are_not_pyplots(places, tmp_path):
    import matplotlib.pyplot as plt

    figure = plot.activation_figure(places[0], class_names=DIGITS)
    assert type(figure) is Figure
    assert plt.get_fignums() == []
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_montage_fills_lines_first():
    maps = np.arange(12.0).reshape(2, 2, 3)
    picture = montage(maps, 2)
    assert picture.shape == (5, 5)
    np.testing.assert_array_equal(picture[:2, :2], maps[:, :, 0])
    np.testing.assert_array_equal(picture[:2, 3:], maps[:, :, 1])
    np.testing.assert_array_equal(picture[3:, :2], maps[:, :, 2])
    assert np.isnan(picture[3:, 3:]).all()
    assert np.isnan(picture[2]).all()
    assert [columns_for(count, 3.4) for count in (1, 4, 16, 64)] == [1, 4, 8, 16]
