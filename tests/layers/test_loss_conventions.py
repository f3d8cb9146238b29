"""What softmax and the losses promise, worked by hand: infinities, masks, labels of every kind."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from tests.proof import oracles
from tests.proof.checks import assert_equal, require_peer

NAN, INF = np.nan, np.inf


def test_softmax_of_large_logits():
    """The post subtracts the mean and overflows; its 1e-8 keeps rows from summing to 1."""
    p, pull = jax.vjp(jaxcnn.softmax, jnp.array([2000.0, 0.0, 0.0]))
    assert p.tolist() == [1, 0, 0]
    assert pull(jnp.array([1.0, 2.0, 3.0]))[0].tolist() == [0, 0, 0]
    rows = jaxcnn.softmax(jnp.asarray(np.random.default_rng(0).normal(size=(50, 9)) * 30))
    assert_equal(rows.sum(-1), np.ones(50), "rows", rtol=1e-15)


def cross_entropy(z, y, **options):
    """Per-example losses and the gradients of their sum."""
    loss, pull = jax.vjp(lambda z: jaxcnn.softmax_cross_entropy(z, y, **options), z)
    return loss, pull(jnp.ones_like(loss))[0]


def integer_cross_entropy(z, y, **options):
    loss, pull = jax.vjp(
        lambda z: jaxcnn.softmax_cross_entropy_with_integer_labels(z, y, **options), z
    )
    return loss, pull(jnp.ones_like(loss))[0]


Z = jnp.asarray(np.random.default_rng(3).normal(size=(4, 3)))


def test_label_rows_that_do_not_sum_to_one():
    """The post's p - y is S p - y with S = 1, and wrong by (S - 1) p elsewhere."""
    y = jnp.array([[1.0, 0, 0], [2, 0, 1], [0, 0, 0], [0.2, 0.2, 0.2]])
    _, dz = cross_entropy(Z, y)
    p = jax.nn.softmax(Z)
    assert_equal(dz, y.sum(-1, keepdims=True) * p - y, "dz")
    assert np.abs(dz - (p - y)).max(-1).tolist()[0] < 1e-15
    assert (np.abs(dz - (p - y)).max(-1)[1:] > 0.1).all()


