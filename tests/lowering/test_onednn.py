"""The engine inside jaxlib: the same sums, where it fits, and nothing where it does not."""

import math
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxcnn
from jaxcnn import reference
from jaxcnn._window import Window
from jaxcnn.lowering import Correlation, choice, onednn, onednn_dw, using
from jaxcnn.lowering.correlation import Problem, Target
from jaxcnn.lowering.form import Form
from tests.processes import environment

CPU = Target("cpu")
here = pytest.mark.skipif(
    not onednn.available("float32"), reason="no proven oneDNN in this jaxlib, or turned off"
)


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with jax.enable_x64(False):
        yield


def calls(function, *arrays) -> int:
    """How many calls of the engine the function is lowered to, on one device."""
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    arrays = [jax.device_put(a, one) for a in arrays]
    return jax.jit(function).lower(*arrays).as_text().count("__onednn$convolution")


def operands(groups=1, n=4):
    rng = np.random.default_rng(0)
    shapes = (n, 9, 8, 32), (3, 3, 32 // groups, 64), (64,)
    return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


def loss(layers, **options):
    def of(x, w, b):
        return jnp.sum(jnp.sin(layers.conv(x, w, b, **options)))

    return of


OPTIONS = [
    {},
    {"activation": "relu"},
    {"strides": 2, "padding": "VALID"},
    {"kernel_dilation": 2, "activation": "relu", "padding": ((3, -1), (-2, 4))},
    {"feature_group_count": 4, "strides": (1, 2)},
    {"feature_group_count": 32, "activation": "relu"},
]


@here
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_by_the_engine_are_those_of_the_reference(options):
    arrays = operands(options.get("feature_group_count", 1))
    ours = jax.grad(loss(jaxcnn, **options), (0, 1, 2))
    # However little there is to compute.
    with using("onednn"):
        assert calls(ours, *arrays) >= 1
        found = [np.asarray(a) for a in jax.jit(ours)(*arrays)]
    with jax.enable_x64(True):
        wide = [jnp.asarray(a, jnp.float64) for a in arrays]
        expected = jax.grad(loss(reference, **options), (0, 1, 2))(*wide)
    for name, a, exact in zip(("dx", "dw", "db"), found, map(np.asarray, expected), strict=True):
        error = np.abs(a - exact).max() / np.abs(exact).max()
        assert error < 1e-5, (name, error)


# x, w and the options: many examples and few, whose axes oneDNN reads in two orders; several parts;
# groups; one axis and three; a last axis whose dilation keeps the channels apart from its places.
DW = [
    ((5, 7, 8, 3), (3, 2, 3, 4), {"padding": ((1, 0), (2, 1)), "strides": (2, 1)}),
    ((2, 7, 8, 3), (3, 2, 3, 4), {"padding": ((1, 0), (2, 1)), "strides": (1, 2)}),
    ((6, 9, 8, 4), (3, 2, 2, 6), {"feature_group_count": 2, "padding": ((0, 2), (1, 0))}),
    ((5, 9, 8, 3), (2, 3, 3, 4), {"kernel_dilation": (2, 1), "padding": ((2, 1), (-1, 1))}),
    ((5, 9, 9, 3), (2, 3, 3, 4), {"kernel_dilation": (1, 2), "padding": ((1, 0), (2, 3))}),
    ((1, 9, 9, 3), (2, 3, 3, 4), {"kernel_dilation": (1, 2), "strides": (2, 1)}),
    ((5, 7, 9, 3), (3, 1, 3, 4), {"kernel_dilation": (1, 2), "strides": (1, 3)}),
    ((4, 20, 5), (4, 5, 6), {"strides": 3, "padding": ((2, 1),)}),
    ((4, 5, 6, 7, 3), (2, 3, 2, 3, 4), {"strides": (1, 2, 2), "padding": ((1, 0), (0, 1), (1, 1))}),
    ((2, 5, 6, 7, 3), (2, 3, 2, 3, 4), {"kernel_dilation": (2, 1, 1)}),
]


@here
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("large", [onednn_dw.LARGE, 200])
def test_dw_in_every_order(dtype, most, large, monkeypatch):
    if not onednn.available(dtype):
        pytest.skip(f"oneDNN has no {dtype} on this processor")
    monkeypatch.setattr(onednn_dw, "LARGE", large)
    rng = np.random.default_rng(0)

    def dw(layers, options):
        def of(x, w, g):
            return jax.vjp(lambda w: layers.conv(x, w, **options), w)[1](g)[0]

        return of

    wide, narrow, values = [], [], []
    for x_shape, w_shape, options in DW:
        x, w = (jnp.asarray(rng.normal(size=s), dtype) for s in (x_shape, w_shape))
        y = jax.eval_shape(lambda x, w, o=options: reference.conv(x, w, **o), x, w)
        g = jnp.asarray(rng.normal(size=y.shape), dtype)
        values.append((x, w, g))
        wide.append(dw(reference, options))
        narrow.append(dw(jaxcnn, options))
    monkeypatch.setattr(choice, "FORMS_OF_DW", (Form("onednn", onednn.fits, onednn.run),))

    def each(functions):
        return jax.jit(lambda values: [f(*v) for f, v in zip(functions, values, strict=True)])

    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    found = each(narrow)(jax.device_put(values, one))
    with jax.enable_x64(True):
        doubled = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), values)
        expected = each(wide)(doubled)
    for layer, a, exact in zip(DW, found, expected, strict=True):
        exact = np.asarray(exact)
        error = np.abs(np.asarray(a, np.float64) - exact).max() / np.abs(exact).max()
        assert error < most, (layer, error)


