"""The rules with the batch over eight devices: the same numbers, and each dw reduced once.

The three ways to say it: jit over Auto mesh axes, jit over Explicit ones (what `jax.make_mesh`
makes), and shard_map.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxcnn
from jaxcnn import reference
from tests.proof.cases import Case
from tests.proof.checks import assert_equal

N = 16  # two examples a device


def _case(layer, options=None, **shapes):
    kinds = {"labels": "label", "where": "mask"}
    arrays = {name: (shape, kinds.get(name, "normal")) for name, shape in shapes.items()}
    return Case(layer, arrays, options or {})


# What is sharded is the batch, the first axis of x, lhs, logits and labels.
CASES = [
    _case("conv", {"strides": 2}, x=(N, 6, 4, 2), w=(3, 3, 2, 4), b=(4,)),
    _case("conv", {"feature_group_count": 4}, x=(N, 4, 6, 4), w=(3, 3, 1, 4)),
    _case("conv", {"feature_group_count": 2}, x=(N, 4, 6, 4), w=(3, 3, 2, 4), b=(4,)),
    _case("conv", x=(N, 4, 28, 1), w=(5, 5, 1, 4), b=(4,)),
    _case("conv", x=(N, 4, 4, 20), w=(3, 3, 20, 20), b=(20,)),
    _case("conv", {"padding": "VALID"}, x=(N, 9, 3), w=(3, 3, 2)),
    _case("conv_transpose", {"strides": 2}, x=(N, 3, 3, 2), w=(3, 3, 2, 2), b=(2,)),
    _case(
        "conv_general_dilated",
        {"window_strides": (1, 1), "padding": "SAME", "rhs_dilation": (2, 1)},
        lhs=(N, 2, 4, 3),
        rhs=(3, 2, 2, 2),
    ),
    *(
        _case(
            "max_pool",
            {"window_shape": (3, 3), "strides": 2, "padding": "SAME", "ties": ties},
            x=(N, 5, 6, 2),
        )
        for ties in ("first", "all", "split")
    ),
    _case("max_pool", {"window_shape": (2, 2), "strides": 2}, x=(N, 4, 4, 2)),
    _case("avg_pool", {"window_shape": (2, 2), "strides": (1, 2)}, x=(N, 4, 4, 2)),
    _case("relu", x=(N, 3)),
    _case("softmax", x=(N, 5)),
    _case("dense", x=(N, 5), w=(5, 3), b=(3,)),
    _case("softmax_cross_entropy", logits=(N, 5), labels=(N, 5), where=(N, 5)),
    _case("softmax_cross_entropy_with_integer_labels", logits=(N, 5), labels=(N,), where=(N,)),
]
CASES = [
    Case(c.layer, c.arrays | {"labels": (c.arrays["labels"][0], "weights")}, c.options)
    if c.layer == "softmax_cross_entropy"
    else c
    for c in CASES
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
PARAMETERS = ("w", "b", "rhs")


def spec(name: str) -> P:
    """Parameters are on every device, the rest is split along its first axis."""
    return P() if name in PARAMETERS else P("batch")


def gradients(case, layers):
    def function(free, fixed, g):
        y, pull = jax.vjp(lambda free: case.call(layers, free | fixed), free)
        return y, pull(g)[0]

    return function


def drawn(case):
    """The arrays with a gradient, those without, and g, in float64."""
    inputs = case.inputs()
    free = {k: v for k, v in inputs.items() if k in case.differentiable}
    fixed = {k: v for k, v in inputs.items() if k not in case.differentiable}
    shape = jax.eval_shape(lambda: case.call(reference, inputs)).shape
    return free, fixed, np.random.default_rng(0).normal(size=shape)


def place(mesh, free, fixed, g):
    def put(name, x):
        return jax.device_put(x, NamedSharding(mesh, spec(name)))

    return (
        {k: put(k, v) for k, v in free.items()},
        {k: put(k, v) for k, v in fixed.items()},
        put("g", g),
    )


def assert_as_reference(case, found, arguments):
    expected = jax.jit(gradients(case, reference))(*arguments)
    jax.tree.map(lambda a, b: assert_equal(a, b, "leaf"), found, expected)


def collectives(text: str) -> dict[str, int]:
    """How many elements each kind of collective in the compiled text moves."""
    found = {}
    for line in text.splitlines():
        for kind in ("all-reduce", "all-gather", "all-to-all", "collective-permute",
                     "reduce-scatter"):  # fmt: skip
            if match := re.search(rf"= (.*?) {kind}(-start)?\(", line):
                shapes = re.findall(r"\w+\[([\d,]*)\]", match.group(1))
                sizes = [math.prod(int(n) for n in shape.split(",") if n) for shape in shapes]
                found[kind] = found.get(kind, 0) + sum(sizes)
    return found


def assert_only_parameters_cross(case, text: str) -> None:
    """Every dw and db is reduced once, and no activation is gathered or moved.

    The parts that dw of a strided convolution is made of are rounded up: less than twice as much.
    """
    count = sum(math.prod(shape) for k, (shape, _) in case.arrays.items() if k in PARAMETERS)
    moved = collectives(text)
    assert set(moved) <= {"all-reduce"}, moved
    assert count <= moved.get("all-reduce", 0) <= 2 * count, moved


@every_case
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_jit(case, kind):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    arguments = drawn(case)
    placed = place(mesh, *arguments)
    compiled = jax.jit(gradients(case, jaxcnn)).lower(*placed).compile()
    y, found = compiled(*placed)
    assert_as_reference(case, (y, found), arguments)

    assert_only_parameters_cross(case, compiled.as_text() or "")
    for name, x in found.items():
        assert x.sharding.is_equivalent_to(NamedSharding(mesh, spec(name)), x.ndim), name


@every_case
def test_shard_map(case):
    """Under check_vma the cotangent of a weight that all devices share is summed over them."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    free, fixed, _ = arguments = drawn(case)
    specs = {k: spec(k) for k in free}, {k: spec(k) for k in fixed}, P("batch")
    mapped = jax.jit(
        jax.shard_map(
            gradients(case, jaxcnn), mesh=mesh, in_specs=specs, out_specs=(P("batch"), specs[0])
        )
    )
    assert_as_reference(case, mapped(*arguments), arguments)
    text = mapped.lower(*arguments).compile().as_text() or ""
    assert_only_parameters_cross(case, text)


