"""The rules under vmap, scan, cond, checkpoint and without jit, and second derivatives."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof.cases import SAMPLES
from tests.proof.checks import assert_equal

every_sample = pytest.mark.parametrize("case", SAMPLES, ids=str)
COPIES = 3


def gradients(case, layers):
    """The function arrays, g -> output and gradients."""

    def function(arrays, g):
        fixed = {k: v for k, v in arrays.items() if k not in case.differentiable}
        free = {k: v for k, v in arrays.items() if k in case.differentiable}
        y, pull = jax.vjp(lambda free: case.call(layers, free | fixed), free)
        return y, pull(g)[0]

    return function


@cache
def _stacks(number: int):
    """COPIES different draws of every array of a sample, of g, and of what the reference says."""
    case = SAMPLES[number]
    rng = np.random.default_rng(number)
    arrays = {
        name: np.stack([x, *(rng.permuted(x) for _ in range(COPIES - 1))])
        for name, x in case.inputs().items()
    }
    shape = jax.eval_shape(lambda: case.call(reference, case.inputs())).shape
    return arrays, rng.normal(size=(COPIES, *shape)), jax.jit(gradients(case, reference))


def stacks(case):
    return _stacks(SAMPLES.index(case))


def expected_of(expect, arrays, g, mapped):
    """What the reference gives for each copy, the arrays not in `mapped` held at the first."""
    each = [
        expect({k: v[i if k in mapped else 0] for k, v in arrays.items()}, g[i])
        for i in range(COPIES)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def assert_trees_equal(got, expected):
    jax.tree.map(lambda a, b: assert_equal(a, b, "leaf"), got, expected)


@every_sample
def test_eager(case):
    arrays, g, expect = stacks(case)
    arrays, g = jax.tree.map(lambda a: jnp.asarray(a[0]), (arrays, g))
    assert_trees_equal(gradients(case, jaxcnn)(arrays, g), expect(arrays, g))


@every_sample
def test_vmap_over_each_argument_and_over_all(case):
    arrays, g, expect = stacks(case)
    subsets = [{name} for name in arrays] + ([set(arrays)] if len(arrays) > 1 else [])

    @jax.jit
    def program(arrays, g):
        found = []
        for mapped in subsets:
            axes = {k: 0 if k in mapped else None for k in arrays}
            held = {k: v if k in mapped else v[0] for k, v in arrays.items()}
            found.append(jax.vmap(gradients(case, jaxcnn), (axes, 0))(held, g))
        return found

    for mapped, found in zip(subsets, program(arrays, g), strict=True):
        assert_trees_equal(found, expected_of(expect, arrays, g, mapped))


@every_sample
def test_vmap_over_an_inner_axis(case):
    arrays, g, expect = stacks(case)
    moved = jax.tree.map(lambda a: np.moveaxis(a, 0, -1), (arrays, g))
    found = jax.jit(jax.vmap(gradients(case, jaxcnn), in_axes=-1, out_axes=0))(*moved)
    assert_trees_equal(found, expected_of(expect, arrays, g, set(arrays)))


@every_sample
def test_scan(case):
    arrays, g, expect = stacks(case)

    @jax.jit
    def program(arrays, g):
        return jax.lax.scan(
            lambda _, each: (None, gradients(case, jaxcnn)(*each)), None, (arrays, g)
        )

    assert_trees_equal(program(arrays, g)[1], expected_of(expect, arrays, g, set(arrays)))


@every_sample
def test_gradient_through_scan_cond_and_checkpoint(case):
    """One scan whose body is checkpointed and holds the layer in a branch, and its gradient."""
    arrays, g, expect = stacks(case)
    fixed = {k: v for k, v in arrays.items() if k not in case.differentiable}
    free = {k: v for k, v in arrays.items() if k in case.differentiable}

    @jax.jit
    def program(free, fixed, g):
        @jax.checkpoint
        def body(total, each):
            free, fixed, g, i = each
            y = jax.lax.cond(
                i >= 0,
                lambda free: case.call(jaxcnn, free | fixed),
                lambda free: jnp.zeros(g.shape),
                free,
            )
            return total + jnp.sum(g * y), None

        def loss(free):
            steps = (free, fixed, g, jnp.arange(COPIES))
            return jax.lax.scan(body, jnp.zeros(()), steps)[0]

        return jax.grad(loss)(free)

    expected = expected_of(expect, arrays, g, set(arrays))[1]
    assert_trees_equal(program(free, fixed, g), expected)


@every_sample
def test_second_order(case):
    """Forward over reverse, grad of grad and the Hessian are those of the reference."""
    arrays, g, _ = stacks(case)
    arrays, g = {k: v[0] for k, v in arrays.items()}, g[0]
    fixed = {k: v for k, v in arrays.items() if k not in case.differentiable}
    free = {k: v for k, v in arrays.items() if k in case.differentiable}
    rng = np.random.default_rng(1)
    v = {k: rng.normal(size=x.shape) for k, x in free.items()}
    first = case.differentiable[0]

    @jax.jit
    def program(free, v):
        def by(layers):
            def loss(free):
                return jnp.sum(g * jnp.sin(case.call(layers, free | fixed)))

            def slope(free):
                slopes = jax.grad(loss)(free)
                return sum(jnp.sum(v[k] * slopes[k]) for k in free)

            _, forward_over_reverse = jax.jvp(jax.grad(loss), (free,), (v,))
            hessian = jax.hessian(lambda x: loss(free | {first: x}))(free[first])
            return forward_over_reverse, jax.grad(slope)(free), hessian

        return by(jaxcnn), by(reference)

    found, expected = program(free, v)
    assert_trees_equal(found, expected)
    assert np.abs(expected[2]).max() > 1e-3


def test_plain_forward_mode_is_left_to_the_reference():
    x = jnp.ones((2, 3))
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(jaxcnn.relu, (x,), (x,))
    assert_equal(jax.jvp(reference.relu, (x,), (x,))[1], np.ones((2, 3)), "relu")


def test_options_that_mean_the_same_share_one_trace():
    """Lists, tuples and ints are one option to jit's cache, and a second call traces nothing."""
    x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def program(x, w):
        both = [
            jaxcnn.conv(x, w, strides=strides, padding=padding)
            for strides, padding in [(2, 1), ([2, 2], [[1, 1], [1, 1]]), ((2, 2), ((1, 1), (1, 1)))]
        ]
        return both, jaxcnn.max_pool(x, [2, 2], [2, 2], [(0, 0), (0, 0)])

    chex.clear_trace_counter()
    (a, b, c), _ = program(x, w)
    program(x, w)
    chex.assert_trees_all_equal(a, b, c)


def test_per_example_gradients():
    """vmap(grad) over examples gives each example's own gradient, and they sum to the batch's."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(3, 4, 4, 2)), rng.normal(size=(3, 3, 2, 3)), rng.normal(size=3)
    labels = np.array([2, 0, 1])

    def loss(params, x, label):
        y = jaxcnn.max_pool(jaxcnn.relu(jaxcnn.conv(x, *params)), (2, 2), 2)
        return jaxcnn.softmax_cross_entropy_with_integer_labels(y.mean((0, 1)), label)

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))((w, b), x, labels)
    one = jax.jit(jax.grad(loss))
    for i in range(3):
        assert_trees_equal(jax.tree.map(lambda a, i=i: a[i], each), one((w, b), x[i], labels[i]))
