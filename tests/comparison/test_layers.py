import functools
import inspect

import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import compare
from tests.proof.cases import CASES, SAMPLES


def compared(case, dtype, layers=jaxcnn, **options):
    """A case of the table, as somebody would write it."""
    arrays = {
        k: jnp.asarray(v, dtype if v.dtype == np.float64 else None)
        for k, v in case.inputs().items()
    }
    layer = getattr(layers, case.layer)
    positional = list(inspect.signature(getattr(jaxcnn, case.layer)).parameters)
    args = [arrays.pop(name) for name in positional if name in arrays and name != "where"]
    return compare(functools.partial(layer, **arrays, **case.options), *args, **options)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("case", SAMPLES, ids=str)
def test_no_false_alarm_in_narrow_dtypes(case, dtype):
    result = compared(case, dtype, numerical=dtype == jnp.bfloat16, samples=2, kinks="fail")
    assert result.ok, result
    assert result.against.startswith("jaxcnn.reference.")
    for leaf in result.leaves:
        assert leaf.dtype == leaf.gradient_dtype == dtype.__name__


@pytest.mark.parametrize("case", [*SAMPLES, *CASES[5::24]], ids=str)
def test_no_false_alarm_in_float64(case):
    result = compared(case, jnp.float64, samples=4, kinks="fail")
    assert result.ok, result
