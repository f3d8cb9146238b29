"""How notebook 1 judges a rule: against differences, autodiff and the package; in one line.

A rule is a NumPy function rule(*inputs, g) that returns a gradient for each input.
"""

import html
import inspect
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import jax
import numpy as np
from IPython.display import HTML, display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import jaxcnn
from jaxcnn import reference

_rng = np.random.default_rng(0)


class Verdict:
    """One line, green or red."""

    def __init__(self, ok: bool, words: str):
        self.ok, self.words = ok, ("✓ " if ok else "✗ ") + words

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.ok else "#b42318"
        return f'<div style="color:{colour};font-weight:600">{html.escape(self.words)}</div>'


def differences(forward, inputs, g):
    """The gradients of J = sum of g * forward(*inputs) by nudging every element, up and down."""
    gradients = [np.zeros_like(x) for x in inputs]
    for number, dx in enumerate(gradients):
        for at in np.ndindex(dx.shape):
            up, down = ([x.copy() for x in inputs] for _ in range(2))
            up[number][at] += 1e-6
            down[number][at] -= 1e-6
            dx[at] = np.sum(g * (forward(*up) - forward(*down))) / 2e-6
    return gradients


def check(forward: Callable, rule: Callable, *inputs: Any, layer: str = "", **options: Any):
    """A rule compared with differences and, where a layer is named, with its rule and autodiff."""
    g = _rng.normal(size=np.shape(forward(*inputs)))
    found = rule(*inputs, g)
    error = _largest_error(found, differences(forward, inputs, g))
    against = "by differences"
    if layer:
        error = max(error, agree(found, layer, inputs, g, **options))
        against += " = by jaxcnn = by autodiff"
    assert error < 1e-7, error
    return Verdict(True, f"{rule.__name__}: by hand = {against}, to {error:.0e}")


def agree(found: Sequence, layer: str, inputs: Sequence, g: Any, **options: Any) -> float:
    """How far gradients are from a layer's, by its rule and by autodiff; asserts: not far."""
    errors = []
    for layers in (jaxcnn, reference):
        _, pullback = jax.vjp(partial(getattr(layers, layer), **options), *inputs)
        errors.append(_largest_error(found, pullback(g)))
    assert max(errors) < 1e-7, errors
    return max(errors)


def _largest_error(found: Sequence, expected: Sequence) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


def with_rule(forward: Callable, rule: Callable) -> Callable:
    """A JAX layer whose backward pass is rule(*inputs, g)."""

    @wraps(forward)  # for the names of its arguments
    def named(*inputs):
        return forward(*inputs)

    named.__name__ = rule.__name__
    layer = jax.custom_vjp(named)
    layer.defvjp(lambda *x: (forward(*x), x), lambda x, g: tuple(rule(*x, g)))
    return layer


def judge(forward: Callable, rule: Callable, *inputs: Any) -> Verdict:
    """What `jaxcnn.compare` finds of a rule for a JAX function, and what it looks like."""
    return _words(jaxcnn.compare(with_rule(forward, rule), *inputs))


def show_mistake(forward: Callable, rule: Callable, *inputs: Any, of: str):
    """What `jaxcnn.compare` finds of a wrong rule, in words, and its picture of one gradient."""
    result = jaxcnn.compare(with_rule(forward, rule), *inputs)
    assert not result[of].ok
    display(_words(result), result.plot(of))
    return result


def _words(result: jaxcnn.comparison.Comparison) -> Verdict:
    wrong = [leaf for leaf in result.leaves if not leaf.ok]
    said = [
        f"d{a.path} off by up to {a.max_abs_error:.2g}: {'; '.join(a.diagnosis)}" for a in wrong
    ]
    return Verdict(result.ok, f"{result.name}: {', and '.join(said) or 'right'}")


def source(*functions: Callable) -> HTML:
    """The functions as they stand in their module."""
    text = "\n\n".join(inspect.getsource(f).rstrip() for f in functions)
    style = "font-family:monospace;font-size:12px;line-height:1.3;margin:0;padding:0"
    return HTML(highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, prestyles=style)))
