"""Every form that a correlation is put to XLA in is the same sum: forced by name, in float64.

The table runs in float64 on small shapes, where some forms are never chosen.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn._window import Window
from jaxcnn.lowering import Correlation, choice, correlate, parts, using
from tests.proof import convolution_oracles
from tests.proof.checks import assert_equal

PADS = [((1, 1), (2, 1)), ((0, 0), (0, 0)), ((-1, 2), (3, -1))]
ONE, TWO, MIXED = (1, 1), (2, 2), (3, 2)
# strides, dilation of x, dilation of w, and channels in, out, groups.
DENSE = [((ONE, ONE, ONE), (2, 3, 1)), ((ONE, ONE, ONE), (5, 20, 1))]
STRIDED = [((TWO, ONE, ONE), (2, 3, 1)), ((MIXED, ONE, (1, 2)), (2, 3, 1))]
DILATED = [((ONE, TWO, ONE), (2, 3, 1)), ((ONE, MIXED, ONE), (2, 3, 1))]
DEPTHWISE = [
    ((ONE, ONE, ONE), (4, 4, 4)),
    ((TWO, ONE, (1, 2)), (3, 3, 3)),
    ((ONE, MIXED, ONE), (3, 3, 3)),
]
MULTIPLIED = [((ONE, TWO, ONE), (2, 6, 2))]
GROUPED = [((ONE, ONE, ONE), (4, 6, 2)), ((TWO, ONE, ONE), (4, 6, 2)), ((ONE, TWO, ONE), (6, 6, 3))]
FORWARD = {
    "plain": DENSE + STRIDED + DILATED + DEPTHWISE + MULTIPLIED + GROUPED,
    "taps": [*DENSE, ((ONE, ONE, (2, 3)), (2, 3, 1))],
    "patches": DENSE + STRIDED,
    "tiled": DENSE,
    "all_cores": DENSE + STRIDED,
    "neighbours": DENSE + STRIDED + GROUPED,
    "shifted": DEPTHWISE + MULTIPLIED + DENSE + STRIDED + DILATED + GROUPED,
    "split": GROUPED,
    "phased": DILATED,
    "spread": [DEPTHWISE[-1], *MULTIPLIED],
    "subpixel": DILATED,
}
BACKWARD = {
    "plain": DENSE + STRIDED + DILATED + DEPTHWISE + MULTIPLIED + GROUPED,
    "neighbours": DENSE + STRIDED + GROUPED,
    "planes": DENSE + STRIDED + GROUPED[:2],
    "patches": DENSE + STRIDED,
    "pairs": GROUPED + MULTIPLIED,
    "product": [],
    "quarters": [*DENSE, *STRIDED],
    "rows": [*DENSE, *STRIDED, *GROUPED[:2]],
    "shifted": DEPTHWISE,
    "split": GROUPED,
    "exchanged": DILATED + DENSE,
}


def of(table):
    return [
        pytest.param(form, *case, pads, id=f"{form}-{case}-{pads}".replace(" ", ""))
        for form, cases in table.items()
        for case, pads in itertools.product(cases, PADS)
    ]


def test_every_form_is_listed():
    assert {form.name for form in choice.FORMS_OF_Y} - {"onednn"} == set(FORWARD)
    assert {form.name for form in choice.FORMS_OF_DW} - {"onednn"} == set(BACKWARD)


def expected(setting, channels, pads):
    """Random x, w, g and the three sums of the loops."""
    (strides, lhs_dilation, rhs_dilation), (c, o, groups) = setting, channels
    window = Window(strides, pads, lhs_dilation, rhs_dilation)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 7, 8, c)), rng.normal(size=(3, 2, c // groups, o))
    g = rng.normal(size=(4, *window.output_shape((7, 8), (3, 2)), o))
    sums = convolution_oracles.correlate(x, w, g, strides, pads, lhs_dilation, rhs_dilation, groups)
    return Correlation(window, groups=groups), *map(jnp.asarray, (x, w, g)), sums


@pytest.mark.parametrize(("form", "setting", "channels", "pads"), of(FORWARD))
def test_form_of_y(form, setting, channels, pads):
    c, x, w, _, (y, _, _) = expected(setting, channels, pads)
    with using(form):
        found = jax.jit(lambda x, w: correlate(x, w, c))(x, w)
    assert_equal(found, y, "y")


@pytest.mark.parametrize(("form", "setting", "channels", "pads"), of(BACKWARD))
def test_form_of_dw(form, setting, channels, pads):
    c, x, _, g, (_, _, dw) = expected(setting, channels, pads)
    c = c.of_dw((7, 8), (3, 2))
    with using(form):
        found = jax.jit(lambda x, g: correlate(x, g, c))(x, g)
    assert_equal(found, dw, "dw")


@pytest.mark.parametrize("count", [2, 4])
def test_rows_in_parts_of_the_batch(count, monkeypatch):
    (setting, channels), pads = STRIDED[1], PADS[0]
    c, x, _, g, (_, _, dw) = expected(setting, channels, pads)
    monkeypatch.setattr(parts, "CACHED", -(-(x.size + g.size) // count))
    c = c.of_dw((7, 8), (3, 2))
    with using("rows"):
        found = jax.jit(lambda x, g: correlate(x, g, c))
        assert "while" in found.lower(x, g).as_text()
        assert_equal(found(x, g), dw, "dw")


@pytest.mark.parametrize("groups", [1, 2])
def test_planes_of_three_axes(groups):
    strides, dilation, pads = (2, 1, 1), (1, 2, 1), ((1, 2), (0, 1), (2, -1))
    window = Window(strides, pads, (1, 1, 1), dilation)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 5, 4, 3, 4)), rng.normal(size=(2, 2, 2, 4 // groups, 6))
    g = rng.normal(size=(2, *window.output_shape((5, 4, 3), (2, 2, 2)), 6))
    _, _, dw = convolution_oracles.correlate(x, w, g, strides, pads, (1, 1, 1), dilation, groups)
    c = Correlation(window, groups=groups).of_dw((5, 4, 3), (2, 2, 2))
    with using("planes"):
        found = jax.jit(lambda x, g: correlate(x, g, c))(x, g)
    assert_equal(found, dw, "dw")


@pytest.mark.parametrize(
    ("k", "strides", "dilation", "pads"),
    [
        ((1, 1), (1, 1), (1, 1), PADS[1]),
        ((1, 1), (2, 1), (3, 1), PADS[0]),
        ((2, 2), (2, 3), (1, 1), PADS[2]),
        ((3, 1), (3, 2), (1, 2), PADS[0]),
        ((2, 3), (4, 3), (1, 1), PADS[1]),
    ],
)
def test_product_of_windows_that_do_not_meet(k, strides, dilation, pads):
    window = Window(strides, pads, ONE, dilation)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 7, 8, 3)), rng.normal(size=(*k, 3, 5))
    g = rng.normal(size=(4, *window.output_shape((7, 8), k), 5))
    _, _, dw = convolution_oracles.correlate(x, w, g, strides, pads, ONE, dilation, 1)
    with using("product"):
        found = jax.jit(lambda x, g: correlate(x, g, Correlation(window).of_dw((7, 8), k)))
        assert "stablehlo.convolution" not in found.lower(x, g).as_text()
        assert_equal(found(x, g), dw, "dw")


# In float32, with the sizes at which the other forms are chosen.
CHOSEN = [
    ((2, 28, 28, 1), (5, 5, 1, 4), {}),
    ((2, 14, 14, 4), (3, 3, 4, 8), {}),
    ((2, 13, 11, 3), (3, 3, 3, 8), {"padding": "VALID"}),
    ((8, 28, 28, 20), (3, 3, 20, 24), {}),
    ((8, 28, 28, 24), (3, 3, 24, 24), {"strides": 2}),
    ((4, 14, 14, 32), (3, 3, 1, 32), {"feature_group_count": 32}),
    ((4, 14, 14, 32), (3, 3, 8, 32), {"feature_group_count": 4}),
    ((4, 14, 14, 34), (1, 1, 2, 34), {"feature_group_count": 17}),
    ((4, 14, 14, 8), (1, 1, 8, 20), {"strides": 2}),
    ((4, 14, 14, 8), (2, 2, 8, 20), {"strides": 2, "padding": ((1, 0), (0, 1))}),
]


@pytest.mark.parametrize(("x", "w", "options"), CHOSEN)
def test_chosen_forms_in_float32(x, w, options):
    """The rule as users run it, against the reference in float64."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=x), rng.normal(size=w), rng.normal(size=w[-1])
    y = jax.eval_shape(lambda x, w: reference.conv(x, w, **options), x, w)
    g = rng.normal(size=y.shape)

    def gradients(layers, *arrays):
        def function(x, w, b, g):
            y, pull = jax.vjp(lambda *a: layers.conv(*a, **options), x, w, b)
            return y, *pull(g)

        return jax.tree.map(np.asarray, jax.jit(function)(*arrays))

    found = gradients(jaxcnn, *(a.astype(np.float32) for a in (x, w, b, g)))
    exact = gradients(reference, x, w, b, g)
    for name, a, e in zip(("y", "dx", "dw", "db"), found, exact, strict=True):
        error = np.abs(a - e).max() / np.abs(e).max()
        assert error < 5e-6, (name, error)


