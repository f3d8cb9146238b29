"""A network in words: read, checked, and computed as the words say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn.mnist import description, model

# What the words are made of, layer by layer: name, output, shape of the weights.
NETWORKS = {
    "conv 8 5x5, pool 2, conv 16 3x3, pool 2, dense 64": [
        ("conv1", (28, 28, 8), (5, 5, 1, 8)),
        ("pool1", (14, 14, 8), None),
        ("conv2", (14, 14, 16), (3, 3, 8, 16)),
        ("pool2", (7, 7, 16), None),
        ("dense1", (64,), (784, 64)),
        ("dense2", (10,), (64, 10)),
    ],
    "pool 3,conv 2": [
        ("pool1", (9, 9, 1), None),
        ("conv1", (9, 9, 2), (3, 3, 1, 2)),
        ("dense1", (10,), (162, 10)),
    ],
    " dense  5 , dense 4": [
        ("dense1", (5,), (784, 5)),
        ("dense2", (4,), (5, 4)),
        ("dense3", (10,), (4, 10)),
    ],
}


@pytest.mark.parametrize("words", NETWORKS)
def test_words_are_layers(words):
    layers = description.read(words)
    assert [(layer.name, layer.output, layer.weights) for layer in layers] == NETWORKS[words]
    assert model.shapes(words) == {name: w for name, _, w in NETWORKS[words] if w}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "got ''"),
        ("resnet", "model must be one of post, wide, or layers such as"),
        ("conv 8 5x5, relu", "got 'relu' in 'conv 8 5x5, relu'"),
        ("conv 8 5x5 pool 2", "got 'conv 8 5x5 pool 2'"),
        ("conv", "got 'conv'"),
        ("conv 8 3x5", "layer 1 of the model, 'conv 8 3x5', is 3x5: give a square"),
        ("conv 8 4x4", "has kernels of 4x4: they may be 1x1, 3x3, 5x5"),
        ("conv 8 29x29", "has kernels of 29x29"),
        ("conv 0", "has a size of 0"),
        ("dense 8, conv 8", "layer 2 of the model, 'conv 8', comes after a dense layer"),
        ("dense 8, pool 2", "comes after a dense layer"),
        ("pool 7, pool 5", "'pool 5', is larger than the 4x4 maps"),
        ("dense 100000", "has 79,500,010 parameters: 50,000,000 are the most"),
    ],
)
def test_words_that_describe_no_network_are_named(words, said):
    with pytest.raises(ValueError, match="model") as caught:
        description.read(words)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("conv 8,pool 2x2 ,  dense 9", "conv 8 3x3, pool 2, dense 9"),
        ("conv 8 5", "conv 8 5x5"),
        ("conv 8 5 x 5", "conv 8 5x5"),
        ("post", "post"),
    ],
)
def test_spellings_have_one_form(spelling, canonical):
    assert description.canonical(spelling) == canonical
    assert description.read(canonical) == description.read(spelling)


def test_names_are_words_too():
    assert model.NAMES == model.names(description.MODELS["post"])
    assert len(model.NAMES) == 15
    assert model.names("pool 2, dense 3") == (
        *("input", "pool1", "dense1", "relu1", "logits", "probabilities"),
    )


def test_the_summary_counts_every_parameter():
    words = "conv 8 5x5, pool 2, dense 64"
    lines = description.summary(words).splitlines()
    params = model.init(jax.random.key(0), words)
    for line in lines[1:-1]:
        name, *_, count = line.split()
        layer = params.get(name)
        if layer is not None:
            assert int(count.replace(",", "")) == layer["w"].size + layer["b"].size
    assert int(lines[-1].split()[-1].replace(",", "")) == sum(
        leaf.size for leaf in jax.tree.leaves(params)
    )
    assert "14x14x8" in lines[2]


def test_a_described_network_computes_what_its_words_say():
    words = "conv 3 5x5, pool 3, conv 4 1x1, dense 6, dense 5"
    params = model.init(jax.random.key(0), words, dtype=jnp.float64)
    images = jax.random.uniform(jax.random.key(1), (2, 28, 28, 1), jnp.float64)
    labels = jnp.array([3, 0])

    def by_hand(params, x):
        for name, pooled in (("conv1", True), ("conv2", False)):
            x = reference.relu(reference.conv(x, params[name]["w"], params[name]["b"]))
            x = reference.max_pool(x, (3, 3), (3, 3)) if pooled else x
        x = x.reshape(len(x), -1)
        for name in ("dense1", "dense2"):
            x = reference.relu(reference.dense(x, params[name]["w"], params[name]["b"]))
        return reference.dense(x, params["dense3"]["w"], params["dense3"]["b"])

    def loss(params, x, apply):
        return jaxcnn.softmax_cross_entropy_with_integer_labels(apply(params, x), labels).mean()

    def described(params, x):
        return model.apply(params, x, model=words)

    @jax.jit
    def everything(params, images):
        return (
            [jax.value_and_grad(loss, (0, 1))(params, images, f) for f in (described, by_hand)],
            model.activations(params, images, model=words),
            model.activation_gradients(params, images, labels, model=words),
        )

    (mine, theirs), places, gradients = everything(params, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), mine, theirs)
    np.testing.assert_allclose(places["logits"], by_hand(params, images), atol=1e-12)
    assert set(places) == set(gradients) == set(model.names(words))
    np.testing.assert_allclose(gradients["input"], mine[1][1], atol=1e-12)
