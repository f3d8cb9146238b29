"""Every convention that a docstring names, worked by hand: ties, NaN, infinities, kinks, labels."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof import oracles
from tests.proof.checks import assert_equal, require_peer

NAN, INF = np.nan, np.inf


def pooled(x, g=None, **options):
    """Value and gradient of max_pool over one channel of a 1-D or 2-D array."""
    x = jnp.asarray(x, float)[..., None]
    y, pull = jax.vjp(lambda x: jaxcnn.max_pool(x, **options), x)
    dx = pull(jnp.ones_like(y) if g is None else jnp.asarray(g, float)[..., None])[0]
    return np.asarray(y)[..., 0].tolist(), np.asarray(dx)[..., 0].tolist()


# relu


def test_relu_at_its_kink():
    """The derivative is 0 at 0, of either sign, where jnp.maximum has one half; and at NaN."""
    x = jnp.array([-1.0, -0.0, 0.0, 1e-300, NAN, INF, -INF])
    y, pull = jax.vjp(jaxcnn.relu, x)
    assert_equal(y, [0, 0, 0, 1e-300, NAN, INF, 0], "y")
    assert_equal(pull(jnp.full(7, 3.0))[0], [0, 0, 0, 3, 0, 3, 0], "dx")
    assert jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0) == 0.5


def test_a_blocked_nan_stays_blocked():
    """A NaN in g behind a closed relu is 0, not NaN * 0."""
    pull = jax.vjp(jaxcnn.relu, jnp.array([-1.0, 1.0]))[1]
    assert_equal(pull(jnp.array([NAN, NAN]))[0], [0, NAN], "dx")


# max_pool


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("first", [[8, 0], [0, 0]]),
        ("all", [[8, 8], [8, 8]]),  # the post's mask: four times what came in
        ("split", [[2, 2], [2, 2]]),
    ],
)
def test_max_pool_of_zeros(ties, expected):
    """What post-relu maps look like everywhere, and what relu's own zero hides end to end."""
    _, dx = pooled(np.zeros((2, 2)), [[8]], window_shape=(2, 2), strides=2, ties=ties)
    assert dx == expected


def test_max_pool_first_is_first_in_row_major_order():
    _, dx = pooled([[1, 2, 3], [3, 3, 0]], window_shape=(2, 3))
    assert dx == [[0, 0, 1], [0, 0, 0]]
    _, dx = pooled([[1, 2, 0], [3, 3, 0]], window_shape=(2, 3))
    assert dx == [[0, 0, 0], [1, 0, 0]]


def test_max_pool_compares_exactly():
    """The post's isclose takes 1 and 1 - 1e-7 for equal, and hands out the gradient twice."""
    for ties in ("first", "all", "split"):
        _, dx = pooled([1 - 1e-7, 1.0], window_shape=(2,), ties=ties)
        assert dx == [0, 1]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("ties", ["first", "all", "split"])
def test_max_pool_nan_and_infinities_against_loops(dilation, ties):
    """NaN: the value is NaN, and g goes to the first NaN, or to all of them. Padding never wins."""
    rng = np.random.default_rng(0)
    x = rng.choice([NAN, -INF, INF, 0.0, 1.0, -2.0], (4, 6, 7, 2), p=[0.1, 0.4, 0.1, 0.2, 0.1, 0.1])
    x[0] = -INF
    options = {
        "window_shape": (3, 2), "strides": (2, 1), "padding": ((2, 1), (1, 1)),
        "window_dilation": dilation, "ties": ties,
    }  # fmt: skip
    y, pull = jax.vjp(lambda x: jaxcnn.max_pool(x, **options), jnp.asarray(x))
    g = rng.normal(size=y.shape)
    expected_y, expected = oracles.max_pool(g, x, **options)
    assert_equal(y, expected_y, "y")
    assert_equal(pull(jnp.asarray(g))[0], expected["x"], "dx")
    if ties != "all":
        assert_equal(pull(jnp.asarray(g))[0].sum((1, 2)), g.sum((1, 2)), "mass")


def test_max_pool_nan_by_hand():
    y, dx = pooled([1, NAN, 5, NAN], window_shape=(4,))
    assert math.isnan(y[0])
    assert dx == [0, 1, 0, 0]
    assert pooled([1, NAN, 5, NAN], window_shape=(4,), ties="split")[1] == [0, 0.5, 0, 0.5]


def test_max_pool_all_minus_infinity_beside_padding():
    """In lax the padding wins the tie, and the gradient is lost."""
    options = {"window_shape": (2,), "strides": 2, "padding": ((1, 1),)}
    y, dx = pooled([-INF, -INF], [3, 5], **options)
    assert y == [-INF, -INF]
    assert dx == [3, 5]
    x = jnp.full((2, 1), -INF)
    lost = jax.grad(lambda x: reference.max_pool(x, **options)[0, 0])(x)
    assert float(lost.sum()) == 0
    assert pooled([-INF, -INF], [3, 5], **options, ties="split")[1] == [3, 5]