@pytest.mark.parametrize("label", [-1, -100, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_labels_that_are_no_class_give_nan_in_their_row_alone(label, masked):
    """Optax: the last class, or a NaN loss with a finite gradient."""
    options = {"where": jnp.ones((4, 3), bool)} if masked else {}
    labels = jnp.array([0, label, 2, 1])
    loss, dz = integer_cross_entropy(Z, labels, **options)
    right, right_dz = integer_cross_entropy(Z, jnp.array([0, 0, 2, 1]), **options)
    rows = np.array([0, 2, 3])
    assert np.isnan(loss[1])
    assert np.isnan(dz[1]).all()
    assert_equal(loss[rows], right[rows], "loss")
    assert_equal(dz[rows], right_dz[rows], "dz")


def test_an_impossible_class_that_is_not_asked_for_counts_nothing():
    """Optax's softmax_cross_entropy gives NaN: 0 * inf."""
    z = Z.at[:, 1].set(-INF)
    y = jnp.array([[1.0, 0, 0], [0.5, 0, 0.5], [0, 0, 1], [2, 0, 0]])
    loss, dz = cross_entropy(z, y)
    two_loss, two_dz = cross_entropy(z[:, ::2], y[:, ::2])
    assert_equal(loss, two_loss, "loss")
    assert_equal(dz[:, ::2], two_dz, "dz")
    assert_equal(dz[:, 1], np.zeros(4), "dz of the impossible class")
    labels = jnp.array([0, 2, 2, 0])
    loss, dz = integer_cross_entropy(z, labels)
    two_loss, two_dz = integer_cross_entropy(z[:, ::2], labels // 2)
    assert_equal(loss, two_loss, "loss")
    assert_equal(dz[:, ::2], two_dz, "dz")
    dy = jax.grad(lambda y: jaxcnn.softmax_cross_entropy(z, y).sum())(y)
    assert np.isfinite(dy).all()


def test_an_impossible_class_that_is_asked_for_costs_infinity():
    z = Z.at[:, 1].set(-INF)
    assert np.isposinf(cross_entropy(z, jnp.eye(3)[jnp.ones(4, int)])[0]).all()
    loss, dz = integer_cross_entropy(z, jnp.ones(4, int))
    assert np.isposinf(loss).all()
    assert_equal(dz, jax.nn.softmax(z) - jnp.eye(3)[jnp.ones(4, int)], "dz")


def test_a_masked_class_takes_no_part():
    """Neither in the softmax nor in the labels: the loss is that of the classes left."""
    mask = jnp.array([[True, False, True]] * 4)
    y = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 3)))
    loss, dz = cross_entropy(Z, y, where=mask)
    expected, expected_dz = cross_entropy(Z[:, ::2], y[:, ::2])
    assert_equal(loss, expected, "loss")
    assert_equal(dz[:, ::2], expected_dz, "dz")
    assert_equal(dz[:, 1], np.zeros(4), "dz of the masked class")
    labels = jnp.array([0, 2, 2, 1])
    loss, dz = integer_cross_entropy(Z, labels, where=mask)
    expected, expected_dz = integer_cross_entropy(Z[:3, ::2], labels[:3] // 2)
    assert_equal(loss[:3], expected, "loss")
    assert_equal(dz[:3, ::2], expected_dz, "dz")
    assert float(loss[3]) == 0  # its own class is masked
    assert dz[3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("label", [0, -1, 99])
def test_a_wholly_masked_example_counts_nothing_whatever_its_label(label):
    z = Z.at[1].set(NAN)
    labels = jnp.array([0, label, 2, 1])
    keep = jnp.array([True, False, True, True])
    for where in (keep, keep[:, None], jnp.broadcast_to(keep[:, None], Z.shape)):
        loss, dz = integer_cross_entropy(z, labels, where=where)
        assert float(loss[1]) == 0
        assert dz[1].tolist() == [0, 0, 0]
        assert np.isfinite(loss).all()
        assert np.isfinite(dz).all()
        loss, dz = cross_entropy(z, jnp.eye(3)[labels % 3].at[1].set(NAN), where=where)
        assert float(loss[1]) == 0
        assert dz[1].tolist() == [0, 0, 0]


def test_integer_labels_are_one_hot_labels():
    for axis, shape in [(1, (2, 5, 3)), ((0, 2), (2, 5, 3)), ((2, 0), (2, 5, 3)), (-1, (7,))]:
        axes = [a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)]
        batch = [n for a, n in enumerate(shape) if a not in axes]
        classes = math.prod(shape[a] for a in axes)
        rng = np.random.default_rng(0)
        z, labels = rng.normal(size=shape), rng.integers(0, classes, batch)
        one_hot = oracles.unrows(np.eye(classes)[labels], axis, shape)
        loss, dz = integer_cross_entropy(jnp.asarray(z), jnp.asarray(labels), axis=axis)
        expected, expected_dz = cross_entropy(jnp.asarray(z), jnp.asarray(one_hot), axis=axis)
        assert_equal(loss, expected, "loss")
        assert_equal(dz, expected_dz, "dz")


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16, jnp.int64], ids=str)
def test_labels_of_any_integer_dtype(dtype):
    """A uint8 cannot name 300 classes, and must not wrap."""
    z = jnp.asarray(np.random.default_rng(0).normal(size=(2, 300)))
    labels = jnp.array([0, 200]).astype(dtype) if dtype != jnp.int16 else jnp.array([299, 7], dtype)
    _, dz = integer_cross_entropy(z, labels)
    assert_equal(dz, jax.nn.softmax(z) - np.eye(300)[np.asarray(labels)], "dz")


def test_losses_are_those_of_optax_where_they_agree():
    optax = require_peer("optax")
    y = jax.nn.softmax(Z[::-1])
    labels = jnp.array([2, 0, 1, 1])
    rows = jnp.array([True, False, True, True])
    for where in (None, rows):
        expected = optax.softmax_cross_entropy(Z, y, where=where)
        assert_equal(jaxcnn.softmax_cross_entropy(Z, y, where=where), expected, "loss")
        expected = optax.softmax_cross_entropy_with_integer_labels(Z, labels, where=where)
        found = jaxcnn.softmax_cross_entropy_with_integer_labels(Z, labels, where=where)
        assert_equal(found, expected, "loss")
