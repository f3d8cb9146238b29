"""What a TPU gets of a max-pool, run here: its conventions and numbers, and mistakes planted in it.

Cotangents are small whole numbers, whose sums are exact in every dtype: nothing is compared with a
tolerance.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import pooling, reference
from jaxcnn._widen import widen
from jaxcnn.lowering import pooling as forms
from tests.lowering.test_pooling import WINDOWS
from tests.proof import oracles

DTYPES = ("float32", "bfloat16", "float64")


def on_a_tpu(x, g, taps):
    """The value and dx by the forms of a TPU."""
    y = forms.chained_maximum(x, taps, -np.inf)
    winner = pooling._winners(x, taps)
    return y, forms.by_blocks(winner, widen(g), taps).astype(g.dtype)


def results(window, dtype, numbers):
    """The value and dx as a TPU gets them, x and g, and the options of the layer."""
    n, k, strides, padding, dilation = window
    rng = np.random.default_rng(0)
    x = rng.choice(numbers, (2, *n, 3))
    x[0, :2] = numbers[0]
    taps = pooling._taps("max_pool", jnp.asarray(x), k, strides, padding, dilation)
    g = rng.integers(-8, 8, (2, *taps.m, 3)).astype(np.float64)
    jitted = jax.jit(lambda x, g: on_a_tpu(x, g, taps))
    y, dx = jitted(jnp.asarray(x, dtype), jnp.asarray(g, dtype))
    assert (y.dtype, dx.dtype) == (dtype, dtype)
    options = {"window_shape": k, "strides": strides, "padding": padding}
    return (np.asarray(y, np.float64), np.asarray(dx, np.float64)), (x, g), options, dilation


def disagreements(window, dtype="float32"):
    """Which of value and dx are not those of the loops, at ties, infinities and NaN."""
    found, (x, g), options, dilation = results(
        window, dtype, [-np.inf, np.inf, np.nan, 0.0, 1.0, -2.0]
    )
    y, expected = oracles.max_pool(g, x, **options, window_dilation=dilation)
    pairs = zip(("y", "dx"), found, (y, expected["x"]), strict=True)
    return [name for name, a, b in pairs if not np.array_equal(a, b, equal_nan=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_ties_infinities_and_nan_are_those_of_the_loops(window, dtype):
    """The first of equals and the first NaN win, and the padding never does, not at -inf either."""
    assert disagreements(window, dtype) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [w for w in WINDOWS if w[-1] == 1][:6], ids=str)
def test_where_all_is_finite_it_is_autodiff_to_the_last_bit(window, dtype):
    """With ties in nearly every window."""
    found, (x, g), options, _ = results(window, dtype, [-1.0, 0.0, 2.0])
    y, pull = jax.vjp(lambda x: reference.max_pool(x, **options), jnp.asarray(x))
    np.testing.assert_array_equal(found[0], y)
    np.testing.assert_array_equal(found[1], pull(jnp.asarray(g))[0])


def test_an_empty_batch():
    taps = pooling._taps("max_pool", jnp.zeros((0, 4, 4, 2)), (2, 2), 2, "VALID", None)
    y, dx = on_a_tpu(jnp.zeros((0, 4, 4, 2)), jnp.zeros((0, 2, 2, 2)), taps)
    assert (y.shape, dx.shape) == ((0, 2, 2, 2), (0, 4, 4, 2))


# Mistakes, planted one at a time: what each breaks.


def the_last_of_equals(patch):
    plain = pooling._winners

    def last(x, taps):
        flipped = plain(jnp.flip(x, (1, 2)), taps)
        return (len(taps) - 1 - jnp.flip(flipped, (1, 2))).astype(flipped.dtype)

    patch.setattr(pooling, "_winners", last)


def a_nan_is_passed_over(patch):
    plain = forms.chained_maximum
    patch.setattr(
        forms,
        "chained_maximum",
        lambda x, taps, least: plain(jnp.where(jnp.isnan(x), least, x), taps, least),
    )


def the_padding_wins(patch):
    plain = pooling._over_places
    patch.setattr(pooling, "_over_places", lambda static, x: plain(0 * static, x))


def one_window_a_block(patch):
    plain = forms._numbers
    patch.setattr(forms, "_numbers", lambda taps: dict(list(plain(taps).items())[:1]))


def the_places_of_a_window_transposed(patch):
    plain = forms._numbers
    patch.setattr(
        forms, "_numbers", lambda taps: {at: numbers.T for at, numbers in plain(taps).items()}
    )


def blocks_beside_one_another(patch):
    plain = forms._numbers
    patch.setattr(
        forms, "_numbers", lambda taps: {at[::-1]: numbers for at, numbers in plain(taps).items()}
    )


@pytest.mark.parametrize(
    ("plant", "broken"),
    [
        (the_last_of_equals, ["dx"]),
        (a_nan_is_passed_over, ["y"]),
        (the_padding_wins, ["dx"]),
        (one_window_a_block, ["dx"]),
        (the_places_of_a_window_transposed, ["dx"]),
        (blocks_beside_one_another, ["dx"]),
    ],
    ids=lambda a: getattr(a, "__name__", ""),
)
def test_a_planted_mistake_is_seen(plant, broken, monkeypatch):
    # Symmetric, so that flipping x flips the windows too.
    window = ((7, 7), (3, 3), (2, 2), 1, 1)
    assert disagreements(window) == []
    plant(monkeypatch)
    assert disagreements(window) == broken