def test_shard_map_over_output_channels():
    """The other way round: shared x, sharded w. Then it is dx that is summed."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    rng = np.random.default_rng(0)
    x, w, g = rng.normal(size=(3, 5)), rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    split = P(None, "batch")

    def function(layers):
        def pulled(x, w, g):
            return jax.vjp(layers.dense, x, w)[1](g)

        return pulled

    mapped = jax.shard_map(
        function(jaxcnn), mesh=mesh, in_specs=(P(), split, split), out_specs=(P(), split)
    )
    for found, expected in zip(mapped(x, w, g), function(reference)(x, w, g), strict=True):
        assert_equal(found, expected, "gradient")


def test_gradient_of_the_mean_loss_inside_shard_map():
    """grad(pmean(loss)) inside shard_map is the gradient of the mean over the whole batch."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(N, 6, 6, 2)), rng.integers(0, 3, N)
    params = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=4), rng.normal(size=(36, 3))

    def losses(params, x, labels, layers):
        w, b, v = params
        y = layers.max_pool(layers.relu(layers.conv(x, w, b)), (2, 2), 2)
        z = layers.dense(y.reshape(len(y), -1), v)
        return layers.softmax_cross_entropy_with_integer_labels(z, labels)

    def step(params, x, labels):
        def loss(params):
            return jax.lax.pmean(losses(params, x, labels, jaxcnn).mean(), "batch")

        return jax.grad(loss)(params)

    mapped = jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P())
    )
    expected = jax.grad(lambda p: losses(p, x, labels, reference).mean())(params)
    jax.tree.map(lambda a, b: assert_equal(a, b, "leaf"), mapped(params, x, labels), expected)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_more_leading_axes_with_the_first_sharded(kind):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(8, 2, 4, 4, 2)), rng.normal(size=(3, 3, 2, 4))

    def loss(layers):
        def of(x, w):
            y = layers.max_pool(layers.conv(x, w), (2, 2), 2)
            return jnp.sum(jnp.sin(y))

        return of

    placed = (
        jax.device_put(x, NamedSharding(mesh, P("batch"))),
        jax.device_put(w, NamedSharding(mesh, P())),
    )
    found = jax.jit(jax.grad(loss(jaxcnn), (0, 1)))(*placed)
    expected = jax.jit(jax.grad(loss(reference), (0, 1)))(x, w)
    jax.tree.map(lambda a, b: assert_equal(a, b, "leaf"), found, expected)