def test_max_pool_padding_is_below_every_number():
    y, _ = pooled([-3.0, -2.0], window_shape=(3,), padding=1)
    assert y == [-2, -2]


def test_max_pool_of_integers():
    """The value alone: padding is the least of the dtype."""
    x = jnp.array([[-128], [-100]], jnp.int8)
    y = jaxcnn.max_pool(x, (2,), padding=1)
    assert y.dtype == jnp.int8
    assert y[:, 0].tolist() == [-128, -100, -100]


def test_max_pool_a_nan_in_g_reaches_the_winner_alone():
    _, dx = pooled([1.0, 2.0, 0.0, 3.0], [NAN, 1], window_shape=(2,), strides=2)
    assert_equal(dx, [0, NAN, 0, 1], "dx")


def test_pools_keep_the_default_stride_of_flax():
    x = jnp.arange(4.0)[:, None]
    assert jaxcnn.max_pool(x, (2,)).shape == (3, 1)
    assert jaxcnn.avg_pool(x, (2,)).shape == (3, 1)


# avg_pool


def test_avg_pool_averages_space():
    """The post's own code averages the wrong axes: (2, 8, 8, 3) gives (2, 4, 2, 2)."""
    x = jnp.arange(384.0).reshape(2, 8, 8, 3)
    y = jaxcnn.avg_pool(x, (2, 2), 2)
    assert y.shape == (2, 4, 4, 3)
    assert_equal(y, x.reshape(2, 4, 2, 4, 2, 3).mean((2, 4)), "y")


@pytest.mark.parametrize(("count", "ends"), [(True, 2 / 3), (False, 1.0)])
def test_avg_pool_counts_padding_as_flax_and_torch(count, ends):
    y = jaxcnn.avg_pool(jnp.ones((4, 1)), (3,), padding="SAME", count_include_pad=count)
    assert_equal(y[:, 0], [ends, 1, 1, ends], "y")


# convolution


def test_same_puts_the_odd_cell_last_and_same_lower_first():
    x, w = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([1.0, 10.0])[:, None, None]
    assert jaxcnn.conv(x, w).ravel().tolist() == [21, 32, 3]
    assert jaxcnn.conv(x, w, padding="SAME_LOWER").ravel().tolist() == [10, 21, 32]


def test_rows_that_no_stride_visits_have_no_gradient():
    x, w = jnp.ones((5, 1)), jnp.ones((1, 1, 1))
    dx = jax.grad(lambda x: jaxcnn.conv(x, w, strides=3, padding="VALID").sum())(x)
    assert dx.ravel().tolist() == [1, 0, 0, 1, 0]


def test_gradients_are_sums_over_the_batch_not_means():
    """The post divides by m inside every layer; here the mean belongs to the loss."""
    x, w, b = jnp.ones((6, 3, 3, 1)), jnp.ones((1, 1, 1, 1)), jnp.ones(1)
    dw, db = jax.grad(lambda w, b: jaxcnn.conv(x, w, b).sum(), (0, 1))(w, b)
    assert (float(dw.sum()), float(db.sum())) == (54, 54)
    dw, db = jax.grad(lambda w, b: jaxcnn.dense(x, w, b).sum(), (0, 1))(w[0, 0], b)
    assert (float(dw.sum()), float(db.sum())) == (54, 54)


# softmax


def test_softmax_of_large_logits():
    """The post subtracts the mean and overflows; its 1e-8 keeps rows from summing to 1."""
    p, pull = jax.vjp(jaxcnn.softmax, jnp.array([2000.0, 0.0, 0.0]))
    assert p.tolist() == [1, 0, 0]
    assert pull(jnp.array([1.0, 2.0, 3.0]))[0].tolist() == [0, 0, 0]
    rows = jaxcnn.softmax(jnp.asarray(np.random.default_rng(0).normal(size=(50, 9)) * 30))
    assert_equal(rows.sum(-1), np.ones(50), "rows", rtol=1e-15)


# losses


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


# all


def test_an_empty_batch_has_empty_losses_and_zero_gradients():
    x, w, b = jnp.zeros((0, 4, 4, 2)), jnp.ones((3, 3, 2, 2)), jnp.ones(2)
    y, pull = jax.vjp(jaxcnn.conv, x, w, b)
    dx, dw, db = pull(y)
    assert (y.shape, dx.shape) == ((0, 4, 4, 2), (0, 4, 4, 2))
    assert not np.any(dw)
    assert not np.any(db)


def test_kernels_that_crash_the_posts_code():
    """1x1, even and longer than the image, on images that are not square."""
    x = jnp.ones((1, 3, 4, 1))
    for k in itertools.product([1, 2, 6], repeat=2):
        assert jaxcnn.conv(x, jnp.ones((*k, 1, 1))).shape == x.shape