@here
@pytest.mark.parametrize(
    ("dtype", "n", "groups", "first"),
    [("float32", 8, 1, True), ("float32", 2, 1, False), ("float32", 8, 4, False),
     ("bfloat16", 8, 1, False)],
)  # fmt: skip
def test_channels_come_first_where_there_are_kernels_for_it(dtype, n, groups, first):
    if not onednn.available(dtype):
        pytest.skip(f"oneDNN has no {dtype} on this processor")
    x, w, _ = (v.astype(dtype) for v in operands(groups, n))

    def dw(w):
        return jnp.sum(jnp.sin(jaxcnn.conv(x, w, feature_group_count=groups)))

    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    text = jax.jit(jax.grad(dw)).lower(jax.device_put(w, one)).as_text()
    assert text.count("__onednn$convolution") == 2
    # MLIR writes a quotation mark as \22.
    assert ('"featureDim": "1"' in text.replace("\\22", '"')) == first


@here
def test_no_operand_is_transposed_for_a_gradient():
    x, w, _ = operands(n=16)
    g = jnp.ones((*x.shape[:-1], w.shape[-1]), jnp.float32)

    def pulled(g, x, w):
        return jax.vjp(jaxcnn.conv, x, w)[1](g)

    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    arrays = [jax.device_put(v, one) for v in (g, x, w)]
    text = jax.jit(pulled).lower(*arrays).compile().as_text() or ""
    assert text.count('"__onednn$convolution"') == 2
    made = re.findall(r"= f32\[([\d,]+)\]\S* (?:transpose|copy|pad)\(", text)
    sizes = [math.prod(map(int, dims.split(","))) for dims in made]
    # What is left is dw itself, whose outputs come first.
    assert max(sizes, default=0) <= w.size
    assert sum(size == w.size for size in sizes) <= 2


@here
def test_second_derivatives_choose_anew():
    def twice(layers):
        def of(x, w, b):
            return jnp.sum(jax.grad(loss(layers, activation="relu"), 1)(x, w, b) ** 2)

        return jax.grad(of)

    arrays = operands()
    assert calls(twice(jaxcnn), *arrays) > calls(jax.grad(loss(jaxcnn), 1), *arrays)
    np.testing.assert_allclose(
        twice(jaxcnn)(*arrays), twice(reference)(*arrays), rtol=1e-3, atol=1e-1
    )


@here
def test_relu_and_bias_are_inside_the_call():
    def forward(x, w, b):
        return jaxcnn.conv(x, w, b, activation="relu")

    text = jax.jit(forward).lower(*operands()).as_text()
    assert "BIAS" in text
    assert "RELU" in text
    assert "stablehlo.maximum" not in text


