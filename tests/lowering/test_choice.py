"""Which form is chosen for which problem and target, and how one is forced."""

import jax
import jax.numpy as jnp
import pytest

import jaxcnn
from jaxcnn._window import Window, pairs
from jaxcnn.lowering import Correlation, choice, onednn, using
from jaxcnn.lowering.correlation import Problem, Target

CPU = Target("cpu")


def problems(x, k, o, *, strides=1, dilation=1, groups=1, target=CPU, dtype=jnp.float32):
    """The sums of y, dx and dw of a SAME convolution."""
    axes, n = len(k), x[1:-1]
    s, d = (strides,) * axes, (dilation,) * axes
    c = Correlation(Window(s, pairs("SAME", n, k, s, d), (1,) * axes, d), groups=groups)
    w, w_flipped = (*k, x[-1] // groups, o), (*k, o // groups, x[-1])
    g = (x[0], *c.window.output_shape(n, k), o)
    operands = (c, x, w), (c.of_dx(n, k), g, w_flipped), (c.of_dw(n, k), x, g)
    return [Problem(*both, jnp.dtype(dtype), target) for both in operands]


WIDE = ((128, 28, 28, 32), (3, 3), 32)
CASES = [
    (WIDE, {}, ["all_cores", "all_cores", "rows"], ["onednn", "onednn", "onednn"]),
    (((128, 28, 28, 4), (5, 5), 4), {}, ["tiled", "tiled", "quarters"], ["neighbours"] * 3),
    (((32, 28, 28, 64), (3, 3), 64), {"groups": 64}, ["shifted"] * 3,
     ["onednn", "onednn", "shifted"]),
    (((32, 28, 28, 64), (3, 3), 64), {"groups": 4}, ["split", "split", "rows"], ["onednn"] * 3),
    (((64, 14, 14, 64), (3, 3), 128), {"groups": 2}, ["split", "split", "rows"],
     ["onednn", "onednn", "split"]),
    (((32, 28, 28, 64), (3, 3), 64), {"strides": 2}, ["plain", "phased", "rows"],
     ["onednn", "phased", "onednn"]),
    (((32, 28, 28, 64), (2, 2), 96), {"strides": 2}, ["plain", "subpixel", "product"],
     ["onednn", "subpixel", "onednn"]),
    (((32, 28, 28, 64), (1, 1), 64), {}, ["all_cores", "all_cores", "product"],
     ["onednn", "onednn", "product"]),
    (((8, 28, 28, 16), (3, 3), 256), {"strides": 2}, ["plain", "plain", "plain"],
     ["onednn", "plain", "onednn"]),
    (((8, 16, 16, 16, 16), (3, 3, 3), 16), {}, ["plain", "plain", "rows"], ["onednn"] * 3),
    (((8, 16, 16, 16, 16), (3, 3, 3), 16), {"dilation": 2}, ["plain", "plain", "rows"],
     ["onednn", "onednn", "planes"]),
    (((128, 14, 14, 8), (3, 3), 16), {}, ["plain", "tiled", "quarters"],
     ["onednn", "neighbours", "onednn"]),
    (((64, 28, 28, 16), (3, 3), 4), {}, ["taps", "plain", "quarters"],
     ["taps", "onednn", "exchanged"]),
    (((1, 28, 28, 4), (5, 5), 4), {}, ["tiled", "tiled", "plain"],
     ["neighbours", "neighbours", "onednn"]),
    (((128, 24, 24, 8), (5, 5), 8), {}, ["tiled", "tiled", "quarters"], ["neighbours"] * 3),
    (((128, 24, 24, 8), (5, 5), 8), {"dtype": jnp.bfloat16}, ["plain", "plain", "plain"],
     ["neighbours", "neighbours", "onednn"]),
    (((64, 28, 28, 8), (3, 3), 2), {}, ["taps", "shifted", "quarters"],
     ["taps", "shifted", "exchanged"]),
    (((64, 28, 28, 16), (5, 5), 8), {"strides": 2}, ["plain", "subpixel", "quarters"],
     ["neighbours", "subpixel", "neighbours"]),
    (((64, 27, 27, 8), (3, 3), 8), {}, ["tiled", "tiled", "quarters"], ["onednn"] * 3),
    (((1, 28, 28, 512), (5, 5), 512), {"groups": 128}, ["plain", "plain", "pairs"],
     ["onednn", "onednn", "planes"]),
    (((32, 28, 28, 60), (3, 3), 60), {"groups": 20}, ["split", "split", "pairs"], None),
    (((128, 28, 28, 1), (3, 3), 32), {}, ["shifted", "taps", "patches"], None),
    (((128, 28, 28, 1), (4, 4), 32), {}, ["plain", "taps", "patches"],
     ["onednn", "taps", "patches"]),
    (((32, 28, 28, 2), (2, 2), 64), {"strides": 2}, ["shifted", "subpixel", "patches"], None),
    (((128, 28, 28, 1), (5, 5), 4), {}, ["shifted", "taps", "quarters"],
     ["shifted", "taps", "neighbours"]),
    (((16, 32, 32, 3), (3, 3), 64), {}, ["plain", "taps", "rows"], ["onednn", "taps", "onednn"]),
    (((8, 16, 16, 16, 1), (3, 3, 3), 8), {}, ["shifted", "taps", "plain"],
     ["shifted", "taps", "neighbours"]),
    (((32, 28, 28, 2), (3, 3), 2), {}, ["shifted", "shifted", "plain"],
     ["shifted", "shifted", "neighbours"]),
    (((128, 28, 28, 3), (3, 3), 8), {}, ["shifted", "tiled", "quarters"],
     ["shifted", "neighbours", "neighbours"]),
    (((64, 28, 28, 1), (3, 3), 8), {"strides": 2}, ["shifted", "subpixel", "quarters"],
     ["shifted", "subpixel", "neighbours"]),
    (((128, 256, 1), (5,), 16), {}, ["shifted", "taps", "patches"], None),
    (((128, 28, 28, 32), (3, 3), 1), {}, ["taps", "shifted", "exchanged"], None),
    (((128, 28, 28, 32), (5, 5), 1), {}, ["taps", "plain", "exchanged"],
     ["taps", "onednn", "exchanged"]),
    (((1, 28, 28, 4), (3, 3), 256), {}, ["patches", "taps", "patches"], None),
    (((1, 28, 28, 4), (5, 5), 256), {}, ["plain", "taps", "plain"], ["onednn", "taps", "plain"]),
    (((1, 14, 14, 32), (3, 3), 4096), {}, ["patches", "all_cores", "patches"],
     ["patches", "onednn", "patches"]),
    # Little work.
    (((1, 14, 14, 16), (3, 3), 32), {}, ["plain"] * 3, None),
    (((1, 14, 14, 8), (3, 3), 8), {}, ["plain", "plain", "patches"], None),
    (((1, 28, 28, 8), (1, 1), 8), {}, ["plain", "plain", "product"], None),
    (((128, 28, 28, 8), (1, 1), 8), {}, ["shifted", "shifted", "product"], None),
    (((1, 28, 28, 1), (3, 3), 32), {}, ["shifted", "taps", "patches"], None),
    (((1, 28, 28, 1), (5, 5), 32), {}, ["plain", "taps", "patches"], None),
    (((1, 14, 14, 1), (3, 3), 2048), {}, ["patches", "taps", "patches"], None),
    (((1, 28, 28, 3), (3, 3), 16), {}, ["patches", "taps", "patches"], None),
    (((1, 28, 28, 32), (3, 3), 32), {}, ["plain"] * 3, ["plain", "plain", "onednn"]),
    (((8, 64, 32), (3,), 32), {}, ["plain", "plain", "patches"], None),
    (((1, 7, 7, 128), (3, 3), 128), {}, ["plain", "plain", "plain"], ["onednn"] * 3),
    (((2, 28, 28, 32), (3, 3), 32), {}, ["all_cores", "all_cores", "plain"], ["onednn"] * 3),
    (((1, 28, 28, 32), (3, 3), 32), {"strides": 2}, ["plain"] * 3, None),
    (((1, 32, 32, 32), (3, 3), 32), {"strides": 2}, ["plain"] * 3,
     ["plain", "plain", "onednn"]),
    (((1, 28, 28, 16), (3, 3), 16), {"strides": 2}, ["plain"] * 3,
     ["plain", "plain", "onednn"]),
    (((1, 28, 28, 32), (1, 1), 32), {"dtype": jnp.bfloat16}, ["plain"] * 3, ["onednn"] * 3),
    (((8, 14, 14, 8), (3, 3), 128), {}, ["plain", "taps", "plain"],
     ["onednn", "taps", "onednn"]),
    (((8, 56, 56, 96), (7, 7), 96), {"strides": 2, "groups": 96}, ["shifted", "spread", "shifted"],
     ["onednn", "spread", "shifted"]),
    (((16, 128, 32), (4,), 32), {"strides": 2}, ["plain", "subpixel", "plain"],
     ["plain", "subpixel", "onednn"]),
    (((16, 512, 64), (4,), 64), {"groups": 64}, ["shifted"] * 3,
     ["onednn", "onednn", "shifted"]),
    (WIDE, {"dtype": jnp.float64}, ["plain"] * 3, None),
    (WIDE, {"target": Target("cpu", one_device=False)}, ["all_cores", "all_cores", "plain"], None),
    (WIDE, {"target": Target("cpu", export=True)}, ["plain"] * 3, None),
    (WIDE, {"target": Target(None)}, ["plain"] * 3, None),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "options", "without", "engine"), CASES)
