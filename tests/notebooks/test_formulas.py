"""The formulas of docstrings as mathematics: what each becomes, and that none is left out."""

import inspect
import re

import pytest

import jaxcnn
from jaxcnn import _public, activation, convolution, linear, loss, pooling
from notebooks.pages.docstring import unread, with_mathematics
from notebooks.pages.formula import NoFormulaError, latex, mathml, statements

LAYERS = (activation, convolution, linear, loss, pooling)
PUBLIC = sorted(n for n, f in vars(_public).items() if n[0] != "_" and inspect.isfunction(f))


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ("y = x w + b", r"y = x \, w + b"),
        ("dw = x^T g", r"dw = x^{\top} \, g"),
        ("db[o] = sum over n, i of g[n, i, o]", r"{db}_{o} = \sum_{n,i} {g}_{n,i,o}"),
        ("y[i] = x[i + a] * w[a] + b", r"{y}_{i} = {x}_{i + a} \, {w}_{a} + b"),
        ("y[i] = x[i * strides]", r"{y}_{i} = {x}_{i \cdot \text{strides}}"),
        ("e = y_hat - y_j", r"e = \hat{y} - y_{j}"),
        ("p = exp(x) / (a + b)", r"p = \frac{\exp \left( x \right)}{a + b}"),
        ("p = (a + b) (c - d) / 2", r"p = \frac{\left( a + b \right) \, \left( c - d \right)}{2}"),
        ("h = a * d f / d x", r"h = a \, \frac{\partial f}{\partial x}"),
        ("dz = g * (S p - y)", r"dz = g \, \left( S \, p - y \right)"),
        ("dy = - g log p", r"dy = -g \, \log p"),
        (
            "y[j] = sum over i, a with i + a = j of x[i]",
            r"{y}_{j} = \sum_{i,a \,:\, i + a = j} {x}_{i}",
        ),
        (
            "dx = g where x > 0, and 0 elsewhere",
            r"dx = \begin{cases} g & \text{where } x > 0 \\ 0 & \text{elsewhere} \end{cases}",
        ),
    ],
)
def test_latex(plain, expected):
    assert latex(plain) == expected
    assert mathml(expected, display=True).startswith("<math")


@pytest.mark.parametrize(
    "text",
    [
        *("", "y", "y =", "= y", "y = x +", "y = (x", "y = x[", "y = sum over of x", "y = f(x))"),
        *("y = max over the window", "y = g where x, and 0 elsewhere", "y = x ? 2", "run = f('a')"),
    ],
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(NoFormulaError):
        latex(text)


def test_a_block_has_labels_columns_and_lines_that_go_on():
    block = (
        "one:     y = x w        dx = g w^T\n\n       z = a\n           + b\n     db[o]       = c"
    )
    assert statements(block) == [
        ("one", r"y = x \, w"),
        ("", r"dx = g \, w^{\top}"),
        ("", "z = a + b"),
        ("", "{db}_{o} = c"),
    ]


@pytest.mark.parametrize("module", LAYERS, ids=lambda module: module.__name__)
def test_every_formula_of_the_layers_is_mathematics(module):
    text = inspect.getdoc(module) or ""
    assert unread(text) == []
    shown = with_mathematics(text)
    gradients = set(re.findall(r"^ +(?:.* {4,})?(d[xwbzy])[ \[_]", text, re.MULTILINE))
    assert gradients
    assert shown.count("<math") >= len(gradients) + 1
    # Nothing is left that a reader would take for a formula.
    assert not re.search(r"^ {4}", shown, re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_help_stays_plain_and_the_words_stay_as_they_are(name):
    text = inspect.getdoc(getattr(jaxcnn, name)) or ""
    assert unread(text) == []
    assert not re.search(r"\\[a-z]|\$|<math", text)
    shown = re.sub(
        r'<div class="formula">.*?</div></div>|<math.*?</math>', "", with_mathematics(text)
    )
    lines = set(text.splitlines())
    assert [line for line in shown.splitlines()[1:] if line and line not in lines] == []


def test_a_formula_that_cannot_be_read_is_told():
    assert unread("Words.\n\n    y = x ? 2\n") == ["    y = x ? 2"]
    assert unread("Words.\n\n    >>> y = 2\n") == []
