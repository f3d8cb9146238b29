"""The page in a real browser: what is drawn, what is shown, and that the numbers are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import reference
from jaxcnn.mnist import model
from jaxcnn.play import shipped
from tests.play import browser
from tests.play.page_server import serving

PLACES = [name for name in model.NAMES if name != "probabilities"]


@pytest.fixture(scope="module")
def url():
    if reason := browser.missing():
        pytest.skip(reason)
    with serving("--port", 0) as server:
        yield server.url


@pytest.fixture(scope="module")
def page(url):
    with browser.page(url) as page:
        yield page


@pytest.fixture
def three(page):
    """The page with a 3 on it, drawn by hand."""
    page.press("v", "c")
    page.run("document.querySelector('[data-label=predicted]').click()")
    page.draw(browser.THREE)
    yield page
    assert page.complaints() == []


def automatic(page, label: int):
    """What autodiff finds at every place for the drawing on the page, in float32."""
    image = np.round(np.array(page.numbers("x", "input")) * 255).astype(np.uint8)
    x = model.pixels(image.reshape(1, 28, 28))
    params, labels = shipped.load(), jnp.array([label], jnp.int32)
    look = jax.jit(model.activations, static_argnames="layers")
    back = jax.jit(model.activation_gradients, static_argnames="layers")
    return (
        {n: np.ravel(v) for n, v in look(params, x, layers=reference).items()},
        {n: np.ravel(v) for n, v in back(params, x, labels, layers=reference).items()},
    )


def shown_number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").replace("\N{INFINITY}", "inf"))


def test_a_drawn_three_is_seen_and_its_gradients_are_those_of_the_reference(three):
    assert three.text("#answer .digit") == "3"
    three.find("[data-view=backward]").click()
    assert not three.find(".strip[data-kind=x]").is_displayed()
    x, dx = automatic(three, 3)
    for name in model.NAMES:
        np.testing.assert_allclose(three.numbers("x", name), x[name], rtol=1e-5, atol=1e-5)
    for name in PLACES:
        assert np.abs(dx[name]).max() > 1e-5, name
        # A pool's window whose two largest are equal but for rounding would differ here.
        np.testing.assert_allclose(three.numbers("dx", name), dx[name], rtol=0, atol=1e-5)
    dp = np.array(three.numbers("dx", "probabilities"))
    np.testing.assert_allclose(dp, dx["probabilities"], rtol=1e-5)
    # And to read: what the inspector says of the place under the mouse.
    three.press("\ue00c")
    for name in PLACES:
        for x_, y_ in ((0.31, 0.33), (0.62, 0.57)):
            said = three.point_at("dx", name, x_, y_)
            assert (said["kind"], said["place"]) == ("dx", name)
            expected = dx[name][int(said["index"])]
            assert shown_number(said["shown"]) == pytest.approx(expected, rel=0, abs=1e-5)


@pytest.mark.parametrize("kind", ["x", "dx"])
def test_the_formula_gives_the_number_under_the_mouse(three, kind):
    three.press("\ue00c")
    values = []
    for name in model.NAMES:
        for x, y in ((0.2, 0.1), (0.45, 0.4), (0.8, 0.9), (0.6, 0.35)):
            said = three.point_at(kind, name, x, y)
            assert (said["kind"], said["place"]) == (kind, name)
            value, total = float(said["value"]), float(said["total"])
            if name != "input" or kind == "dx":
                assert total == pytest.approx(value, rel=1e-4, abs=2e-6), said
                values.append(value)
    assert np.count_nonzero(values) > 20


def test_any_label_can_be_explained(three):
    for label in (7, 3):
        three.find(f"[data-label='{label}']").click()
        three.settle()
        assert three.find(f"[data-label='{label}']").get_attribute("aria-checked") == "true"
        p = np.array(three.numbers("x", "probabilities"))
        np.testing.assert_allclose(three.numbers("dx", "logits"), p - np.eye(10)[label], atol=1e-6)
    assert not three.find("[data-label=true]").is_enabled()
    three.press("5")
    three.find("[data-label=true]").click()
    three.settle()
    assert np.argmin(three.numbers("dx", "logits")) == 5


def test_the_slider_takes_one_gradient_step(three):
    image = np.round(np.array(three.numbers("x", "input")) * 255).astype(np.uint8)
    script = "const r = document.getElementById('rate'); r.value = arguments[0];"
    script += "r.dispatchEvent(new Event('input'))"
    three.run(script, 60)
    three.settle()
    assert three.find(".strip[data-kind=change]").is_displayed()
    change = np.array(three.numbers("change", "logits"))
    x, params = model.pixels(image.reshape(1, 28, 28)), shipped.load()
    rate = np.float32(f"{10 ** (-4 + 4 * 60 / 100):.4g}")

    def loss(params):
        logits = model.apply(params, x, layers=reference)
        return reference.softmax_cross_entropy_with_integer_labels(
            logits, jnp.array([3], jnp.int32)
        ).mean()

    g = jax.jit(jax.grad(loss))(params)
    moved = jax.tree.map(lambda w, dw: w - rate * dw, params, g)
    forward = jax.jit(lambda params: model.apply(params, x, layers=reference)[0])
    expected = np.asarray(forward(moved)) - np.asarray(forward(params))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(change, expected, atol=1e-3 * np.abs(expected).max())
    three.run(script, 0)
    three.settle()
    assert not three.find(".strip[data-kind=change]").is_displayed()


def test_every_example_is_recognised_and_undone(page):
    for digit in "0123456789":
        page.press(digit)
        assert page.text("#answer .digit") == digit
    page.press("c")
    assert page.text("#answer .digit") == "?"
    assert page.find("#hint").is_displayed()
    assert not np.any(page.numbers("x", "input"))
    page.draw([(0.5, 0.2), (0.5, 0.8)])
    one = page.numbers("x", "input")
    page.draw([(0.2, 0.5), (0.8, 0.5)])
    assert page.numbers("x", "input") != one
    page.press("u")
    assert page.numbers("x", "input") == one


def test_the_backward_pass_goes_stage_by_stage(three):
    three.press("f")
    order = list(reversed(model.NAMES))
    waiting = "return document.querySelectorAll('.strip[data-kind=dx] .waiting').length"
    for n, name in enumerate(order):
        three.press("n")
        assert three.text("#stage").startswith(f"{n + 1} of {len(order)}, {name}.")
        assert three.run(waiting) == len(order) - 1 - n
    three.press("p")
    assert three.run(waiting) == 1
    three.press("\ue00c")
    assert three.run(waiting) == 0
    assert not three.find("#stage").is_displayed()


def test_the_keyboard_walks_over_a_map(three):
    three.run("document.querySelector(arguments[0]).focus()", three.figure("x", "conv2"))
    index = []
    for key in ("\ue014", "\ue015", "\ue012", "\ue013"):  # right, down, left, up
        three.press(key)
        index.append(int(three.find("#inspector").get_attribute("data-index")))
    right, down, left, up = index
    assert (down - right, left - down, up - left) == (28 * 4, -4, -28 * 4)
    assert three.find("#inspector").get_attribute("data-place") == "conv2"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(url, width, dark):
    with browser.page(url, width=width, dark=dark) as page:
        assert page.run("return document.documentElement.scrollWidth") <= width
        wider = "return [...document.querySelectorAll('.strip:not([hidden])')]"
        wider += ".filter((s) => s.scrollWidth > s.clientWidth).length"
        assert page.run(wider) == 0
        theme = page.run("return document.documentElement.dataset.theme")
        assert theme == ("dark" if dark else "light")
        assert page.complaints() == []
