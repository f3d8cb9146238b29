"""The benchmark: its table, its arithmetic on known times, what it refuses, what it writes."""

import dataclasses
import json
import math
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxcnn
from jaxcnn import reference
from jaxcnn._errors import CommandError
from jaxcnn.bench import cases as table
from jaxcnn.bench import networks, report, rows, scaling, steps, timing
from jaxcnn.bench.cases import CASES, Case, matches
from jaxcnn.bench.layers import layer_programs
from jaxcnn.bench.program import Program, compiled, difference
from jaxcnn.bench.rows import Disagreement, Row
from jaxcnn.bench.timing import Timing
from jaxcnn.cli.bench import Bench

TINY = (
    Case("conv", (2, 6, 5, 3), (3, 3), 4, strides=2, group="known"),
    Case("max_pool", (2, 6, 6, 4), (2, 2), strides=2, padding="VALID"),
    Case("relu", (2, 5)),
)


@pytest.fixture(autouse=True)
def _as_a_user_has_it():
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def row(hand, automatic, torch=None, case="conv/a", what="dx", **other):
    modes = {mode: Timing(tuple(t)) for mode, t in (torch or {}).items()}
    return Row(case, what, Timing(tuple(hand)), Timing(tuple(automatic)), modes, **other)


def program(*outputs):
    return Program(lambda: jnp.zeros(()), lambda: [np.asarray(o, np.float32) for o in outputs])


# The table.


def test_names_are_unique_and_tell_the_groups():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.group for case in CASES} == {"known", "network", "more"}


def test_at_least_forty_other_shapes_of_every_kind():
    more = [case for case in CASES if case.group == "more"]
    convolutions = [case for case in more if case.layer in table.CONVOLUTIONS]
    assert len(more) >= 40
    assert {len(case.k) for case in convolutions} == {1, 2, 3}
    assert {case.x[0] for case in more} >= {1, 2, 256}
    assert {case.layer for case in more} >= {"conv", "conv_transpose", "max_pool", "avg_pool"}
    assert any(case.strides > 1 for case in convolutions)
    assert any(case.dilation > 1 for case in convolutions)
    assert any(case.groups > 1 for case in convolutions)
    assert {min(case.x[-1], case.features) for case in convolutions} >= {1, 2, 256}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_fits_its_layer(case):
    operands = case.operands()
    assert {a.dtype for a in operands} == {np.dtype(np.float32)}
    ours = jax.eval_shape(case.function(jaxcnn), *operands)
    assert ours.shape == case.output_shape == case.cotangent().shape
    assert len(case.passes) == 3 or case.layer in ("relu", "softmax", *_LOSSES)
    assert (case.flops is None) == (not case.features)


_LOSSES = ("softmax_cross_entropy_with_integer_labels",)


@pytest.mark.parametrize(
    "case",
    [
        Case("conv", (2, 9, 8, 4), (3, 2), 6, strides=2, padding="VALID"),
        Case("conv", (2, 8, 4), (3,), 8, groups=2, padding="VALID"),
        Case("dense", (3, 5), features=7),
    ],
    ids=lambda case: case.name,
)
def test_flops_are_xlas(case):
    x, w, b = case.operands()
    costs = jax.jit(case.function(reference)).lower(x, w, b).compile().cost_analysis()
    assert costs is not None
    assert case.flops == costs["flops"] - math.prod(case.output_shape)  # less the bias


def test_flops_of_a_step():
    # 28 and 14 pixels a side; forward and dw of the first layer, dx too of the others.
    first = 2 * 2 * 128 * 28**2 * 5 * 5 * 4
    rest = 28**2 * 5 * 5 * 4 * 4 + 14**2 * 9 * (4 * 8 + 8 * 16) + 784 * 128 + 128 * 10
    assert networks.flops("post", 128)["step"] == first + 3 * 2 * 128 * rest


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ((), ["conv", "max_pool", "relu"]),
        (("known",), ["conv"]),
        (("*/s2/*",), ["conv", "max_pool"]),
        (("pool", "relu"), ["max_pool", "relu"]),
        (("gelu",), []),
    ],
)
def test_cases_filter(patterns, chosen):
    assert [c.layer for c in TINY if matches(c.name, c.group, patterns)] == chosen


# Times.


