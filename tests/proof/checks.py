"""What every case of the table is held to: one jitted program a case, and the checks over it.

The program computes the layer and its reference, all gradients of both by one random cotangent g,
and the reference's forward derivative along random tangents v. A cotangent of ones would hide a
flipped kernel, and a sum over errors one wrong element.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from tests.proof import oracles, torch_oracle
from tests.proof.cases import Case

FLOATS = (jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16)


@dataclass(frozen=True)
class Evidence:
    """What the layer and its reference gave for one case."""

    case: Case
    layers: types.ModuleType | types.SimpleNamespace
    inputs: dict[str, np.ndarray]
    g: np.ndarray
    v: dict[str, np.ndarray]
    y: np.ndarray
    gradients: dict[str, np.ndarray]
    reference_y: np.ndarray
    reference_gradients: dict[str, np.ndarray]
    jv: np.ndarray  # J v, by forward mode through the reference
    again: Callable[[dict[str, np.ndarray]], np.ndarray]  # the layer's output at other inputs


def run(case: Case, layers: Any = jaxcnn, automatic: Any = reference) -> Evidence:
    """Run the case once; `automatic` are the layers whose gradients autodiff derives."""
    inputs = case.inputs()
    rng = np.random.default_rng(len(str(case)))
    fixed = {k: v for k, v in inputs.items() if k not in case.differentiable}
    free = {k: v for k, v in inputs.items() if k in case.differentiable}
    g = rng.normal(size=jax.eval_shape(lambda: case.call(reference, inputs)).shape)
    v = {k: rng.normal(size=x.shape) for k, x in free.items()}

    @jax.jit
    def program(free, g, v):
        def by(module):
            y, pull = jax.vjp(lambda free: case.call(module, free | fixed), free)
            return y, *pull(g)

        _, jv = jax.jvp(lambda free: case.call(reference, free | fixed), (free,), (v,))
        return *by(layers), *by(automatic), jv

    found = jax.tree.map(np.asarray, program(free, g, v))
    return Evidence(
        case, layers, inputs, g, v, *found, again=lambda other: np.asarray(program(other, g, v)[0])
    )  # fmt: skip


def assert_equal(got, expected, what: str, rtol: float = 1e-10, floor: float = 1e-12) -> None:
    """Every element within rtol of its own size, or within `floor` of the largest."""
    expected = np.asarray(expected)
    largest = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    np.testing.assert_allclose(
        got, expected, rtol=rtol, atol=floor * max(largest, 1e-3), err_msg=what
    )


def equals_autodiff(e: Evidence) -> None:
    """The output and every gradient are those of the reference."""
    assert_equal(e.y, e.reference_y, "output")
    for name, expected in e.reference_gradients.items():
        assert_equal(e.gradients[name], expected, f"d{name}")


def equals_loops(e: Evidence) -> None:
    """The output and every gradient are those of the loops in NumPy."""
    y, gradients = getattr(oracles, e.case.layer)(e.g, **e.inputs, **e.case.options)
    assert_equal(e.y, y, "output")
    assert set(gradients) == set(e.gradients)
    for name, expected in gradients.items():
        assert_equal(e.gradients[name], expected, f"d{name}")


def equals_central_differences(e: Evidence) -> None:
    """Each element of each gradient is the slope of <g, y> along it, where there is a slope."""
    if not e.case.smooth:
        return
    h = 1e-4
    rng = np.random.default_rng(0)
    for name in e.case.differentiable:
        x = e.inputs[name]
        elements = np.arange(x.size)
        if x.size > 300:  # the few shapes of a whole network
            elements = rng.choice(elements, 60, replace=False)
        slopes, straight = [], []
        for i in elements:
            step = np.zeros(x.size)
            step[i] = h
            step = step.reshape(x.shape)
            free = {k: e.inputs[k] for k in e.case.differentiable}
            up, down = e.again(free | {name: x + step}), e.again(free | {name: x - step})
            slopes.append(np.sum(e.g * (up - down)) / (2 * h))
            # A relu that opens or closes within the step has two slopes.
            bent = up - 2 * e.y + down
            straight.append(
                "activation" not in e.case.options or np.abs(bent).max(initial=0) < 1e-3 * h
            )
        slopes, elements = np.array(slopes)[straight], elements[np.array(straight, bool)]
        found = e.gradients[name].ravel()[elements]
        assert_equal(found, slopes, f"d{name}", rtol=1e-6, floor=1e-7)


def is_adjoint(e: Evidence) -> None:
    """<J v, g> = <v, J^T g>, where there is a J: at a tie lax's two modes part ways."""
    if not e.case.smooth:
        return
    forward = np.sum(e.jv * e.g)
    backward = sum(np.sum(e.v[name] * e.gradients[name]) for name in e.v)
    scale = sum(np.sum(np.abs(e.v[name] * e.gradients[name])) for name in e.v)
    assert abs(forward - backward) <= 1e-11 * (scale + abs(forward)), (forward, backward)


