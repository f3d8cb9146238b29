"""One row of the benchmark: programs that must agree, and then their times."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .distance import Watch
from .program import Program, difference, same
from .timing import Timing, interleaved

# A ratio below which a row is measured once more before it is believed.
_SLOWER = 1 / 1.15


@dataclass(frozen=True)
class Row:
    """The measurements of one pass of one case.

    Attributes:
        case: the case's name.
        what: the pass, such as "dx".
        hand: times of the hand-written rule, a step where the program makes several.
        automatic: times of `jax.grad` of the reference.
        torch: times of PyTorch by mode.
        error: the largest difference between hand-written and automatic, relative.
        flops: of one call, or None.
        compile_seconds: of "hand" and "automatic".
        peak_bytes: of "hand" and "automatic", see `Program`.
        apart: how far the cores were from each other, in seconds, before and after: see `distance`.
        same: whether hand-written and automatic are the same compiled program, whose times differ
            by chance.
    """

    case: str
    what: str
    hand: Timing
    automatic: Timing
    torch: Mapping[str, Timing] = field(default_factory=dict)
    error: float = 0.0
    flops: int | None = None
    compile_seconds: Mapping[str, float | None] = field(default_factory=dict)
    peak_bytes: Mapping[str, int | None] = field(default_factory=dict)
    apart: tuple[float, ...] = ()
    same: bool = False

    @property
    def ratio(self) -> float:
        """How many times faster than autodiff."""
        return self.automatic.median / self.hand.median

    @property
    def best_torch(self) -> str | None:
        """PyTorch's fastest mode."""
        return min(self.torch, key=lambda mode: self.torch[mode].median, default=None)

    @property
    def torch_ratio(self) -> float | None:
        """How many times faster than PyTorch at its best."""
        mode = self.best_torch
        return None if mode is None else self.torch[mode].median / self.hand.median

    @property
    def rate(self) -> float | None:
        """Multiplications and additions a second."""
        return None if self.flops is None else self.flops / self.hand.median


@dataclass(frozen=True)
class Disagreement(Exception):
    """A program whose outputs are not the reference's: its time would mean nothing."""

    case: str
    what: str
    program: str
    error: float
    tolerance: float

    def __str__(self) -> str:
        return (
            f"{self.case} {self.what}: {self.program} is off by {self.error:.1e} of the largest"
            f" element, more than {self.tolerance:.0e}"
        )


def measure(
    case: str,
    what: str,
    hand: Program,
    automatic: Program,
    torch: Mapping[str, Program],
    *,
    tolerance: float,
    repeats: int,
    seconds: float,
    flops: int | None = None,
    watch: Watch | None = None,
) -> Row:
    """Compare the outputs of every program with the automatic one's, then time them in turn.

    Args:
        case: the row's name, as is what.
        what: the pass.
        hand: the hand-written rule's program.
        automatic: the reference's.
        torch: PyTorch's, by mode.
        tolerance: the largest difference, as a share of the largest element of an array.
        repeats: see `interleaved`, as is seconds.
        seconds: a program.
        flops: of one call.
        watch: of the cores.

    Raises:
        Disagreement: outputs differ.
    """
    error = _checked(case, what, hand, automatic, torch, tolerance)
    calls = {name: p.call for name, p in {"hand": hand, "automatic": automatic, **torch}.items()}

    watch = watch or Watch()

    def timed() -> Row:
        times, apart = watch.over(
            lambda: interleaved(calls, repeats=repeats, seconds=seconds, foreign=torch)
        )
        return _row(case, what, times, (hand, automatic), torch, error, flops, apart)

    row = timed()
    return timed() if row.ratio < _SLOWER and not row.same else row