def test_median_and_spread():
    known = Timing((5.0, 1.0, 4.0, 2.0, 3.0))
    assert known.median == 3.0
    assert known.spread == pytest.approx(1 / 3)  # quartiles 2 and 4
    assert (known / 2).samples == (2.5, 0.5, 2.0, 1.0, 1.5)
    assert Timing((7.0,)).spread == 0.0


class Clock:
    """Time that passes only in the programs."""

    def __init__(self, monkeypatch):
        self.now, self.log = 0.0, []
        fake = types.SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(timing, "time", fake)

    def program(self, name, seconds):
        def call():
            self.now += seconds
            self.log.append(name)

        return call


def test_programs_take_turns(monkeypatch):
    clock = Clock(monkeypatch)
    found = timing.interleaved(
        {"a": clock.program("a", 0.25), "b": clock.program("b", 0.5)}, repeats=4, seconds=2.0
    )
    assert found == {"a": Timing((0.25,) * 4), "b": Timing((0.5,) * 4)}
    assert "".join(clock.log).endswith("abababab")


def test_slow_programs_get_fewer_samples_and_short_ones_more_calls(monkeypatch):
    clock = Clock(monkeypatch)
    programs = {"slow": clock.program("s", 8.0), "short": clock.program("f", 2.0**-13)}
    found = timing.interleaved(programs, repeats=10, seconds=2.0)
    assert found["slow"].samples == (8.0,) * 3
    assert found["short"].samples == (2.0**-13,) * 10
    assert clock.log.count("f") > 10 * 5
    assert clock.log.count("s") == 1 + 3


def test_ratios_from_known_times():
    known = row(
        [2.0, 1.0, 3.0], [10.0, 10.0, 11.0], {"NCHW eager": [1.0], "channels_last eager": [0.5]}
    )
    assert known.ratio == 5.0
    assert known.best_torch == "channels_last eager"
    assert known.torch_ratio == 0.25
    assert row([1.0], [1.0]).torch_ratio is None
    assert dataclasses.replace(known, flops=12).rate == 6.0


def test_summary_of_known_times():
    fast = row([1.0], [8.0], {"eager": [2.0]}, what="dw")
    slow = row([2.0], [1.0], {"eager": [1.0]})
    step = row(
        [4.0],
        [8.0],
        case="step/post",
        what="alone",
        compile_seconds={"hand": 1.0, "automatic": 2.0},
        peak_bytes={"hand": 2**20, "automatic": 2**22},
    )
    scan = row([5.0], [40.0], case="step/post", what="scan")
    text = report.summary([fast, slow, step, scan])
    assert "layers, speed-up against automatic: geometric mean of 2 rows 2.00x" in text
    assert "the worst 0.50x: conv/a dx" in text
    assert "layers, speed-up against PyTorch: geometric mean of 2 rows 1.00x" in text
    assert "networks, speed-up against automatic: geometric mean of 2 rows 4.00x" in text
    assert "compile time 1.00 s, automatic 2.00 s (0.50 of it)" in text
    assert "peak memory 1.0 MiB, automatic 4.0 MiB (0.25 of it)" in text
    assert "inside a scan 1.25 of one alone" in text
    assert "rows spread" not in text
    unsteady = row([1.0, 2.0, 3.0], [1.0])
    assert "1 of 5 rows spread by more than 25%" in report.summary(
        [fast, slow, step, scan, dataclasses.replace(unsteady, hand=Timing((1.0, 2.0, 4.0)))]
    )


def test_line_of_known_times():
    known = row([0.002], [0.01], {"NCHW eager": [0.001]}, flops=4000)
    words = report.line(known, 20, peak=8e6).split()
    assert words == [
        *("conv/a", "dx", "2.00", "±0%", "10.0", "±0%", "5.00x"),
        *("1.00", "±0%", "0.50x", "25%"),
        *("NCHW", "eager"),
    ]
    assert report.line(row([0.002], [0.01]), 20, peak=1.0).split()[-3:] == ["-", "-", "-"]


def test_the_picture_has_every_ratio_as_a_number(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **how: drawn.append(figure))
    rows = [row([1.0], [8.0], {"eager": [0.5]}), row([2.0], [1.0], what="dw")]
    report.plot(rows, tmp_path / "rows.png")
    axes = drawn[0].axes[0]
    # The last row is lowest.
    written = {round(text.xy[1]): text.get_text() for text in axes.texts}
    assert written == {1: "8.00x, 0.50x", 0: "0.50x"}


# What is refused.


