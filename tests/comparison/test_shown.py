"""How a comparison shows: the table, the HTML, the pictures, and `jaxcnn compare`."""

import functools
import html.parser
import io
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import compare
from jaxcnn._errors import CommandError
from jaxcnn.cli import compare as compare_command
from jaxcnn.cli.compare import Compare


@functools.cache
def wrong():
    """A comparison with a leaf that is right, and one whose kernel is not flipped."""
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(2, 7, 6, 3))), jnp.asarray(rng.normal(size=(3, 3, 3, 4)))

    @jax.custom_vjp
    def layer(x, w):
        return jaxcnn.reference.conv(x, w)

    def bwd(args, g):
        dx, dw = jax.vjp(jaxcnn.reference.conv, *args)[1](g)
        return dx, dw[::-1, ::-1]

    layer.defvjp(lambda x, w: (layer(x, w), (x, w)), bwd)
    return compare(layer, x, w)


def test_the_table():
    lines = str(wrong()).splitlines()
    assert "its gradient compared with the automatic gradient of" in lines[0]
    heads = ["leaf", "shape", "dtype", "abs error", "ulp", "worst at", "cosine", "tolerance"]
    assert all(head in lines[1] for head in heads)
    x, w = lines[2], lines[3]
    assert x.split()[0] == "x"
    assert x.endswith("ok")
    assert "2x7x6x3" in x
    assert w.split()[0] == "w"
    assert w.endswith("WRONG")
    assert (
        len(
            {
                line.index(cell)
                for line, cell in zip(lines[1:4], ("verdict", "ok", "WRONG"), strict=True)
            }
        )
        == 1
    )
    assert "? w: flipped along axes 0 and 1" in lines
    assert any(line.startswith("- w: tolerance") and "eps" in line for line in lines)
    assert lines[-1] == "WRONG: 1 of 2 gradients match"


def test_the_html_is_well_formed():
    open_tags, rows = [], 0

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            nonlocal rows
            open_tags.append(tag)
            rows += tag == "tr"

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    text = wrong()._repr_html_()
    Reader().feed(text)
    assert open_tags == []
    assert rows == 3
    assert "&lt;locals&gt;" in text
    assert "flipped along axes 0 and 1" in text


def test_the_pictures():
    result = wrong()
    figure = result.plot()
    axes = [ax for ax in figure.axes if ax.get_images()]
    assert [ax.get_title().split(",")[0] for ax in axes[:3]] == [
        "hand-written", "automatic", "difference",
    ]  # fmt: skip
    assert len(axes) == 6
    for row in (axes[:3], axes[3:]):
        limits = {ax.get_images()[0].get_clim() for ax in row}
        assert len(limits) == 1
        low, high = limits.pop()
        assert low == -high
    hand, automatic, difference = (np.asarray(ax.get_images()[0].get_array()) for ax in axes[3:])
    np.testing.assert_array_equal(np.nan_to_num(hand - automatic), np.nan_to_num(difference))
    w = result["w"]
    assert np.nanmax(np.abs(difference)) == w.max_abs_error
    assert "WRONG" in axes[3].get_ylabel()
    # The circle is on the largest error.
    (circle,) = axes[5].lines
    at = int(circle.get_ydata()[0]), int(circle.get_xdata()[0])
    assert abs(difference[at]) == w.max_abs_error
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")
    assert len([ax for ax in result.plot("w").axes if ax.get_images()]) == 3
    with pytest.raises(KeyError, match="no leaf 'b'"):
        result.plot("b")


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (40, 3, 3, 50), (2, 2, 2, 2, 2)])
def test_every_rank_has_a_picture(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    figure = compare(jax.nn.relu, x, numerical=False).plot()
    assert len([ax for ax in figure.axes if ax.get_images()]) == 3


def test_a_picture_without_a_reference():
    figure = compare(jnp.tanh, jnp.linspace(-1.0, 1.0, 6)).plot()
    titles = [ax.get_title() for ax in figure.axes if ax.get_images()]
    assert titles[:2] == ["gradient", "central differences"]


def test_the_command_counts(capsys):
    assert Compare(layer=("relu", "dense")).run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert len(lines) == 4
    assert lines[-1].startswith("3 of 3 comparisons match on cpu (")
    assert "float32" in lines[-1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_the_command_in_other_dtypes(dtype, capsys):
    assert Compare(layer=("softmax",), dtype=dtype, json=True).run() == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dtype"] == dtype
    assert document["matched"] == document["compared"] == len(document["cases"]) == 2
    (leaf,) = document["cases"][0]["leaves"]
    assert leaf["dtype"] == dtype
    assert leaf["ok"]
    assert leaf["max_abs_error"] <= leaf["tolerance"]


def test_the_command_fails_on_a_wrong_rule(monkeypatch, capsys):
    @jax.custom_vjp
    def relu(x):
        return jnp.maximum(x, jnp.zeros_like(x))

    relu.defvjp(lambda x: (relu(x), x), lambda x, g: (-g * (x > 0).astype(g.dtype),))
    monkeypatch.setattr(jaxcnn, "relu", relu)
    assert Compare(layer=("relu",)).run() == 1
    text = capsys.readouterr().out
    assert "WRONG  relu" in text
    assert "x: the wrong sign" in text
    assert "0 of 1 comparisons match" in text
    assert Compare(layer=("relu",), json=True).run() == 1
    document = json.loads(capsys.readouterr().out)
    assert document["matched"] == 0
    assert document["cases"][0]["leaves"][0]["diagnosis"] == ["the wrong sign"]


def test_an_unknown_layer_is_named():
    with pytest.raises(CommandError, match="no layer 'convolution'; the layers are conv, "):
        Compare(layer=("convolution",)).run()


def test_every_layer_has_cases():
    covered = {call.layer for call in compare_command.calls()}
    public = {n for n in dir(jaxcnn.reference) if hasattr(jaxcnn, n) and not n.startswith("_")}
    functions = {n for n in public if callable(getattr(jaxcnn, n))}
    assert covered == functions


def test_the_command_is_light_to_import():
    code = "import sys, jaxcnn.cli.compare; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
