"""The benchmark's arithmetic on known times, and what it says of them."""

import dataclasses
import types

import pytest
from matplotlib.figure import Figure

from jaxcnn.bench import report, timing
from jaxcnn.bench.timing import Timing
from tests.bench.made import row


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


def test_rows_that_were_timed_while_the_cores_were_far_from_each_other_are_counted():
    near, nearly, far = (
        row([1.0], [1.0], apart=a) for a in ((2e-7, 2e-7), (2.5e-7,), (2e-7, 6e-7))
    )
    words = "1 of 4 rows were timed while the cores were up to 0.60 us apart, not 0.20"
    assert words in report.summary([near, nearly, far, row([1.0], [1.0])])
    assert "apart" not in report.summary([near, nearly, row([1.0], [1.0])])


def test_rows_of_the_same_program_on_both_sides_are_told_from_the_worst():
    slow, chance = row([2.0], [1.8]), row([2.0], [1.0], what="dw", same=True)
    text = report.summary([slow, chance])
    assert "geometric mean of 2 rows 0.67x, the worst 0.90x: conv/a dx" in text
    assert (
        "1 of 2 rows are the same compiled program on both sides, and read 0.50x to 0.50x" in text
    )
    assert "worst" not in report.summary([chance])
    assert "same" not in report.summary([slow])
    assert "0.50x=" in report.line(chance, 20, peak=1.0).split()
    # PyTorch's is another program in any case.
    peer = row([2.0], [1.0], {"eager": [1.5]}, same=True)
    assert "PyTorch: geometric mean of 1 rows 0.75x, the worst 0.75x" in report.summary([peer])


def test_line_of_known_times():
    known = row([0.002], [0.01], {"NCHW eager": [0.001]}, flops=4000, apart=(2.5e-7, 6.5e-7))
    words = report.line(known, 20, peak=8e6).split()
    assert words == [
        *("conv/a", "dx", "2.00", "±0%", "10.0", "±0%", "5.00x"),
        *("1.00", "±0%", "0.50x", "25%", "0.65"),
        *("NCHW", "eager"),
    ]
    assert report.line(row([0.002], [0.01]), 20, peak=1.0).split()[-4:] == ["-"] * 4


def test_the_picture_has_every_ratio_as_a_number(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **how: drawn.append(figure))
    rows = [row([1.0], [8.0], {"eager": [0.5]}), row([2.0], [1.0], what="dw")]
    report.plot(rows, tmp_path / "rows.png")
    axes = drawn[0].axes[0]
    # The last row is lowest.
    written = {round(text.xy[1]): text.get_text() for text in axes.texts}
    assert written == {1: "8.00x, 0.50x", 0: "0.50x"}
