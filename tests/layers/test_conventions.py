"""Every convention that a docstring names, worked by hand: ties, NaN, infinities, kinks."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof import oracles
from tests.proof.checks import assert_equal

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