def conserves_mass(e: Evidence) -> None:
    """A pool hands back all of g: the gradient sums to what came in, in every example and channel.

    Not so where the policy is to give each winner all of it, or where padding takes its share.
    """
    options = e.case.options
    if e.case.layer == "max_pool":
        conserving = options.get("ties", "first") != "all"
    elif e.case.layer == "avg_pool":
        conserving = options["padding"] == "VALID" if "padding" in options else True
        conserving |= not options.get("count_include_pad", True)
    else:
        return
    if conserving:
        spatial = tuple(range(-1 - len(options["window_shape"]), -1))
        assert_equal(e.gradients["x"].sum(spatial), e.g.sum(spatial), "gradient mass")


def equals_pytorch(e: Evidence) -> None:
    """The output and every gradient are those of PyTorch, where it has the case."""
    if not torch_oracle.AVAILABLE:
        return
    found = torch_oracle.value_and_gradients(e.case, e.inputs, e.g)
    if found is None:
        return
    y, gradients = found
    assert_equal(e.y, y, "output")
    for name, expected in gradients.items():
        assert_equal(e.gradients[name], expected, f"d{name}")


def cotangents_match_primals(e: Evidence) -> None:
    """In every float dtype each gradient has the shape and dtype of its primal."""
    for dtype in FLOATS:
        cast = {
            k: jnp.asarray(x, dtype) if k in e.case.differentiable else x
            for k, x in e.inputs.items()
        }
        fixed = {k: x for k, x in cast.items() if k not in e.case.differentiable}
        free = {k: x for k, x in cast.items() if k in e.case.differentiable}

        def pullback(free, fixed=fixed):
            y, pull = jax.vjp(lambda free: e.case.call(e.layers, free | fixed), free)
            return y, pull(jnp.ones_like(y))[0]

        y, gradients = jax.eval_shape(pullback, free)
        wide = dtype if dtype == jnp.float64 else jnp.float32
        loss = e.case.layer.startswith("softmax_cross_entropy")
        assert y.dtype == (wide if loss else dtype), y.dtype
        for name, x in free.items():
            found, expected = gradients[name], (x.shape, x.dtype)
            assert (found.shape, found.dtype) == expected, (name, found, expected)


CHECKS: dict[str, Callable[[Evidence], None]] = {
    "autodiff": equals_autodiff,
    "NumPy loops": equals_loops,
    "central differences": equals_central_differences,
    "adjoint identity": is_adjoint,
    "gradient mass": conserves_mass,
    "PyTorch": equals_pytorch,
    "shapes and dtypes": cotangents_match_primals,
}


def failures(evidence: Evidence) -> dict[str, str]:
    """The checks that the evidence does not pass, each with what it said."""
    found = {}
    for name, check in CHECKS.items():
        try:
            check(evidence)
        except AssertionError as error:
            found[name] = str(error).strip()
    return found


def require_peer(package: str):
    """The package, or a skip; with JAXCNN_REQUIRE_PEERS=1, as in CI, a failure."""
    import importlib
    import os

    try:
        return importlib.import_module(package)
    except ImportError:
        if os.environ.get("JAXCNN_REQUIRE_PEERS") == "1":
            pytest.fail(f"{package} is not installed: pip install -e '.[peers]'")
        pytest.skip(f"{package} is not installed")
