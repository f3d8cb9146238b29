"""A row of the benchmark: outputs first, then times."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.bench import rows
from jaxcnn.bench.program import compiled, difference, same
from jaxcnn.bench.rows import Disagreement
from jaxcnn.bench.timing import Timing
from tests.bench.made import program


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


def test_a_row_of_the_same_program_is_not_measured_again(monkeypatch):
    def fake(calls, **_):
        return {name: Timing((2.0 if name == "hand" else next(once),)) for name in calls}

    once = iter([1.0])
    monkeypatch.setattr(rows, "interleaved", fake)
    right = compiled(jnp.sin, jnp.ones(3))
    known = rows.measure(
        "conv", "dx", right, right, {}, tolerance=1e-4, repeats=1, seconds=0.1, flops=None
    )
    assert (known.same, known.ratio) == (True, 0.5)


def test_the_same_program_under_other_names():
    def twice(x, y):
        return jnp.sin(x) - y.sum()

    def once_more(first, second):
        total = second.sum()
        return jnp.sin(first) - total

    x, y = jnp.ones((3, 5)), jnp.ones(4)
    known = compiled(twice, x, y)
    assert same(known, compiled(once_more, x, y))
    for other, operands in (
        (lambda x, y: jnp.cos(x) - y.sum(), (x, y)),
        (lambda x, y: y.sum() - jnp.sin(x), (x, y)),
        (lambda y, x: jnp.sin(x) - y.sum(), (y, x)),
        (twice, (jnp.ones((5, 3)), y)),
    ):
        assert not same(known, compiled(other, *operands))


def test_a_program_whose_constants_are_not_printed_is_the_same_as_none():
    numbers = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    one, other = (compiled(lambda x, n=n: x @ n, jnp.ones((64, 64))) for n in numbers)
    assert not same(one, other)
    assert not same(program([1.0]), program([1.0]))


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


def test_compiled_tells_its_memory():
    one = compiled(lambda x: x + 1, jnp.zeros(1024, jnp.float32))
    assert one.peak_bytes == 2 * 4096
    assert one.compile_seconds
    np.testing.assert_array_equal(one.outputs(), np.ones((1, 1024)))