def test_the_first_form_that_fits(layer, options, without, engine, monkeypatch):
    for available, expected in ((False, without), (True, engine or without)):
        monkeypatch.setattr(onednn, "available", lambda dtype, there=available: there)
        monkeypatch.setattr(onednn, "wanted", lambda: True)
        monkeypatch.setattr(onednn, "lanes", lambda: 16)
        assert [choice.choose(p).name for p in problems(*layer, **options)] == expected


def test_every_table_ends_with_what_fits_everything():
    for table in (choice.FORMS_OF_Y, choice.FORMS_OF_DW):
        assert table[-1].name == "plain"
        assert all(table[-1].fits(p) for p in problems(*WIDE))


def test_a_form_of_dw_alone_leaves_y_free():
    x, w = jnp.ones((2, 6, 6, 2), jnp.float32), jnp.ones((3, 3, 2, 3), jnp.float32)

    def forms(form):
        with using(form):
            jaxpr = jax.make_jaxpr(jax.grad(lambda w: jaxcnn.conv(x, w).sum()))(w)
        found = [e.params["c"] for e in jaxpr.eqns if e.primitive.name == "correlation"]
        return {choice.choose(Problem(c, *_shapes(c), x.dtype, Target(None))).name for c in found}

    def _shapes(c):
        return (x.shape, (2, 6, 6, 3)) if c.over_batch else (x.shape, w.shape)

    assert forms("exchanged") == {"plain", "exchanged"}
    assert forms("tiled") == {"plain", "tiled"}


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="expected one of taps"), using("fastest"):
        pass