@pytest.mark.parametrize(
    ("form", "setting", "channels", "further"),
    [
        ("plain", DENSE[0][0], (1, 4, 1), (0, 0)),
        ("tiled", DENSE[0][0], (1, 4, 1), (1, 3)),
        ("subpixel", (ONE, MIXED, ONE), (2, 3, 1), MIXED),
        ("split", DENSE[0][0], (8, 8, 4), (0, 0)),
    ],
)
def test_how_far_a_nan_spreads(form, setting, channels, further):
    """No further than the forms say: so many rows and columns, and the channels of one block."""
    (strides, lhs_dilation, rhs_dilation), (c, o, groups) = setting, channels
    window = Window(strides, ((1, 1), (1, 1)), lhs_dilation, rhs_dilation)
    x = jnp.ones((1, 8, 9, c)).at[0, 4, 4, 0].set(jnp.nan)
    w = jnp.ones((3, 3, c // groups, o))

    def spread_by(form):
        with using(form):
            return np.isnan(correlate(x, w, Correlation(window, groups=groups)))[0]

    one, y = spread_by("plain"), spread_by(form)
    assert y[one].all()
    for axis, more in enumerate(further):
        own, spread = (np.flatnonzero(a.any((1 - axis, 2))) for a in (one, y))
        assert own[0] - more <= spread[0] <= own[0]
        assert own[-1] <= spread[-1] <= own[-1] + more
    assert np.count_nonzero(y.any((0, 1))) <= (16 if groups > 1 else o)


@pytest.mark.parametrize("form", ["split", "plain"])
def test_a_nan_stays_in_its_own_example(form):
    """Narrow groups may share a convolution, with zeros between; what `jax.vmap` maps may not."""
    rng = np.random.default_rng(0)
    x, w = (
        jnp.asarray(rng.normal(size=(4, 1, 5, 5, 4))),
        jnp.asarray(rng.normal(size=(4, 3, 3, 2, 2))),
    )
    x = x.at[1].set(jnp.nan)

    def gradients(x, w):
        y, pull = jax.vjp(lambda x, w: jaxcnn.conv(x, w, feature_group_count=2), x, w)
        return y, *pull(jnp.ones_like(y))

    with using(form):
        y, dx, dw = jax.jit(jax.vmap(gradients))(x, w)
    for found in (y, dw):
        bad = np.isnan(found).reshape(4, -1).any(1)
        assert bad.tolist() == [False, True, False, False]
    assert np.isfinite(dx).all()
