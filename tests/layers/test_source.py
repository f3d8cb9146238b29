"""No rule leans on autodiff: it would make every comparison with autodiff true by construction."""

import ast
import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import activation, convolution, drop_in, linear, loss, pooling, reference
from tests.imports import package_files, resolved
from tests.proof.cases import CASES, LAYERS, SAMPLES

PACKAGE = pathlib.Path(inspect.getfile(jaxcnn)).parent
FORBIDDEN = {
    "vjp", "jvp", "grad", "value_and_grad", "linearize", "linear_transpose", "jacobian", "jacrev",
    "jacfwd", "hessian", "custom_jvp", "custom_gradient", "fwd_and_bwd", "reference",
}  # fmt: skip
every_sample = pytest.mark.parametrize("case", SAMPLES, ids=str)


class Module:
    """One file of the package: its functions and classes, what it imports, and its rules."""

    def __init__(self, name: str, text: str, package: str):
        self.name = name
        tree = ast.parse(text)
        self.definitions: dict[str, ast.AST] = {}
        self.imports: dict[str, tuple[str, str]] = {}  # local name -> (module or package, its name)
        self.rules: list[tuple[str, str]] = []
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.definitions[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.definitions[node.target.id] = node
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                source = resolved(node, package)
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (source, alias.name)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "defvjp":
                forward, backward = (ast.unparse(arg) for arg in node.args[:2])
                self.rules.append((forward, backward))


def modules() -> dict[str, Module]:
    """Every file of the package, in its folders too, by its dotted name."""
    return {
        name: Module(name, path.read_text(), package)
        for name, package, path in package_files(PACKAGE)
    }


MODULES = modules()


def reached(module: str, name: str | None, seen: set) -> set[str]:
    """Every name and attribute read by a function, and by whatever of the package it names."""
    if (module, name) in seen:
        return set()
    seen.add((module, name))
    if name is not None and f"{module}.{name}" in MODULES:  # `from . import forms`
        module, name = f"{module}.{name}", None
    if module not in MODULES:
        return set()
    here = MODULES[module]
    if name is None:  # a whole module was named: all of it
        return set().union(*(reached(module, other, seen) for other in here.definitions))
    if name not in here.definitions:
        return reached(*here.imports[name], seen) if name in here.imports else set()
    words = set()
    for node in ast.walk(here.definitions[name]):
        if isinstance(node, ast.Name):
            words |= {node.id} | reached(module, node.id, seen)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
    return words


# The gradient checker plants wrong rules, to know them again: those are no layer's.
RULES = [
    (m.name, *rule)
    for m in MODULES.values()
    for rule in m.rules
    if not m.name.startswith("jaxcnn.comparison.")
]


@pytest.mark.parametrize(("module", "forward", "backward"), RULES)
def test_no_rule_calls_autodiff(module, forward, backward):
    for name in (forward, backward):
        assert name in MODULES[module].definitions, f"{name} is not a function of {module}"
        assert not reached(module, name, set()) & FORBIDDEN


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("jaxcnn.lowering.")])
def test_no_form_calls_autodiff(module):
    """A primitive meets its forms where it is lowered: no call leads there from a rule."""
    assert not reached(module, None, set()) & FORBIDDEN


PLANTED = """
import jax
from .._cotangent import cotangent

def _slope(f, x): return jax.linear_transpose(f, x)
def _bwd(x, g): return cotangent(_slope(abs, x)(g), x)
"""


def test_the_reader_sees_through_calls(monkeypatch):
    """The search follows calls, into other files too, and finds what is planted."""
    assert RULES
    words = reached("jaxcnn.convolution", "_convolve_bwd", set())
    assert {"conv_general_dilated", "psum"} <= words
    planted = Module("jaxcnn.lowering.planted", PLANTED, "jaxcnn.lowering")
    monkeypatch.setitem(MODULES, planted.name, planted)
    words = reached(planted.name, "_bwd", set())
    assert words & FORBIDDEN == {"linear_transpose"}
    assert "psum" in words