@pytest.mark.parametrize("of", ["conv", "conv, depthwise", "conv_transpose", "dense"])
def test_weights_made_outside_of_the_mesh(of):
    """Not differentiated, and outside of jit: dw is computed all the same, and whole."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Explicit,))
    rng = np.random.default_rng(0)
    layer, *depthwise = of.split(", ")
    options = dict(feature_group_count=4) if depthwise else {}
    x = jnp.asarray(rng.normal(size=(8, 4) if layer == "dense" else (8, 4, 4, 4)))
    w = jnp.asarray(rng.normal(size={4: (3, 3, 1 if depthwise else 4, 4), 2: (4, 4)}[x.ndim]))
    b = jnp.asarray(rng.normal(size=4))

    def loss(layers):
        return lambda x: jnp.sum(jnp.sin(getattr(layers, layer)(x, w, b, **options)))

    expected = jax.grad(loss(reference))(x)
    with jax.set_mesh(mesh):
        found = jax.grad(loss(jaxcnn))(jax.device_put(x, NamedSharding(mesh, P("batch"))))
    assert_equal(found, expected, "dx")


@pytest.mark.parametrize(
    ("layer", "left", "right"),
    [
        ("dense", P("batch"), P(None, "model")),
        ("dense", P(), P(None, "model")),
        *(
            ("softmax_cross_entropy", left, right)
            for left, right in [
                (P("batch"), P()),
                (P(), P("batch", "model")),
                (P("batch", "model"), P(None, "model")),
            ]
        ),
        ("softmax_cross_entropy_with_integer_labels", P(), P("batch")),
        ("softmax_cross_entropy_with_integer_labels", P("batch", "model"), P("batch")),
        ("softmax_cross_entropy_with_integer_labels", P(None, "model"), P()),
    ],
    ids=str,
)
def test_operands_that_lie_differently_on_explicit_axes(layer, left, right):
    """Each cotangent lies as its own operand; classes and outputs may be split as well."""
    mesh = jax.make_mesh((4, 2), ("batch", "model"), axis_types=(AxisType.Explicit,) * 2)
    rng = np.random.default_rng(0)
    second = rng.integers(0, 8, 8) if "integer" in layer else rng.normal(size=(8, 8))
    of = (0,) if "integer" in layer else (0, 1)

    def loss(layers):
        return lambda *operands: jnp.sum(jnp.sin(getattr(layers, layer)(*operands)))

    operands = (rng.normal(size=(8, 8)), second)
    expected = jax.grad(loss(reference), of)(*operands)
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(a, NamedSharding(mesh, s))
            for a, s in zip(operands, (left, right), strict=True)
        ]
        found = jax.jit(jax.grad(loss(jaxcnn), of))(*placed)
    for a, b, operand in zip(found, expected, placed, strict=False):
        assert_equal(a, b, "leaf")
        assert a.sharding.is_equivalent_to(operand.sharding, a.ndim)


@pytest.mark.parametrize("split", [P(None, None, None, "batch"), P(None, "batch")], ids=str)
def test_auto_axes_elsewhere(split):
    """Channels or space over Auto axes: XLA places what it must, the numbers stay."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    case = _case("conv", x=(2, 8, 4, 8), w=(3, 3, 8, 8), b=(8,))
    free, _, g = drawn(case)
    placed = {k: jax.device_put(v, NamedSharding(mesh, split if k == "x" else P()))
              for k, v in free.items()}  # fmt: skip
    found = jax.jit(gradients(case, jaxcnn))(placed, {}, g)
    assert_as_reference(case, found, (free, {}, g))


def test_explicit_channels_by_out_sharding():
    """The out_sharding of conv_general_dilated shards what lax alone could not infer."""
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Explicit,))
    rng = np.random.default_rng(0)
    lhs, rhs = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(8, 3, 3, 3))
    out = NamedSharding(mesh, P(None, "model"))

    def gradient(layers, out):
        def loss(lhs, rhs):
            y = layers.conv_general_dilated(lhs, rhs, (1, 1), "SAME", out_sharding=out)
            return jnp.sum(jnp.sin(y))

        return jax.jit(jax.grad(loss, (0, 1)))

    placed = (
        jax.device_put(lhs, NamedSharding(mesh, P())),
        jax.device_put(rhs, NamedSharding(mesh, P("model"))),
    )
    found = gradient(jaxcnn, out)(*placed)
    expected = gradient(reference, None)(lhs, rhs)
    jax.tree.map(lambda a, b: assert_equal(a, b, "leaf"), found, expected)