@pytest.mark.parametrize(
    ("outputs", "expected", "error"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], 0.0),
        ([[1.0, 2.5]], [[1.0, 2.0]], 0.25),
        ([[1.0], [4.0]], [[1.0], [8.0]], 0.5),
        ([[0.0, 1e-9]], [[0.0, 0.0]], math.inf),
        ([[1.0, math.nan]], [[1.0, math.nan]], math.inf),
        ([[1.0, 1.0]], [[1.0]], math.inf),
        ([], [[1.0]], math.inf),
    ],
)
def test_difference(outputs, expected, error):
    arrays = [[np.array(a) for a in both] for both in (outputs, expected)]
    assert difference(*arrays) == error


@pytest.mark.parametrize("culprit", ["hand", "NCHW eager"])
def test_a_wrong_output_is_never_timed(culprit, monkeypatch):
    monkeypatch.setattr(rows, "interleaved", lambda *_, **__: pytest.fail("it was timed"))
    right = program([1.0, 2.0])
    found = {"hand": right, "NCHW eager": right, culprit: program([1.0, 2.1])}
    with pytest.raises(Disagreement, match=f"conv dx: {culprit} is off by 5.0e-02"):
        rows.measure(
            *("conv", "dx", found["hand"], right, {"NCHW eager": found["NCHW eager"]}),
            tolerance=1e-4,
            repeats=1,
            seconds=0.1,
        )


def test_a_row_that_looks_slower_is_measured_again(monkeypatch):
    times = iter([2.0, 0.5])

    def fake(calls, **_):
        return {name: Timing((next(times) if name == "hand" else 1.0,)) for name in calls}

    monkeypatch.setattr(rows, "interleaved", fake)
    right = program([1.0])
    known = rows.measure(
        "conv", "dx", right, right, {}, tolerance=1e-4, repeats=1, seconds=0.1, flops=None
    )
    assert known.ratio == 2.0


def test_steps_of_a_loop_are_divided_out(monkeypatch):
    times = {"hand": 2.0, "automatic": 4.0, "hand in scan": 6.0, "automatic in scan": 30.0}
    monkeypatch.setattr(
        rows, "interleaved", lambda calls, **_: {name: Timing((times[name],)) for name in calls}
    )
    right = program([1.0])
    wrong = program([2.0])

    def measured(scan):
        return rows.measure_step(
            *("step/post", (right, right), scan, {}),
            steps=(3, 2),
            tolerance=1e-4,
            repeats=1,
            seconds=0.1,
            flops=12,
        )

    alone, scan = measured((right, right))
    assert (alone.what, alone.hand.median, alone.ratio) == ("alone", 2.0, 2.0)
    assert (scan.what, scan.hand.median, scan.ratio, scan.rate) == ("scan", 2.0, 7.5, 6.0)
    with pytest.raises(Disagreement, match="step/post scan: hand is off"):
        measured((wrong, right))


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
        assert re.search(rf"^{r['case']} {r['what']} .* {report.times(ratio)} ", out, re.MULTILINE)
    assert "geometric mean of 8 rows" in out
    assert _has_color(picture, (0x44, 0x77, 0xAA))


def _has_color(picture, color):
    from PIL import Image

    return bool((np.asarray(Image.open(picture).convert("RGB")) == color).all(-1).any())


def test_whole_networks_alone_and_in_a_loop(monkeypatch, capsys, tmp_path):
    from jaxcnn.bench import machine

    monkeypatch.setattr(machine, "matrix_product_rate", lambda: 1e9)
    monkeypatch.setattr(steps, "BATCH", 4)
    monkeypatch.setattr(steps.batch, "__defaults__", (4, "post"))
    data = tmp_path / "rows.json"
    cases = ("step/mobilenet/bfloat16", "evaluation/mobilenet")
    assert Bench(cases=cases, repeats=1, seconds=0.01, torch=False, json=data).run() == 0
    found = [(r["case"], r["what"]) for r in json.loads(data.read_text())["rows"]]
    names = ("evaluation/mobilenet", "step/mobilenet/bfloat16", "evaluation/mobilenet/bfloat16")
    assert found == [(name, what) for name in names for what in ("alone", "scan")]
    assert (
        "networks, speed-up against automatic: geometric mean of 6 rows" in capsys.readouterr().out
    )


def test_a_wrong_loop_in_bfloat16_is_told_from_the_float32_one():
    right, wrong = program([1.0]), program([0.5])
    with pytest.raises(Disagreement, match="step/post scan: hand is off by 5"):
        rows.measure_step(
            *("step/post", (right, wrong), (wrong, wrong), {}),
            expected=(right, right),
            steps=(1, 1),
            tolerance=0.1,
            repeats=1,
            seconds=0.01,
            flops=1,
        )


