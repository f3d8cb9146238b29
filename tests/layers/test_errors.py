"""Bad input gets one message that names the argument, what it was and what is allowed."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import jaxcnn

X, W, B = jnp.ones((2, 5, 4, 4)), jnp.ones((3, 3, 4, 6)), jnp.ones(6)
LHS, RHS = jnp.ones((2, 4, 5, 5)), jnp.ones((6, 4, 3, 3))
Z, Y, LABELS = jnp.ones((3, 4)), jnp.ones((3, 4)), jnp.zeros(3, int)
HALF = jnp.bfloat16

# What is wrong here, a type checker says too.
conv: Any = jaxcnn.conv
conv_transpose: Any = jaxcnn.conv_transpose
general: Any = jaxcnn.conv_general_dilated
max_pool: Any = jaxcnn.max_pool
avg_pool: Any = jaxcnn.avg_pool
cross_entropy = jaxcnn.softmax_cross_entropy
integer_cross_entropy = jaxcnn.softmax_cross_entropy_with_integer_labels

# The call, the exception, and words that must stand in its message.
CASES = {
    # ranks and channels
    "conv x of too low rank": (lambda: conv(jnp.ones((4, 4)), W), ValueError, ["x", "(4, 4)", "2"]),
    "conv w of rank 2": (lambda: conv(X, jnp.ones((4, 6))), ValueError, ["w", "(4, 6)"]),
    "conv w of rank 6": (lambda: conv(X, jnp.ones((1,) * 6)), ValueError, ["w", "one to three"]),
    "conv channels": (lambda: conv(X, jnp.ones((3, 3, 5, 6))), ValueError, ["w", "x", "5", "4"]),
    "conv groups": (
        lambda: conv(X, W, feature_group_count=3),
        ValueError,
        ["feature_group_count", "3", "4"],
    ),
    "conv no groups": (
        lambda: conv(X, W, feature_group_count=0),
        ValueError,
        ["feature_group_count", "0"],
    ),
    "conv bias": (lambda: conv(X, W, jnp.ones(5)), ValueError, ["b", "(5,)", "(6,)"]),
    "conv bias of rank 2": (lambda: conv(X, W, jnp.ones((1, 6))), ValueError, ["b", "(1, 6)"]),
    # options
    "conv padding word": (
        lambda: conv(X, W, padding="FULL"),
        ValueError,
        ["padding", "'FULL'", "SAME_LOWER"],
    ),
    "conv padding pairs": (
        lambda: conv(X, W, padding=((1, 1),)),
        ValueError,
        ["padding", "1 pairs", "2 spatial"],
    ),
    "conv padding of ints": (
        lambda: conv(X, W, padding=(1, 1)),
        TypeError,
        ["padding", "(1, 1)", "(low, high)"],
    ),
    "conv padding float": (lambda: conv(X, W, padding=1.5), TypeError, ["padding", "1.5"]),
    "conv stride negative": (lambda: conv(X, W, strides=-1), ValueError, ["strides", "-1", "1"]),
    "conv stride zero": (lambda: conv(X, W, strides=(1, 0)), ValueError, ["strides", "(1, 0)"]),
    "conv strides of three": (
        lambda: conv(X, W, strides=(1, 1, 1)),
        ValueError,
        ["strides", "3", "2"],
    ),
    "conv stride float": (lambda: conv(X, W, strides=2.0), TypeError, ["strides", "2.0"]),
    "conv dilation zero": (
        lambda: conv(X, W, kernel_dilation=0),
        ValueError,
        ["kernel_dilation", "0"],
    ),
    "conv empty output": (
        lambda: conv(X, jnp.ones((7, 7, 4, 6)), padding="VALID"),
        ValueError,
        ["empty", "(7, 7)", "(5, 4)"],
    ),
    "conv traced stride": (
        lambda: jax.jit(lambda s: conv(X, W, strides=s))(2),
        TypeError,
        ["strides", "static"],
    ),
    "conv_transpose padding word": (
        lambda: conv_transpose(X, W, padding="SAME_LOWER"),
        ValueError,
        ["padding", "SAME_LOWER"],
    ),
    "conv_transpose channels": (
        lambda: conv_transpose(X, jnp.ones((3, 3, 5, 6))),
        ValueError,
        ["w", "5", "4"],
    ),
    "conv_transpose stride": (
        lambda: conv_transpose(X, W, strides=0),
        ValueError,
        ["strides", "0"],
    ),
    "conv_transpose groups": (
        lambda: conv_transpose(X, W, feature_group_count=3),
        ValueError,
        ["feature_group_count", "3", "4"],
    ),
    "conv_transpose groups of a transposed kernel": (
        lambda: conv_transpose(X, W, feature_group_count=4, transpose_kernel=True),
        ValueError,
        ["feature_group_count", "4", "6", "(3, 3, 4, 6)"],
    ),
    "general rank": (
        lambda: general(LHS[0], RHS, (1, 1), "SAME"),
        ValueError,
        ["lhs", "(4, 5, 5)"],
    ),
    "general channels": (
        lambda: general(LHS, RHS[:, :3], (1, 1), "SAME"),
        ValueError,
        ["rhs", "3", "4"],
    ),
    "general strides": (
        lambda: general(LHS, RHS, (1,), "SAME"),
        ValueError,
        ["window_strides", "1"],
    ),
    "general word with lhs_dilation": (
        lambda: general(LHS, RHS, (1, 1), "SAME", (2, 2)),
        ValueError,
        ["padding", "lhs_dilation", "conv_transpose"],
    ),
    "general both groups": (
        lambda: general(LHS, RHS, (1, 1), "SAME", feature_group_count=2, batch_group_count=2),
        ValueError,
        ["batch_group_count", "feature_group_count"],
    ),
    "general batch groups": (
        lambda: general(LHS, RHS, (1, 1), "SAME", batch_group_count=3),
        ValueError,
        ["batch_group_count", "3", "2"],
    ),
    # dtypes
    "conv dtypes": (lambda: conv(X, W.astype(HALF)), TypeError, ["x float64", "w bfloat16"]),
    "conv bias dtype": (lambda: conv(X, W, B.astype(HALF)), TypeError, ["b bfloat16"]),
    "conv integers": (
        lambda: conv(X.astype(int), W.astype(int)),
        TypeError,
        ["floating or complex", "x int64"],
    ),
    "conv real with complex": (
        lambda: conv(X, W.astype(complex)),
        TypeError,
        ["x float64", "w complex128"],
    ),
    "general dtypes": (
        lambda: general(LHS, RHS.astype(HALF), (1, 1), "SAME"),
        TypeError,
        ["lhs float64", "rhs bfloat16"],
    ),
    "dense dtypes": (lambda: jaxcnn.dense(Z, jnp.ones((4, 2), HALF)), TypeError, ["w bfloat16"]),
    "dense integers": (
        lambda: jaxcnn.dense(Z.astype(int), jnp.ones((4, 2), int)),
        TypeError,
        ["floating or complex", "w int64"],
    ),
    "relu complex": (lambda: jaxcnn.relu(1j), TypeError, ["relu", "x", "real", "complex128"]),
    "softmax complex": (
        lambda: jaxcnn.softmax(Z.astype(complex)),
        TypeError,
        ["softmax", "x", "real", "complex128"],
    ),
    "max_pool complex": (
        lambda: max_pool(X.astype(complex), (2, 2)),
        TypeError,
        ["max_pool", "x", "real", "complex128"],
    ),
    "avg_pool complex": (
        lambda: avg_pool(X.astype(complex), (2, 2)),
        TypeError,
        ["avg_pool", "x", "real", "complex128"],
    ),
    "complex logits": (
        lambda: cross_entropy(Z.astype(complex), Y),
        TypeError,
        ["softmax_cross_entropy", "logits", "real", "complex128"],
    ),
    "complex labels": (
        lambda: cross_entropy(Z, Y.astype(complex)),
        TypeError,
        ["labels", "real", "complex128"],
    ),
    "complex logits of integer labels": (
        lambda: integer_cross_entropy(Z.astype(complex), LABELS),
        TypeError,
        ["softmax_cross_entropy_with_integer_labels", "logits", "real", "complex128"],
    ),
    "relu integers": (lambda: jaxcnn.relu(LABELS), TypeError, ["relu", "int64"]),
    "softmax integers": (lambda: jaxcnn.softmax(LABELS), TypeError, ["softmax", "int64"]),
    "avg_pool integers": (
        lambda: avg_pool(jnp.ones((4, 1), int), (2,)),
        TypeError,
        ["avg_pool", "int64"],
    ),
    # pools
    "max_pool ties": (
        lambda: max_pool(X, (2, 2), ties="last"),
        ValueError,
        ["ties", "'last'", "first"],
    ),
    "max_pool window": (
        lambda: max_pool(X, (6, 2)),
        ValueError,
        ["window_shape", "(6, 2)", "(5, 4)"],
    ),
    "max_pool window of an int": (lambda: max_pool(X, 2), TypeError, ["window_shape", "2"]),
    "max_pool window of 4 axes": (
        lambda: max_pool(X, (1, 1, 1, 1)),
        ValueError,
        ["window_shape", "one to three"],
    ),
    "max_pool rank": (lambda: max_pool(jnp.ones(3), (2,)), ValueError, ["x", "(3,)"]),
    "max_pool window in the padding": (
        lambda: max_pool(X, (2, 2), padding=2),
        ValueError,
        ["padding", "wholly"],
    ),
    "avg_pool window in the padding": (
        lambda: avg_pool(X, (2, 2), padding=2, count_include_pad=False),
        ValueError,
        ["padding"],
    ),
    "max_pool stride": (lambda: max_pool(X, (2, 2), -2), ValueError, ["strides", "-2"]),
    "max_pool dilation": (
        lambda: max_pool(X, (2, 2), window_dilation=0),
        ValueError,
        ["window_dilation", "0"],
    ),
    "max_pool traced window": (
        lambda: jax.jit(lambda k: max_pool(X, (k, k)))(2),
        TypeError,
        ["window_shape", "static"],
    ),
    # dense and softmax
    "dense shapes": (
        lambda: jaxcnn.dense(Z, jnp.ones((3, 2))),
        ValueError,
        ["x", "(3, 4)", "(3, 2)"],
    ),
    "dense w rank": (lambda: jaxcnn.dense(Z, jnp.ones(4)), ValueError, ["w", "(4,)"]),
    "dense bias": (
        lambda: jaxcnn.dense(Z, jnp.ones((4, 2)), jnp.ones(3)),
        ValueError,
        ["b", "(3,)", "(2,)"],
    ),
    "softmax axis": (lambda: jaxcnn.softmax(Z, 2), ValueError, ["axis", "2", "(3, 4)"]),
    "softmax axis twice": (lambda: jaxcnn.softmax(Z, (1, -1)), ValueError, ["axis", "twice"]),
    # losses
    "labels of another shape": (
        lambda: cross_entropy(Z, Y[:, :1]),
        ValueError,
        ["labels", "(3, 1)", "(3, 4)"],
    ),
    "integer labels of another shape": (
        lambda: integer_cross_entropy(Z, LABELS[:, None]),
        ValueError,
        ["labels", "(3, 1)", "(3,)"],
    ),
    "float labels": (
        lambda: integer_cross_entropy(Z, LABELS.astype(float)),
        TypeError,
        ["labels", "float64", "integers"],
    ),
    "integer logits": (lambda: cross_entropy(Z.astype(int), Y), TypeError, ["logits", "int64"]),
    "loss axis": (lambda: cross_entropy(Z, Y, 5), ValueError, ["axis", "5", "(3, 4)"]),
    "mask shape": (
        lambda: cross_entropy(Z, Y, where=jnp.ones((2, 4), bool)),
        ValueError,
        ["where", "(2, 4)", "(3, 4)"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_error(name):
    call, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value).splitlines()[0]
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
