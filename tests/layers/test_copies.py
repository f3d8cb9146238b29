"""Layers under `jax.vmap`: copies that share w are one larger batch, copies of w more channels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxcnn
from jaxcnn import reference

COPIES = 3
# The axis of x, w and b over which vmap maps.
MAPPED = [
    (0, None, None), (2, None, None), (None, 0, 0), (None, 1, None), (0, 0, 0), (None, None, 0),
    (0, None, 0),
]  # fmt: skip


def conv(layers, x, w, b, activation):
    groups = 2
    return layers.conv(x, w, b, strides=(1, 2), feature_group_count=groups, activation=activation)


def dense(layers, x, w, b, activation):
    return layers.dense(x, w, b, activation=activation)


LAYERS = {
    "conv": (conv, ((2, 5, 6, 4), (3, 2, 2, 6), (6,))),
    "dense": (dense, ((2, 4), (4, 3), (3,))),
}


def with_copies(shape, axis):
    return shape if axis is None else (*shape[:axis], COPIES, *shape[axis:])


def gradients(layer, layers, activation, axes, order):
    def loss(*operands):
        return jnp.sum(jnp.sin(layer(layers, *operands, activation)))

    def mapped_first(*operands):
        return jnp.sum(jax.vmap(loss, axes)(*operands))

    return {
        "grad of vmap": jax.grad(mapped_first, (0, 1, 2)),
        "vmap of grad": jax.vmap(jax.grad(loss, (0, 1, 2)), axes),
        "vmap of jit": jax.grad(
            lambda *operands: jnp.sum(jax.vmap(jax.jit(loss), axes)(*operands)), (0, 1, 2)
        ),
        "second order": jax.grad(
            lambda *operands: jnp.sum(jax.grad(mapped_first, 1)(*operands) ** 2), (0, 1, 2)
        ),
    }[order]


@pytest.mark.parametrize("order", ["grad of vmap", "vmap of grad", "vmap of jit", "second order"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_the_reference(name, order):
    layer, shapes = LAYERS[name]
    rng = np.random.default_rng(0)
    for axes, activation in zip(MAPPED, itertools.cycle((None, "relu"))):
        x, w, b = (
            jnp.asarray(rng.normal(size=with_copies(s, a)))
            for s, a in zip(shapes, axes, strict=True)
        )
        got, expected = (
            jax.jit(gradients(layer, layers, activation, axes, order))(x, w, b)
            for layers in (jaxcnn, reference)
        )
        for a, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-11)


def test_maps_within_maps():
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(2, 3, 1, 5, 6, 2))), jnp.asarray(rng.normal(size=(4, 3, 2)))
    w = w[:, :, None, :, None] * jnp.ones((1, 1, 2, 1, 3))

    def mapped(layers):
        def f(x, w):
            over_x = jax.vmap(jax.vmap(lambda x, w: layers.conv(x, w), (0, None)), (0, None))
            return jnp.sum(jnp.sin(jax.vmap(over_x, (None, 0))(x, w)))

        return jax.jit(jax.value_and_grad(f, (0, 1)))(x, w)

    (y, got), (y_expected, expected) = mapped(jaxcnn), mapped(reference)
    np.testing.assert_allclose(y, y_expected, rtol=1e-12)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-11)


def sums(f, *operands):
    """The correlations of a trace: their groups, and the shapes of their operands."""
    found = []

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "correlation":
                shapes = [v.aval.shape for v in eqn.invars]
                found.append((eqn.params["c"].groups, *shapes))
            for inner in jax.tree.leaves(eqn.params, is_leaf=lambda v: hasattr(v, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    walk(inner)

    walk(jax.make_jaxpr(f)(*operands).jaxpr)
    return found


def test_what_shares_an_operand_is_summed_in_one_correlation():
    x, w = jnp.ones((COPIES, 2, 5, 5, 2)), jnp.ones((3, 3, 2, 4))

    def over_x(x, w):
        return jnp.sum(jax.vmap(lambda x: jaxcnn.conv(x, w) ** 2)(x))

    y, *backward = sums(jax.grad(over_x, (0, 1)), x, w)
    assert y == (1, (6, 5, 5, 2), (3, 3, 2, 4))
    assert (1, (6, 5, 5, 2), (6, 5, 5, 4)) in backward  # dw: the copies are part of the batch

    x, w = x[0], jnp.ones((COPIES, *w.shape))

    def over_w(x, w):
        return jnp.sum(jax.vmap(lambda w: jaxcnn.conv(x, w) ** 2)(w))

    y, *backward = sums(jax.grad(over_w, (0, 1)), x, w)
    assert y == (1, (2, 5, 5, 2), (3, 3, 2, 4 * COPIES))
    assert (1, (2, 5, 5, 4 * COPIES), (3, 3, 4 * COPIES, 2)) in backward  # dx likewise


def test_bias_and_activation_wait_until_the_copies_are_apart():
    """In the sum itself they would leave a transposed y, which db has to set apart once more."""
    x, w, b = jnp.ones((2, 5, 5, 2)), jnp.ones((COPIES, 3, 3, 2, 4)), jnp.ones((COPIES, 4))
    mapped = jax.vmap(lambda w, b: jaxcnn.conv(x, w, b, activation="relu"))
    assert sums(mapped, w, b) == [(1, (2, 5, 5, 2), (3, 3, 2, 4 * COPIES))]
    text = str(jax.make_jaxpr(jax.grad(lambda b: jnp.sum(mapped(w, b))))(b))
    assert f"[{COPIES},4] = reduce_sum" in text


def test_a_gradient_of_every_copy_keeps_them_apart():
    x, w = jnp.ones((COPIES, 2, 5, 5, 2)), jnp.ones((3, 3, 2, 4))

    def loss(w, x):
        return jnp.sum(jaxcnn.conv(x, w) ** 2)

    *_, dw = sums(jax.vmap(jax.grad(loss), (None, 0)), w, x)
    assert dw == (COPIES, (2, 5, 5, 2 * COPIES), (2, 5, 5, 4 * COPIES))


@pytest.mark.parametrize("mapped", ["x", "w"])
def test_on_explicit_mesh_axes(mapped):
    """JAX refuses to lay a sharded axis on the channels, which copies by themselves would need."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    rng = np.random.default_rng(0)
    shapes = ((4, 2, 5, 5, 2), (3, 3, 2, 3)) if mapped == "x" else ((4, 5, 5, 2), (3, 3, 3, 2, 3))
    x, w = (rng.normal(size=s) for s in shapes)
    axes = (0, None) if mapped == "x" else (None, 0)

    def gradients(layers):
        def loss(x, w):
            return jnp.sum(jnp.sin(jax.vmap(lambda x, w: layers.conv(x, w), axes)(x, w)))

        return jax.jit(jax.grad(loss, (0, 1)))

    expected = gradients(reference)(x, w)
    with jax.set_mesh(mesh):
        x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        w = jax.device_put(w, NamedSharding(mesh, PartitionSpec()))
        got = gradients(jaxcnn)(x, w)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-11)