def test_several_automatic_devices_keep_to_xla():
    mesh = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,))
    x, w, b = operands()
    x = jax.device_put(x, jax.sharding.NamedSharding(mesh, PartitionSpec("i")))
    assert "__onednn" not in jax.jit(jax.grad(loss(jaxcnn))).lower(x, w, b).as_text()


@here
def test_manual_devices_have_the_engine():
    mesh = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("i"), PartitionSpec(), PartitionSpec()

    def both(layers):
        mapped = jax.shard_map(
            lambda x, w, b: jax.lax.psum(loss(layers)(x, w, b), "i"),
            mesh=mesh, in_specs=spec, out_specs=PartitionSpec(),
        )  # fmt: skip
        return jax.jit(jax.grad(mapped, (0, 1)))

    arrays = operands()
    assert "__onednn" in both(jaxcnn).lower(*arrays).as_text()
    for found, expected in zip(both(jaxcnn)(*arrays), both(reference)(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_an_export_holds_no_call():
    exported = jax.export.export(jax.jit(jax.grad(loss(jaxcnn), 1)))(*operands())
    assert "custom_call" not in exported.mlir_module()


@here
@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (0, 0, None), (None, None, 0)])
def test_vmap(axes):
    rng = np.random.default_rng(0)
    arrays = [
        jnp.asarray(rng.normal(size=a.shape if axis is None else (3, *a.shape)), jnp.float32)
        for a, axis in zip(operands(n=2), axes, strict=True)
    ]

    def mapped(layers):
        return jax.jit(jax.vmap(jax.grad(loss(layers, activation="relu"), (0, 1, 2)), axes))

    for found, expected in zip(mapped(jaxcnn)(*arrays), mapped(reference)(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "dtype", "target"),
    [
        ({}, jnp.float64, CPU),
        ({}, jnp.int32, CPU),
        ({}, jnp.complex64, CPU),
        ({"dtype": jnp.dtype("float64")}, jnp.float32, CPU),
        ({"window": Window((1, 1), ((1, 1), (1, 1)), (2, 1), (1, 1))}, jnp.float32, CPU),
        ({"window": Window((1, 1), ((-9, 12), (1, 1)), (1, 1), (1, 1))}, jnp.float32, CPU),
        # Of these the first or last outputs read zeros alone, in the third in the holes of w.
        ({"window": Window((3, 1), ((5, 0), (1, 1)), (1, 1), (1, 1))}, jnp.float32, CPU),
        ({"window": Window((3, 1), ((0, 5), (1, 1)), (1, 1), (1, 1))}, jnp.float32, CPU),
        ({"window": Window((1, 1), ((10, 8), (1, 1)), (1, 1), (9, 1))}, jnp.float32, CPU),
        ({}, jnp.float32, Target("cpu", one_device=False)),
    ],
)
def test_what_would_end_the_process_is_refused(changes, dtype, target):
    c = Correlation(Window((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1))).with_(**changes)
    shapes = (2, 8, 8, 4), (3, 3, 4, 8)
    assert not onednn.takes(Problem(c, *shapes, jnp.dtype(dtype), target))


@here
@pytest.mark.parametrize(("variables", "engine"), [({"JAXCNN_ONEDNN": "0"}, False), ({}, True)])
def test_turned_off_in_a_process(variables, engine):
    code = (
        "import jax, jax.numpy as jnp, jaxcnn; "
        "x, w = jnp.ones((2, 8, 8, 64)), jnp.ones((3, 3, 64, 64)); "
        "print('__onednn' in jax.jit(jaxcnn.conv).lower(x, w).as_text())"
    )
    kept = {k: v for k, v in environment().items() if k != "JAX_COMPILATION_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=kept | variables, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert found.stdout.strip() == str(engine)


@here
def test_a_difference_falls_back_with_one_warning(monkeypatch):
    onednn.available.cache_clear()
    broken = onednn.run
    monkeypatch.setattr(onednn, "run", lambda x, w, c, b=None: broken(x, 2 * w, c, b))
    try:
        with pytest.warns(RuntimeWarning, match="differs from XLA"):
            assert calls(loss(jaxcnn), *operands()) == 0
        assert calls(loss(jaxcnn), *operands()) == 0  # a second warning would be an error
    finally:
        monkeypatch.undo()
        onednn.available.cache_clear()