@pytest.mark.parametrize("network", ["resnet", "mobilenet"])
def test_every_layer_of_a_network_takes_part(network):
    images, labels = steps.batch(2, network)
    state, step = steps.state_and_step(network, jaxcnn)
    _, _, trace = steps.loss_and_params(jax.jit(step)(state, images, labels))
    assert {name: a["w"].shape for name, a in trace.items()} == networks.NETWORKS[network].shapes
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(trace))


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


# Forms.


# PyTorch.

PEERS = (
    *TINY,
    Case("conv", (2, 7, 3), (3,), 4, dilation=2),
    Case("conv", (2, 6, 7, 4), (3, 2), 4, groups=2),
    Case("conv", (2, 4, 4, 5, 2), (3, 3, 3), 4, strides=2),
    Case("conv_transpose", (2, 4, 4, 3), (3, 3), 2, strides=2),
    Case("conv_transpose", (2, 4, 4, 3), (3, 3), 2, strides=2, padding=((1, 2), (1, 2))),
    Case("conv_transpose", (2, 5, 3), (2,), 2, strides=3),
    Case("max_pool", (2, 6, 6, 3), (3, 3), strides=2, padding=1),
    Case("max_pool", (2, 6, 6, 3), (3, 3), strides=2),
    Case("max_pool", (2, 9, 9, 3), (3, 3), dilation=2, padding="VALID"),
    Case("avg_pool", (2, 6, 6, 3), (3, 3), strides=2, padding=1),
    Case("avg_pool", (2, 6, 3), (2,)),
    Case("dense", (2, 5), features=3),
    Case("softmax", (2, 5)),
    Case("softmax_cross_entropy_with_integer_labels", (4, 3)),
)


@pytest.mark.parametrize("case", PEERS, ids=lambda case: f"{case.name}-{case.padding}")
def test_pytorch_computes_the_same(case):
    pytest.importorskip("torch")
    from jaxcnn.bench import torch_peer

    expected = layer_programs(case, reference)
    found = torch_peer.layer_programs(case)
    assert set(found) == set(case.passes)
    for what, modes in found.items():
        assert modes
        for p in modes.values():
            assert difference(p.outputs(), expected[what].outputs()) < 1e-5


@pytest.mark.parametrize("network", ["post", "resnet", "mobilenet"])
def test_pytorch_makes_the_same_step_and_evaluation(network, monkeypatch):
    pytest.importorskip("torch")
    from jaxcnn.bench import torch_peer

    batch = steps.batch(4, network)
    monkeypatch.setattr(steps, "batch", lambda **_: batch)
    params, rate = networks.parameters(network), (steps.LEARNING_RATE, steps.MOMENTUM)
    for found, expected in (
        (
            torch_peer.step_programs(network, params, *batch, *rate, compiled=False),
            steps.alone(network, jaxcnn),
        ),
        (
            torch_peer.evaluation_programs(network, params, batch[0], compiled=False),
            steps.evaluation(network, jaxcnn),
        ),
    ):
        assert set(found) == {"NCHW eager", "channels_last eager"}
        for p in found.values():
            assert difference(p.outputs(), expected.outputs()) < 1e-3


# Several devices.


def test_all_reduced_bytes_are_the_gradients(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(scaling, "DEVICES", (1, 2))
    found = scaling.measure("post", each=True, tolerance=1e-3, repeats=1, seconds=0.01)
    assert [(s.devices, s.batch) for s in found] == [(1, 128), (2, 256)]
    gradients = 4 * sum(g.size for g in jax.tree.leaves(networks.parameters("post")))
    assert found[0].all_reduced == 0
    assert gradients <= found[1].all_reduced <= gradients + 8
    assert found[1].rate == pytest.approx(256 / found[1].timing.median)
    report.plot_scaling(found, tmp_path / "scaling.png")
    assert _has_color(tmp_path / "scaling.png", (0x1F, 0x77, 0xB4))


def test_compiled_tells_its_memory():
    one = compiled(lambda x: x + 1, jnp.zeros(1024, jnp.float32))
    assert one.peak_bytes == 2 * 4096
    assert one.compile_seconds
    np.testing.assert_array_equal(one.outputs(), np.ones((1, 1024)))