def test_where_programs_are_kept_the_engine_is_not_used(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXCNN_ONEDNN", raising=False)
    assert onednn.wanted()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        assert not onednn.wanted()
        for asked in ("0", "1"):
            monkeypatch.setenv("JAXCNN_ONEDNN", asked)
            assert onednn.wanted() == (asked == "1")
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


def test_sixteen_bits_without_the_engine_are_computed_in_float32(monkeypatch):
    monkeypatch.setattr(onednn, "available", lambda dtype: False)
    x, w = jnp.ones((64, 14, 14, 4), jnp.bfloat16), jnp.ones((5, 5, 4, 4), jnp.bfloat16)

    def convolutions(dtype):
        f = jax.jit(lambda x, w: jaxcnn.conv(x, w)).lower(x.astype(dtype), w.astype(dtype))
        return [line for line in f.as_text().splitlines() if "stablehlo.convolution" in line]

    (narrow,), (wide,) = convolutions(jnp.bfloat16), convolutions(jnp.float32)
    assert "bf16" not in narrow
    # The same form, which float32 gets.
    assert narrow.split("->")[-1] == wide.split("->")[-1]
    assert jaxcnn.conv(x, w).dtype == jnp.bfloat16
    exported = jax.export.export(jax.jit(lambda x, w: jaxcnn.conv(x, w)), platforms=["cpu"])(x, w)
    assert "bf16" in exported.mlir_module().split("stablehlo.convolution")[1].split("\n")[0]
