"""The command `jaxcnn bench`: what it measures, writes and refuses."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import reference
from jaxcnn._errors import CommandError
from jaxcnn.bench import cases as table
from jaxcnn.bench import networks, report, scaling, steps, timing
from jaxcnn.bench.cases import CASES
from jaxcnn.bench.program import difference
from jaxcnn.cli.bench import Bench
from tests.bench.made import TINY, has_color


@pytest.fixture
def tiny(monkeypatch):
    from jaxcnn.bench import machine

    monkeypatch.setattr(table, "CASES", TINY)
    monkeypatch.setattr(machine, "matrix_product_rate", lambda: 1e9)
    return dict(cases=("conv", "pool", "relu"), repeats=2, seconds=0.01, torch=False)


def test_a_wrong_rule_fails_the_command(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(jaxcnn, "relu", lambda x: jnp.maximum(x, -0.1))
    assert Bench(**tiny, json=tmp_path / "rows.json").run() == 1
    out, err = capsys.readouterr()
    assert err.startswith("wrong: relu/5/2 forward: hand is off by")
    measured = {r["case"] for r in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert measured == {case.name for case in TINY[:2]}
    assert "relu/5/2 forward" not in re.sub("WRONG .*", "", out)


def test_it_writes_what_it_measured(tiny, capsys, tmp_path):
    data, picture = tmp_path / "rows.json", tmp_path / "rows.png"
    assert Bench(**tiny, json=data, plot=picture).run() == 0
    found = json.loads(data.read_text())
    assert found["machine"]["jax"] == jax.__version__
    assert [(r["case"], r["what"]) for r in found["rows"]] == [
        (case.name, what) for case in TINY for what in case.passes
    ]
    out = capsys.readouterr().out
    for r in found["rows"]:
        assert len(r["hand"]) == len(r["automatic"]) == 2
        seconds = {name: float(np.median(r[name])) for name in ("hand", "automatic")}
        assert r["median_seconds"] == pytest.approx(seconds)
        ratio = seconds["automatic"] / seconds["hand"]
        assert r["times_faster_than_automatic"] == pytest.approx(ratio)
        assert r["compile_seconds"]["hand"] > 0
        assert r["error"] < 1e-5
        assert all(1e-8 < seconds < 1e-3 for seconds in r["apart"])
        mark = "=" if r["same"] else ""
        words = f"{r['case']} {r['what']} .* {report.times(ratio)}{mark} "
        assert re.search(f"^{words}", out, re.MULTILINE)
    # The convolution is another program; relu's forward pass is not.
    assert [r["same"] for r in found["rows"] if r["what"] == "forward"] == [False, False, True]
    assert "geometric mean of 8 rows" in out
    assert has_color(picture, (0x44, 0x77, 0xAA))


def test_whole_networks_alone_and_in_a_loop(monkeypatch, capsys, tmp_path):
    from jaxcnn.bench import machine

    monkeypatch.setattr(machine, "matrix_product_rate", lambda: 1e9)
    monkeypatch.setattr(steps, "BATCH", 4)
    data = tmp_path / "rows.json"
    cases = ("step/mobilenet/bfloat16", "evaluation/mobilenet")
    assert Bench(cases=cases, repeats=1, seconds=0.01, torch=False, json=data).run() == 0
    found = [(r["case"], r["what"]) for r in json.loads(data.read_text())["rows"]]
    names = (
        "evaluation/mobilenet",
        "step/mobilenet/bfloat16",
        "evaluation/mobilenet/bfloat16",
        "evaluation/mobilenet/1",
    )
    assert found == [(name, what) for name in names for what in ("alone", "scan")]
    assert (
        "networks, speed-up against automatic: geometric mean of 8 rows" in capsys.readouterr().out
    )


PROGRAMS = [steps.evaluation, partial(steps.evaluation_in_scan, count=2)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_evaluation_of_one_image(program):
    found, expected = (program("post", layers, size=1).outputs() for layers in (jaxcnn, reference))
    assert difference(found, expected) < 1e-4
    assert found[0].shape[-2:] == (1, 10)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_evaluation_takes_as_many_images_at_a_time_as_the_trainer(program, monkeypatch):
    monkeypatch.setattr(steps, "BATCH", 4)
    monkeypatch.setattr(steps, "at_once", lambda *_: 2)
    found, expected = (program("post", layers) for layers in (jaxcnn, reference))
    assert difference(found.outputs(), expected.outputs()) < 1e-4
    # Of the convolutions that are left to XLA and of those of oneDNN alike.
    assert re.search(r"f32\[2,28,28,\d\]", found.text)
    assert not re.search(r"f32\[4,28,28,\d\]", found.text)


def test_as_many_at_a_time_as_divide_the_batch(monkeypatch):
    from jaxcnn.bench import machine

    monkeypatch.setattr(machine, "onednn_in", lambda _: True)
    assert [steps.at_once(n, 128) for n in ("post", "wide", "resnet")] == [128, 64, 128]
    assert [steps.at_once("wide", n, "bfloat16") for n in (128, 96)] == [128, 32]
    monkeypatch.setattr(machine, "onednn_in", lambda _: False)
    assert steps.at_once("wide", 128) == 128


def test_list_names_the_rows_and_measures_nothing(monkeypatch, capsys):
    monkeypatch.setattr(timing, "interleaved", lambda *_, **__: pytest.fail("it was timed"))
    assert Bench(cases=("known", "step/wide"), list=True).run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "step/wide",
        "step/wide/bfloat16",
        *(case.name for case in CASES if case.group == "known"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cases=("nope",)), "--cases nope: no such case; bench --list"),
        (dict(cases=("conv/",), scaling=True), "--cases conv/: no such training step"),
        (dict(repeats=0), "--repeats 0"),
        (dict(processes=0), "--processes 0: it must be 1 or more"),
        (dict(processes=2, scaling=True), "--processes 2: --scaling needs one"),
        (dict(processes=2, compile_for="tpu"), "--processes 2: --compile-for tpu needs one"),
        (dict(near=-1.0), "--near -1.0: it must be 0 or more"),
        (dict(near=9.0, scaling=True), "--near 9.0: --scaling does not wait"),
        (dict(near=9.0, compile_for="tpu"), "--near 9.0: --compile-for tpu does not wait"),
        (dict(seconds=0.0), "--seconds 0.0"),
        (dict(json="nowhere/rows.json"), "--json .*rows.json: there is no folder"),
        (dict(plot=""), "--plot .* is a folder"),
        (dict(plot="rows.txt"), r"--plot .*rows.txt: the name must end in one of \..*\.png"),
        (dict(form="fastest"), "--form fastest: the forms are .*plain"),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_measuring(options, message, tmp_path):
    options = {k: tmp_path / v if k in ("json", "plot") else v for k, v in options.items()}
    with pytest.raises(CommandError, match=message):
        Bench(**options).run()


def test_all_reduced_bytes_are_the_gradients(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(scaling, "DEVICES", (1, 2))
    found = scaling.measure("post", each=True, tolerance=1e-3, repeats=1, seconds=0.01)
    assert [(s.devices, s.batch) for s in found] == [(1, 128), (2, 256)]
    gradients = 4 * sum(g.size for g in jax.tree.leaves(networks.parameters("post")))
    assert found[0].all_reduced == 0
    assert gradients <= found[1].all_reduced <= gradients + 8
    assert found[1].rate == pytest.approx(256 / found[1].timing.median)
    report.plot_scaling(found, tmp_path / "scaling.png")
    assert has_color(tmp_path / "scaling.png", (0x1F, 0x77, 0xB4))
