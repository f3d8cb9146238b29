"""Float32 and the two 16-bit floats: gradients as exact as autodiff's, sums kept in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof.cases import Case

# Sums long enough that where they are kept shows; batch and space of each dw and db count hundreds.
CASES = [
    Case(layer, {k: (shape, "normal") for k, shape in shapes.items()}, options)
    for layer, shapes, options in [
        ("conv", {"x": (8, 8, 8, 6), "w": (3, 3, 6, 8), "b": (8,)}, {}),
        ("conv", {"x": (8, 9, 9, 6), "w": (3, 3, 6, 8), "b": (8,)}, {"strides": 2}),
        ("conv", {"x": (8, 8, 8, 8), "w": (3, 3, 1, 8)}, {"feature_group_count": 8}),
        ("conv_transpose", {"x": (8, 5, 5, 8), "w": (3, 3, 8, 6), "b": (6,)}, {"strides": 2}),
        (
            "conv_general_dilated",
            {"lhs": (8, 6, 8, 8), "rhs": (8, 3, 3, 3)},
            {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
        ),
        *(
            ("max_pool", {"x": (2, 9, 9, 4)}, {"window_shape": (3, 3), "strides": 1, "ties": ties})
            for ties in ("first", "all", "split")
        ),
        ("avg_pool", {"x": (2, 9, 9, 4)}, {"window_shape": (5, 5), "padding": "SAME"}),
        ("relu", {"x": (8, 8)}, {}),
        ("softmax", {"x": (8, 40)}, {}),
        ("dense", {"x": (64, 48), "w": (48, 32), "b": (32,)}, {}),
        ("softmax_cross_entropy", {"logits": (8, 40), "labels": (8, 40)}, {}),
    ]
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
SMALL = [jnp.bfloat16, jnp.float16]


def gradients(case, layers, inputs, g):
    def function(inputs, g):
        y, pull = jax.vjp(lambda inputs: case.call(layers, inputs), inputs)
        return y, pull(g.astype(y.dtype))[0]

    return jax.tree.map(lambda a: np.asarray(a, np.float64), jax.jit(function)(inputs, g))


def drawn(case, dtype):
    """Inputs and g that the dtype holds exactly, in the dtype and in float64."""
    low = {k: jnp.asarray(x, dtype) for k, x in case.inputs().items()}
    y = jax.eval_shape(lambda: case.call(reference, case.inputs()))
    g = jnp.asarray(np.random.default_rng(0).normal(size=y.shape), dtype)
    exact = {k: jnp.asarray(x, jnp.float64) for k, x in low.items()}
    return low, g, exact, g.astype(jnp.float64)


def rms(a):
    return np.sqrt(np.mean(np.square(a)))


@every_case
@pytest.mark.parametrize("dtype", SMALL, ids=["bfloat16", "float16"])
def test_16_bit_gradients_are_no_worse_than_those_of_autodiff(case, dtype):
    low, g, exact, g_exact = drawn(case, dtype)
    _, truth = gradients(case, reference, exact, g_exact)
    _, ours = gradients(case, jaxcnn, low, g)
    _, autodiff = gradients(case, reference, low, g)
    one_rounding = float(jnp.finfo(dtype).eps) / 2
    for name, expected in truth.items():
        error, theirs = rms(ours[name] - expected), rms(autodiff[name] - expected)
        # Below one rounding of the result both are as good as the dtype allows.
        assert error <= max(1.02 * theirs, one_rounding * rms(expected)), (name, error, theirs)


@every_case
@pytest.mark.parametrize("dtype", SMALL, ids=["bfloat16", "float16"])
def test_16_bit_sums_are_kept_in_float32(case, dtype):
    """Each gradient is its float64 value within a few roundings, however long the sum."""
    low, g, exact, g_exact = drawn(case, dtype)
    _, truth = gradients(case, reference, exact, g_exact)
    _, ours = gradients(case, jaxcnn, low, g)
    for name, expected in truth.items():
        error = np.abs(ours[name] - expected).max() / np.abs(expected).max()
        assert error <= 4 * float(jnp.finfo(dtype).eps), (name, error)


@every_case
def test_float32(case):
    low, g, exact, g_exact = drawn(case, jnp.float32)
    y, truth = gradients(case, reference, exact, g_exact)
    ours_y, ours = gradients(case, jaxcnn, low, g)
    for name, expected, found in [("y", y, ours_y), *((k, truth[k], ours[k]) for k in truth)]:
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error <= 2e-6, (name, error)


def test_a_long_bfloat16_bias_gradient_does_not_stall():
    """In bfloat16 a running sum of ones stops at 256."""
    x, w, b = (jnp.zeros(s, jnp.bfloat16) for s in [(1, 40, 40, 1), (1, 1, 1, 1), (1,)])
    db = jax.grad(lambda b: jaxcnn.conv(x, w, b).sum().astype(jnp.float32))(b)
    assert float(db[0]) == 1600
    db = jax.grad(lambda b: jaxcnn.dense(x, w[0, 0], b).sum().astype(jnp.float32))(b)
    assert float(db[0]) == 1600


def test_preferred_element_type_widens_the_output_alone():
    lhs, rhs = jnp.ones((1, 2, 4, 4), jnp.bfloat16), jnp.ones((3, 2, 3, 3), jnp.bfloat16)

    def convolve(lhs, rhs):
        return jaxcnn.conv_general_dilated(
            lhs, rhs, (1, 1), "SAME", preferred_element_type=jnp.float32
        )

    y, pull = jax.vjp(convolve, lhs, rhs)
    assert y.dtype == jnp.float32
    assert [d.dtype for d in pull(y)] == [jnp.bfloat16, jnp.bfloat16]
    expected = jax.vjp(
        lambda lhs, rhs: reference.conv_general_dilated(lhs, rhs, (1, 1), "SAME"),
        lhs.astype(jnp.float64),
        rhs.astype(jnp.float64),
    )[1](y.astype(jnp.float64))
    for found, exact in zip(pull(y), expected, strict=True):
        np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=1e-2)


@pytest.mark.parametrize("precision", [None, "highest", jax.lax.Precision.HIGH, ("high", "high")])
def test_precision_reaches_all_three_convolutions(precision):
    x, w = jnp.ones((1, 5, 5, 20), jnp.float32), jnp.ones((3, 3, 20, 20), jnp.float32)

    def loss(x, w):
        return jnp.sum(jnp.sin(jaxcnn.conv(x, w, precision=precision)))

    # Where it matters: a CPU computes float32 in float32, whatever is asked for.
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, w)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    wanted = {None: "DEFAULT", "highest": "HIGHEST"}.get(precision, "HIGH")
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(lines) >= 3
    for line in lines:
        assert line.count(f"precision {wanted}") == 2, line


def test_losses_of_16_bit_logits_are_float32():
    """Optax keeps 13.775 in bfloat16: 13.75."""
    logits = jnp.array([0.0, 13.775], jnp.bfloat16)
    exact = np.logaddexp(0.0, float(logits[1]))
    for loss in (
        jaxcnn.softmax_cross_entropy(logits, jnp.array([1, 0], jnp.bfloat16)),
        jaxcnn.softmax_cross_entropy_with_integer_labels(logits, jnp.array(0)),
    ):
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, exact, rtol=1e-6)


def test_losses_promote_as_optax_does():
    """Half-precision logits with float32 labels, and one-hot labels that are integers."""
    logits, labels = jnp.ones((2, 3), jnp.bfloat16), jnp.eye(3, dtype=jnp.float32)[:2]
    dz, dy = jax.grad(lambda z, y: jaxcnn.softmax_cross_entropy(z, y).sum(), (0, 1))(logits, labels)
    assert (dz.dtype, dy.dtype) == (jnp.bfloat16, jnp.float32)
    whole = labels.astype(jnp.int32)
    found = jax.grad(lambda z: jaxcnn.softmax_cross_entropy(z, whole).sum())(logits)
    np.testing.assert_array_equal(found, dz)
