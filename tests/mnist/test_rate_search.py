"""The search for a learning rate: how it goes, where it ends, what it refuses."""

import re

import jax
import numpy as np
import pytest

from jaxcnn.cli.dispatch import main
from jaxcnn.mnist import rate_search
from jaxcnn.mnist.data import sources
from jaxcnn.mnist.run.configuration import Configuration
from tests.mnist.test_trained import as_a_user_has_it


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with as_a_user_has_it():
        yield


def test_the_suggestion_is_where_the_loss_still_falls(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--dataset", "digits", "--find-learning-rate", "--model", "conv 4, pool 4"]
    assert main([*words, "--no-compilation-cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rates, losses = np.array([line.split() for line in lines[1:-1]], float).T
    assert rates[0] == 1e-5
    assert np.all(np.diff(rates) > 0)
    # It falls, and has risen again where the search ends.
    assert 0 < losses.argmin() < len(losses) - 1
    suggestion = float(re.findall("--learning-rate (.+)", lines[-1])[0])
    assert 1e-4 < suggestion < 3e-2
    assert not list(tmp_path.iterdir())


def test_every_step_has_its_own_rate(monkeypatch):
    """With rates of next to nothing the loss of the first parameters stays."""
    dataset = sources.load("digits")
    c = Configuration("digits", "conv 2, pool 7", "post", "jaxcnn", 3, 400, 1.0, 0)
    monkeypatch.setattr(rate_search, "RATES", np.array([1e-12, 1e-12, 1e-12, 1.0, 1.0]))
    found = rate_search.search(c, dataset)
    np.testing.assert_allclose(found.losses[:3], found.losses[0], rtol=0.1)
    assert len(found.rates) == 4 or found.losses[4] > 1.05 * found.losses[3]


@pytest.mark.parametrize("words", [("--steps", "5"), ("--learning-rate", "1"), ("--tensorboard",)])
def test_what_it_has_no_use_for_is_named(words, capsys):
    assert main(["train", "--dataset", "digits", "--find-learning-rate", *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_the_loss_that_is_never_finite_is_named(monkeypatch):
    dataset = sources.load("digits")
    c = Configuration("digits", "conv 2, pool 7", "post", "jaxcnn", 3, 400, 1.0, 0)

    def broken(configuration, optimizer):
        del configuration, optimizer
        return lambda state, images, labels: (
            state,
            {"loss": jax.numpy.full((), np.nan), "accuracy": jax.numpy.zeros(())},
        )

    monkeypatch.setattr(rate_search.programs, "new_step", broken)
    with pytest.raises(rate_search.CommandError, match="infinite or NaN"):
        rate_search.search(c, dataset)
