"""What lax.conv_general_dilated takes without a gradient rule, its drop-in takes too.

The cases stand in for JAX's own tests, which `tests.peer_suites` runs: each failed there once.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxcnn
from tests.proof.checks import assert_equal

# Shapes of lhs and rhs, dtype, and the other arguments.
CASES = {
    "no spatial axis": ((2, 3), (4, 3), float, ((), ())),
    "no spatial axis, a word": ((2, 3), (4, 3), float, ((), "VALID")),
    "no spatial axis, dilations": ((2, 3), (4, 3), float, ((), "SAME", (), ())),
    "integers": ((1, 2, 4, 3), (2, 2, 2, 2), np.int32, ((1, 1), "SAME")),
    "small integers": ((1, 2, 4, 3), (2, 2, 2, 2), np.int8, ((1, 2), ((1, 0), (0, 1)))),
    "booleans": ((1, 2, 4, 3), (2, 2, 2, 2), bool, ((1, 1), "VALID")),
    "an output without a place": ((1, 2, 2, 3), (2, 2, 3, 2), float, ((1, 1), "VALID")),
    "an input without a place": ((1, 2, 0, 3), (2, 2, 3, 2), float, ((1, 1), "SAME")),
    "no output channel": ((1, 2, 4, 3), (0, 2, 2, 2), float, ((1, 1), "VALID")),
    "no input channel": ((1, 0, 4, 3), (2, 0, 2, 2), float, ((1, 1), "VALID")),
    "four spatial axes": ((1, 2, 2, 3, 2, 2), (2, 2, 1, 2, 1, 2), float, ((1,) * 4, "VALID")),
    "a lower-case word": ((1, 2, 4, 3), (2, 2, 2, 2), float, ((1, 1), "same")),
    "pairs of NumPy": ((1, 2, 4, 3), (2, 2, 2, 2), float, ((1, 1), np.array([[1, 0], [0, 1]]))),
}


@pytest.mark.parametrize("name", CASES)
def test_it_takes_what_lax_takes(name):
    lhs_shape, rhs_shape, dtype, arguments = CASES[name]
    rng = np.random.default_rng(0)
    lhs, rhs = (jnp.asarray(rng.integers(-3, 4, s)).astype(dtype) for s in (lhs_shape, rhs_shape))

    @jax.jit
    def both(lhs, rhs):
        found = []
        for convolve in (jaxcnn.conv_general_dilated, lax.conv_general_dilated):
            if dtype is float:
                y, pull = jax.vjp(lambda a, b, f=convolve: f(a, b, *arguments), lhs, rhs)
                found.append((y, *pull(jnp.ones_like(y))))
            else:
                found.append((convolve(lhs, rhs, *arguments),))
        return found

    for ours, theirs in zip(*both(lhs, rhs), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


def test_an_integer_output_of_8_bits_may_be_asked_for_in_32():
    lhs, rhs = jnp.full((1, 2, 3, 3), 100, jnp.int8), jnp.full((1, 2, 2, 2), 100, jnp.int8)
    y = jaxcnn.conv_general_dilated(lhs, rhs, (1, 1), "VALID", preferred_element_type=jnp.int32)
    assert (y.dtype, int(y[0, 0, 0, 0])) == (jnp.int32, 80000)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("size", [0, 2])
def test_vmap_over_nothing_and_over_empty_batches(axes, size):
    def shape(full, axis):
        return full if axis is None else (size, *full)

    for batch in (0, 2):
        lhs = jnp.ones(shape((batch, 2, 3, 2), axes[0]))
        rhs = jnp.ones(shape((4, 1, 2, 2), axes[1]))
        found, expected = (
            jax.vmap(
                lambda a, b, f=f: f(a, b, (1, 1), "SAME", feature_group_count=2), in_axes=axes
            )(lhs, rhs)
            for f in (jaxcnn.conv_general_dilated, lax.conv_general_dilated)
        )
        assert found.shape == expected.shape
        assert_equal(found, expected, "output")


@pytest.mark.parametrize(
    ("lhs", "rhs", "padding"),
    [((1, 1, 1), (1, 1, 1, 1), "SAME"), ((1, 1, 3), (1, 1, 1), (3,)), ((1, 1, 3), (1, 1, 1), 1)],
)
def test_it_refuses_in_the_words_of_lax(lhs, rhs, padding):
    """Who catches the error of lax catches this one: its type, and the words JAX's tests want."""
    messages = []
    for convolve in (jaxcnn.conv_general_dilated, lax.conv_general_dilated):
        with pytest.raises(ValueError, match=r"number of dimensions|padding argument") as caught:
            convolve(
                jnp.ones(lhs), jnp.ones(rhs), (1,), padding, dimension_numbers=
                None if len(lhs) == len(rhs) else lax.ConvDimensionNumbers(*[(0, 1, 2)] * 3),
            )  # fmt: skip
        messages.append(str(caught.value).split(",")[0])
    assert messages[0] == messages[1]
