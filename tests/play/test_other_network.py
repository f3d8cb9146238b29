"""The page with a network in words: other layers, windows and kernels than the post's."""

import jax
import numpy as np
import pytest

import jaxcnn.mnist
from jaxcnn.mnist import model
from tests.play import browser
from tests.play.page_server import serving

# Windows that leave a row over, kernels of 1x1, a layer of a number of units that four do not
# divide, and a dense layer that follows another.
WORDS = "pool 3, conv 2 1x1, conv 3 5x5, pool 4, dense 7, dense 5"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if reason := browser.missing():
        pytest.skip(reason)
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        return jaxcnn.mnist.train(
            "digits", model=WORDS, steps=30, out=tmp_path_factory.mktemp("run"), devices=1,
            quiet=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def page(run):
    with serving(run.folder.path, "--port", 0) as server, browser.page(server.url) as page:
        page.draw(browser.THREE)
        yield page


@pytest.mark.parametrize("kind", ["x", "dx"])
def test_every_formula_gives_the_number_under_the_mouse(page, kind):
    page.press("\ue00c")
    for name in model.names(WORDS):
        for x, y in ((0.2, 0.1), (0.45, 0.4), (0.8, 0.9)):
            said = page.point_at(kind, name, x, y)
            if name != "input" or kind == "dx":
                assert (said["kind"], said["place"]) == (kind, name)
                value, total = float(said["value"]), float(said["total"])
                assert total == pytest.approx(value, rel=1e-4, abs=2e-6), said
    assert page.complaints() == []


def test_what_is_left_over_at_the_edge_is_in_no_window(page):
    gradients = np.reshape(page.numbers("dx", "input"), (28, 28))
    assert np.count_nonzero(gradients[27]) == np.count_nonzero(gradients[:, 27]) == 0
    assert np.count_nonzero(gradients) > 0


def test_the_backward_pass_has_a_sentence_for_every_place(page):
    names = model.names(WORDS)
    for name in reversed(names):
        page.press("n")
        said = page.text("#stage")
        assert f", {name}. " in said
        assert "undefined" not in said
        assert "false" not in said
    page.press("\ue00c")
    assert page.complaints() == []
