"""The two networks: their shapes, their activations, and the gradient at every one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn.mnist import model

F64 = jnp.float64


@pytest.fixture(scope="module")
def network():
    params = model.init(jax.random.key(0), "post", dtype=F64)
    # Biases away from zero, so that a forgotten one shows.
    biases = jax.random.normal(jax.random.key(1), (len(params),), F64)
    for layer, bias in zip(params.values(), biases, strict=True):
        layer["b"] = layer["b"] + 0.1 * bias
    images = jax.random.uniform(jax.random.key(2), (3, 28, 28, 1), F64)
    return params, images, jnp.array([3, 0, 9])


@pytest.fixture(scope="module")
def places(network):
    params, images, _ = network
    return jax.jit(model.activations)(params, images)


@pytest.fixture(scope="module")
def gradients(network):
    return jax.jit(model.activation_gradients)(*network)


@pytest.mark.parametrize(
    ("name", "widths", "channels"),
    [("post", (5, 5, 3, 3), (4, 4, 8, 16)), ("wide", (3, 3, 3, 3), (32, 32, 64, 64))],
)
def test_shapes(name, widths, channels):
    params = model.init(jax.random.key(0), name)
    assert list(params) == ["conv1", "conv2", "conv3", "conv4", "dense1", "dense2"]
    incoming = (1, *channels)
    for i, (width, features) in enumerate(zip(widths, channels, strict=True)):
        assert params[f"conv{i + 1}"]["w"].shape == (width, width, incoming[i], features)
    assert params["dense1"]["w"].shape == (7 * 7 * channels[-1], 128)
    assert params["dense2"]["w"].shape == (128, 10)
    for layer in params.values():
        assert layer["b"].shape == layer["w"].shape[-1:]
        assert layer["w"].dtype == layer["b"].dtype == jnp.float32
    logits = jax.eval_shape(model.apply, params, jnp.zeros((2, 28, 28, 1), jnp.float32))
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)


def test_initial_scales():
    he = model.init(jax.random.key(0), "wide", dtype=F64)
    post = model.init(jax.random.key(0), "post", scheme="post", dtype=F64)
    for layer in he.values():
        fan_in = np.prod(layer["w"].shape[:-1])
        # That of n normal numbers is off by 1/sqrt(2n) of itself, and rarely by 4 times that.
        assert float(layer["w"].std()) == pytest.approx(
            (2 / fan_in) ** 0.5, rel=4 / (2 * layer["w"].size) ** 0.5
        )
        assert not layer["b"].any()
    for name, layer in post.items():
        scale, bias = (0.5, 0.15) if name.startswith("conv") else (0.1, 1.15)
        assert float(layer["w"].std()) == pytest.approx(scale, rel=4 / (2 * layer["w"].size) ** 0.5)
        np.testing.assert_array_equal(layer["b"], bias)


def test_another_key_gives_other_weights_and_every_layer_its_own():
    one, same, other = (model.init(jax.random.key(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(*(jax.tree.leaves(p) for p in (one, same, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        if a.ndim > 1:
            assert (a != c).all()
    w = [np.ravel(layer["w"])[:100] / np.std(layer["w"]) for layer in one.values()]
    assert len(np.unique(np.concatenate(w).round(5))) == sum(map(len, w))


def test_every_place_follows_from_the_one_before(network, places):
    params, images, _ = network
    assert set(places) == set(model.NAMES)  # jit sorts them
    x = {name: np.asarray(value) for name, value in places.items()}
    np.testing.assert_array_equal(x["input"], images)
    for i in range(1, 5):
        np.testing.assert_array_equal(x[f"relu{i}"], np.maximum(x[f"conv{i}"], 0))
    for i in (1, 2):
        before = x[f"relu{2 * i}"]
        n, h, w, c = before.shape
        blocks = before.reshape(n, h // 2, 2, w // 2, 2, c)
        np.testing.assert_array_equal(x[f"pool{i}"], blocks.max((2, 4)))
    flat = x["pool2"].reshape(3, -1)
    dense1 = flat @ np.asarray(params["dense1"]["w"]) + np.asarray(params["dense1"]["b"])
    np.testing.assert_allclose(x["dense1"], dense1, rtol=1e-12)
    logits = x["relu5"] @ np.asarray(params["dense2"]["w"]) + np.asarray(params["dense2"]["b"])
    np.testing.assert_allclose(x["logits"], logits, rtol=1e-12)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(x["probabilities"], shares, rtol=1e-12)
    # One convolution by hand, in a corner and so with its padding, ties the maps to the weights.
    w, b = np.asarray(params["conv3"]["w"]), np.asarray(params["conv3"]["b"])
    corner = np.einsum("nijc,ijck->nk", x["pool1"][:, :2, :2], w[1:, 1:]) + b
    np.testing.assert_allclose(x["conv3"][:, 0, 0], corner, rtol=1e-12)


def test_apply_is_the_logits_with_any_batch_axes(network, places):
    params, images, _ = network
    apply = jax.jit(model.apply)
    np.testing.assert_array_equal(apply(params, images), places["logits"])
    np.testing.assert_allclose(apply(params, images[0]), places["logits"][0], rtol=1e-12)
    assert apply(params, images[:0]).shape == (0, 10)


def test_the_gradient_at_every_place_is_that_of_autodiff(network, gradients):
    automatic = jax.jit(model.activation_gradients, static_argnames="layers")(
        *network, layers=reference
    )
    assert set(gradients) == set(automatic) == set(model.NAMES)
    for name in model.NAMES:
        assert gradients[name].shape == automatic[name].shape
        scale = float(jnp.abs(automatic[name]).max())
        assert scale > 0
        np.testing.assert_allclose(
            gradients[name], automatic[name], rtol=1e-10, atol=1e-12 * scale, err_msg=name
        )


def test_gradients_obey_the_formulas_of_the_post(network, places, gradients):
    labels = np.asarray(network[2])
    x = {name: np.asarray(value) for name, value in places.items()}
    g = {name: np.asarray(value) for name, value in gradients.items()}
    y = np.eye(10)[labels]
    np.testing.assert_allclose(g["logits"], (x["probabilities"] - y) / 3, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(g["probabilities"], -y / x["probabilities"] / 3, rtol=1e-12)
    p, dp = x["probabilities"], g["probabilities"]
    np.testing.assert_allclose(
        g["logits"], p * (dp - (dp * p).sum(-1, keepdims=True)), rtol=1e-9, atol=1e-14
    )
    for before, after in (*((f"conv{i}", f"relu{i}") for i in range(1, 5)), ("dense1", "relu5")):
        np.testing.assert_array_equal(g[before], np.where(x[before] > 0, g[after], 0))
    for i in (1, 2):
        n, h, w, c = g[f"relu{2 * i}"].shape
        blocks = g[f"relu{2 * i}"].reshape(n, h // 2, 2, w // 2, 2, c)
        np.testing.assert_array_equal(blocks.sum((2, 4)), g[f"pool{i}"])
        assert (np.count_nonzero(blocks, axis=(2, 4)) <= 1).all()
    w = np.asarray(network[0]["dense2"]["w"])
    np.testing.assert_allclose(g["relu5"], g["logits"] @ w.T, rtol=1e-9, atol=1e-14)


def test_with_the_posts_mask_every_tied_element_gets_the_gradient(network):
    params, images, labels = network
    # Behind a digit every convolution is constant: whole windows tie above zero.
    images = images.at[:, :14].set(0)
    x = jax.jit(model.activations)(params, images)
    gradients = jax.jit(model.activation_gradients, static_argnames="ties")
    g = gradients(params, images, labels, ties="all")
    for i in (1, 2):
        largest, back = (
            np.asarray(values[f"pool{i}"]).repeat(2, 1).repeat(2, 2) for values in (x, g)
        )
        mask = np.asarray(x[f"relu{2 * i}"]) == largest
        assert (mask.reshape(3, 14 // i, 2, 14 // i, 2, -1).sum((2, 4)) == 4).any()
        np.testing.assert_array_equal(g[f"relu{2 * i}"], np.where(mask, back, 0))


def test_the_gradient_at_the_input_is_the_slope_of_the_loss(network, gradients):
    params, images, labels = network

    @jax.jit
    def loss(images):
        logits = model.apply(params, images, layers=reference)
        return reference.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    direction = jax.random.normal(jax.random.key(5), images.shape, F64)
    step = 1e-6
    slope = (loss(images + step * direction) - loss(images - step * direction)) / (2 * step)
    assert float((gradients["input"] * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


def test_the_whole_networks_parameter_gradient_is_that_of_autodiff(network):
    params, images, labels = network

    def gradient(layers):
        def loss(params):
            logits = model.apply(params, images, layers=layers)
            return layers.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.jit(jax.grad(loss))(params)

    by_hand, automatic = gradient(jaxcnn), gradient(reference)
    assert jax.tree.structure(by_hand) == jax.tree.structure(params)
    for path, expected in jax.tree.leaves_with_path(automatic):
        layer, kind = (key.key for key in path)
        scale = float(jnp.abs(expected).max())
        assert scale > 0
        np.testing.assert_allclose(
            by_hand[layer][kind], expected, rtol=1e-10, atol=1e-12 * scale, err_msg=layer + kind
        )


def test_pixels_are_over_255():
    images = np.array([[[0, 51, 255]]], np.uint8)
    x = model.pixels(images, F64)
    np.testing.assert_array_equal(x, [[[[0.0], [0.2], [1.0]]]])
    assert x.dtype == F64
    assert model.pixels(images).dtype == jnp.float32


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="model must be one of post, wide, or layers"):
        model.init(jax.random.key(0), "resnet")
    with pytest.raises(ValueError, match="scheme must be one of he, post; got 'zeros'"):
        model.init(jax.random.key(0), scheme="zeros")
