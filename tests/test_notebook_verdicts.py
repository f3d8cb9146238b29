"""The judge of notebook 1: a right rule gets its green line, a wrong one none."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import reference

_PATH = Path(__file__).parent.parent / "notebooks" / "verdicts.py"
_SPEC = importlib.util.spec_from_file_location("notebook_verdicts", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
verdicts = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(verdicts)

X = np.array([[-2.0, -0.3, 0.4, 1.0, 3.0], [0.7, 2.0, -1.0, -4.0, 0.2]])


def relu(x):
    return np.maximum(x, 0)


def right(x, g):
    return (np.where(x > 0, g, 0),)


def doubled(x, g):
    return (np.where(x > 0, 2 * g, 0),)


def test_a_right_rule_gets_its_line():
    alone = verdicts.check(relu, right, X)
    assert alone.ok
    assert repr(alone).startswith("✓ right: by hand = by differences, to ")
    among = verdicts.check(relu, right, X, layer="relu")
    assert "by differences = by jaxcnn = by autodiff" in repr(among)


@pytest.mark.parametrize("layer", ["", "relu"])
def test_a_wrong_rule_gets_none(layer):
    with pytest.raises(AssertionError):
        verdicts.check(relu, doubled, X, layer=layer)


def test_agreement_is_with_the_layer_of_that_name_and_its_options():
    g = np.ones_like(X)
    verdicts.agree(right(X, g), "relu", (X,), g)
    with pytest.raises(AssertionError):
        verdicts.agree(doubled(X, g), "relu", (X,), g)


def test_compare_says_what_a_wrong_rule_looks_like():
    assert verdicts.judge(reference.relu, right, X).ok
    verdict = verdicts.judge(reference.relu, doubled, X)
    assert not verdict.ok
    assert "doubled: dx wrong by " in repr(verdict)
    assert "off by a factor 2" in repr(verdict)


def test_a_verdict_is_words_and_markup():
    verdict = verdicts.Verdict(False, "dx < 0")
    assert repr(verdict) == "✗ dx < 0"
    assert "dx &lt; 0" in verdict._repr_html_()