def measure_step(
    case: str,
    alone: tuple[Program, Program],
    scan: tuple[Program, Program],
    torch: Mapping[str, Program],
    *,
    expected: tuple[Program, Program] | None = None,
    steps: tuple[int, int],
    tolerance: float,
    repeats: int,
    seconds: float,
    flops: int,
    watch: Watch | None = None,
) -> tuple[Row, Row]:
    """A whole network's pass alone and in a loop, all of its programs timed in the same turns.

    PyTorch's loop is Python's, so its time in one is its time alone.

    Args:
        case: the rows' name.
        alone: one step or evaluation, hand-written and automatic.
        scan: a loop over them, likewise.
        torch: PyTorch's, by mode.
        expected: whose outputs all others must have, alone and in a loop; the automatic ones' by
            default.
        steps: how many a call of each loop makes.
        tolerance: see `measure`, as are repeats and seconds.
        repeats: samples of each program.
        seconds: a program.
        flops: of one of them.
        watch: of the cores.

    Raises:
        Disagreement: outputs differ.
    """
    right = expected or (alone[1], scan[1])
    alone_error = _checked(case, "alone", alone[0], right[0], torch, tolerance)
    scan_error = _checked(case, "scan", scan[0], right[1], {}, tolerance)
    programs = {"hand": alone[0], "hand in scan": scan[0], "automatic": alone[1], **torch}
    # The slowest comes last in a turn, and in the first few turns only.
    programs["automatic in scan"] = scan[1]
    calls = {name: p.call for name, p in programs.items()}
    times, apart = (watch or Watch()).over(
        lambda: interleaved(calls, repeats=repeats, seconds=seconds, foreign=torch)
    )
    in_scan = times | {
        "hand": times["hand in scan"] / steps[0],
        "automatic": times["automatic in scan"] / steps[1],
    }
    return (
        _row(case, "alone", times, alone, torch, alone_error, flops, apart),
        _row(case, "scan", in_scan, scan, torch, scan_error, flops, apart),
    )


def _checked(
    case: str,
    what: str,
    hand: Program,
    right: Program,
    torch: Mapping[str, Program],
    tolerance: float,
) -> float:
    """The difference of hand-written and expected, once all programs are found to agree."""
    expected = right.outputs()
    programs = {"hand": hand, **torch}
    errors = {name: difference(p.outputs(), expected) for name, p in programs.items()}
    for name, error in errors.items():
        if not error <= tolerance:
            raise Disagreement(case, what, name, error, tolerance)
    return errors["hand"]


def _row(
    case: str,
    what: str,
    times: Mapping[str, Timing],
    programs: tuple[Program, Program],
    torch: Mapping[str, Program],
    error: float,
    flops: int | None,
    apart: tuple[float, ...],
) -> Row:
    hand, automatic = programs
    return Row(
        case,
        what,
        times["hand"],
        times["automatic"],
        {mode: times[mode] for mode in torch},
        error,
        flops,
        {"hand": hand.compile_seconds, "automatic": automatic.compile_seconds},
        {"hand": hand.peak_bytes, "automatic": automatic.peak_bytes},
        apart,
        same(hand, automatic),
    )


def as_json(row: Row) -> dict[str, Any]:
    """The row with every sample, and the figures that follow from them."""
    return dataclasses.asdict(row) | {
        "hand": row.hand.samples,
        "automatic": row.automatic.samples,
        "torch": {mode: t.samples for mode, t in row.torch.items()},
        "median_seconds": {"hand": row.hand.median, "automatic": row.automatic.median}
        | {mode: t.median for mode, t in row.torch.items()},
        "times_faster_than_automatic": row.ratio,
        "times_faster_than_torch": row.torch_ratio,
        "torch_mode": row.best_torch,
    }


def from_json(row: Mapping[str, Any]) -> Row:
    """The row that `as_json` wrote."""
    given: dict[str, Any] = {f.name: row[f.name] for f in dataclasses.fields(Row)}
    given |= {name: Timing(tuple(given[name])) for name in ("hand", "automatic")}
    given["torch"] = {mode: Timing(tuple(t)) for mode, t in given["torch"].items()}
    given["apart"] = tuple(given["apart"])
    return Row(**given)


def together(rows: Sequence[Row]) -> Row:
    """The same row of several processes as one, with the samples of all."""

    def samples(timings: Iterable[Timing]) -> Timing:
        return Timing(tuple(s for t in timings for s in t.samples))

    first = rows[0]
    seconds = {
        name: statistics.median(found) if (found := _given(rows, name)) else None
        for name in first.compile_seconds
    }
    return dataclasses.replace(
        first,
        hand=samples(row.hand for row in rows),
        automatic=samples(row.automatic for row in rows),
        torch={mode: samples(row.torch[mode] for row in rows) for mode in first.torch},
        error=max(row.error for row in rows),
        compile_seconds=seconds,
        apart=tuple(d for row in rows for d in row.apart),
    )


def _given(rows: Sequence[Row], name: str) -> list[float]:
    return [s for row in rows if (s := row.compile_seconds[name]) is not None]