@every_sample
def test_no_autodiff_while_a_rule_runs(case, monkeypatch):
    """The same at run time: the backward pass is traced with JAX's autodiff taken away."""
    inputs = {k: jnp.asarray(v) for k, v in case.inputs().items()}
    free = {k: v for k, v in inputs.items() if k in case.differentiable}
    y, pull = jax.vjp(lambda free: case.call(jaxcnn, inputs | free), free)
    g = jnp.ones_like(y)

    def refuse(*_, **__):
        raise AssertionError("a rule called JAX's autodiff")

    for name in FORBIDDEN - {"reference"}:
        if hasattr(jax, name):
            monkeypatch.setattr(jax, name, refuse)
    assert set(pull(g)[0]) == set(free)


def test_each_layer_carries_its_own_rule():
    """Public layers of one topic may share a rule; none borrows one of JAX, none is without."""
    owners = {}
    for layer in LAYERS:
        case = next(c for c in SAMPLES if c.layer == layer)
        rules = rules_in(jax.make_jaxpr(lambda a, case=case: case.call(jaxcnn, a))(case.inputs()))
        assert len(rules) == 1, f"{layer}: {rules}"
        owners[layer] = rules[0]
    modules = (activation, convolution, linear, loss, pooling)
    own = {
        f.__name__: m.__name__
        for m in modules
        for f in vars(m).values()
        if isinstance(f, jax.custom_vjp)
    }
    for layer, rule in owners.items():
        module = getattr(jaxcnn, layer).__module__
        # The drop-in is a convolution in another order.
        home = convolution.__name__ if module == drop_in.__name__ else module
        assert own[rule] == home, (layer, rule)


def rules_in(jaxpr) -> list[str]:
    """The names of the functions with a rule in a jaxpr, and of borrowed rules."""
    found = []
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name.startswith("custom_vjp_call"):
            found.append(equation.params["call_jaxpr"].jaxpr.debug_info.func_name)
        elif name.startswith("custom_jvp_call"):
            found.append("custom_jvp")
        else:
            for inner in equation.params.values():
                found += rules_in(inner.jaxpr) if hasattr(inner, "jaxpr") else []
    return found


# What may stand outside the rule: moving elements about, and masking them.
MOVING = {
    "reshape", "transpose", "squeeze", "rev", "broadcast_in_dim", "select_n",
    "convert_element_type", "copy", "copy_p",
}  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_but_the_rule_computes(layer):
    """Outside the rule no arithmetic on floats is left to autodiff, whatever the options."""
    for case in (c for c in CASES if c.layer == layer):
        jaxpr = jax.make_jaxpr(lambda a, case=case: case.call(jaxcnn, a))(case.inputs())
        for equation in flat(jaxpr.jaxpr):
            if any(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in equation.outvars):
                name = equation.primitive.name
                assert name in MOVING or name.startswith("custom_vjp_call"), (str(case), name)


def flat(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("jit", "pjit"):
            yield from flat(equation.params["jaxpr"].jaxpr)
        else:
            yield equation


def test_reference_imports_no_layer():
    own = [m for m in MODULES.values() if f"{m.name}.".startswith("jaxcnn.reference.")]
    sources = {source for m in own for source, _ in m.imports.values()}
    assert "jaxcnn.reference.windows" in sources
    assert not [s for s in sources if s.startswith("jaxcnn") and "reference" not in s]
    assert not [f for f in vars(reference).values() if isinstance(f, jax.custom_vjp)]


def test_reference_has_the_same_signatures():
    for layer in LAYERS:
        own = inspect.signature(getattr(jaxcnn, layer)).parameters
        twin = inspect.signature(getattr(reference, layer)).parameters
        assert [(p.name, p.kind, p.default) for p in own.values()] == [
            (p.name, p.kind, p.default) for p in twin.values()
        ], layer


def test_conv_general_dilated_has_the_signature_of_lax():
    own = inspect.signature(jaxcnn.conv_general_dilated).parameters
    lax = inspect.signature(jax.lax.conv_general_dilated).parameters
    assert [(p.name, p.kind, p.default) for p in own.values()] == [
        (p.name, p.kind, p.default) for p in lax.values()
    ]
    assert np.all([p.kind == p.POSITIONAL_OR_KEYWORD for p in own.values()])
