"""What the rules become: lowered for every platform, and without select-and-scatter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof.cases import CASES, SAMPLES

every_sample = pytest.mark.parametrize("case", SAMPLES, ids=str)


def gradients(case, layers=jaxcnn):
    """The function arrays, g -> all gradients, and float32 arguments for it."""
    inputs = {
        k: v.astype(np.float32) if k in case.differentiable else v.astype(v.dtype)
        for k, v in case.inputs().items()
    }
    g = jnp.ones_like(jax.eval_shape(lambda: case.call(layers, inputs)))

    def function(inputs, g):
        fixed = {k: v for k, v in inputs.items() if k not in case.differentiable}
        free = {k: v for k, v in inputs.items() if k in case.differentiable}
        return jax.vjp(lambda free: case.call(layers, free | fixed), free)[1](g)[0]

    return function, (inputs, g)


@every_sample
def test_gradient_lowers_for_cpu_cuda_and_tpu(case):
    """On a machine with a CPU alone; the loops of select-and-scatter appear nowhere."""
    function, arguments = gradients(case)
    exported = jax.export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(*arguments)
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
    assert "stablehlo.select_and_scatter" not in exported.mlir_module()


@pytest.mark.parametrize("case", [c for c in CASES if c.layer.endswith("pool")][::3], ids=str)
def test_no_pool_needs_select_and_scatter(case):
    """As lowered, for every platform: nothing serial on CPU, nothing undetermined on GPU."""
    function, arguments = gradients(case)
    exported = jax.export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(*arguments)
    assert "stablehlo.select_and_scatter" not in exported.mlir_module()


def test_the_reference_does_need_it():
    """The word searched for is the one that XLA uses."""
    function, arguments = gradients(next(c for c in SAMPLES if c.layer == "max_pool"), reference)
    assert "stablehlo.select_and_scatter" in jax.jit(function).lower(*arguments).as_text()
