"""One row of the benchmark: programs that must agree, and then their times."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .program import Program, difference
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
    steps: Mapping[str, int] | None = None,
) -> Row:
    """Check the outputs of every program against the automatic one's, then time them in turn.

    Args:
        case: the row's name, as is what.
        what: the pass.
        hand: the hand-written rule's program.
        automatic: the reference's.
        torch: PyTorch's, by mode.
        tolerance: the largest difference, as a share of the largest element of an array.
        repeats: see `interleaved`, as is seconds.
        seconds: a program.
        flops: of one call or, where a program makes several steps, of one step.
        steps: steps that a call of "hand" and of "automatic" makes, 1 where left out.

    Raises:
        Disagreement: outputs differ.
    """
    expected = automatic.outputs()
    programs = {"hand": hand, "automatic": automatic, **torch}
    errors = {name: difference(p.outputs(), expected) for name, p in programs.items()}
    for name, error in errors.items():
        if not error <= tolerance:
            raise Disagreement(case, what, name, error, tolerance)

    def times() -> dict[str, Timing]:
        calls = {name: p.call for name, p in programs.items()}
        found = interleaved(calls, repeats=repeats, seconds=seconds, resting=torch)
        return {name: t / (steps or {}).get(name, 1) for name, t in found.items()}

    timed = times()
    row = Row(
        case,
        what,
        timed["hand"],
        timed["automatic"],
        {mode: timed[mode] for mode in torch},
        errors["hand"],
        flops,
        {"hand": hand.compile_seconds, "automatic": automatic.compile_seconds},
        {"hand": hand.peak_bytes, "automatic": automatic.peak_bytes},
    )
    if row.ratio < _SLOWER:
        timed = times()
        row = dataclasses.replace(
            row,
            hand=timed["hand"],
            automatic=timed["automatic"],
            torch={mode: timed[mode] for mode in torch},
        )
    return row


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
