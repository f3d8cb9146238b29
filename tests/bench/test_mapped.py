"""Rows under `jax.vmap`: the operands that are mapped, and gradients that the batch's own tell."""

import jax
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn.bench import steps
from jaxcnn.bench.cases import Case
from jaxcnn.bench.layers import layer_programs
from jaxcnn.bench.program import difference


@pytest.mark.parametrize("mapped", ["x", "w", "both"])
def test_a_mapped_layer_is_that_layer_copy_by_copy(mapped):
    case = Case("conv", (2, 5, 4, 3), (3, 2), 4, strides=2, mapped=mapped, copies=3)
    assert case.name == f"vmap/{mapped}/conv/3x2/s2/3-4/3-of-2x5x4"
    x, w, b = case.operands()
    shapes = ((2, 5, 4, 3), (3, 2, 3, 4), (4,))
    copied = [(3, *s) if mapped in ("both", n) else s for n, s in zip("xww", shapes, strict=True)]
    assert [x.shape, w.shape, b.shape] == copied
    one = Case("conv", (2, 5, 4, 3), (3, 2), 4, strides=2)
    y = case.function(jaxcnn)(x, w, b)
    for i in range(3):
        operands = [a if a.shape == s else a[i] for a, s in zip((x, w, b), shapes, strict=True)]
        np.testing.assert_allclose(y[i], one.function(reference)(*operands), rtol=1e-5, atol=1e-5)
    assert one.flops is not None
    assert case.flops == 3 * one.flops
    automatic = layer_programs(case, reference)
    for what, program in layer_programs(case, jaxcnn).items():
        assert difference(program.outputs(), automatic[what].outputs()) < 1e-5, what


def test_the_mean_of_every_examples_gradient_is_the_gradient_of_the_mean(monkeypatch):
    images = steps.batch(3, "post")
    monkeypatch.setattr(steps, "batch", lambda **_: images)
    each = steps.mapped("per_example", "post", jaxcnn).outputs()
    mean = steps.mapped("vmap", "post", jaxcnn).outputs()
    assert {a.shape[0] for a in each} == {3}
    assert difference([a.mean(0) for a in each], mean) < 1e-4
    automatic = steps.mapped("vmap", "post", reference).outputs()
    assert difference(mean, automatic) < 1e-4
    assert len(jax.tree.leaves(each)) == len(automatic)
