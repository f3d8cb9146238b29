"""Times of several programs, taken in turn, so that a machine that slows down slows all of them."""

import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax

Thunk = Callable[[], Any]

# A sample lasts at least this long: short programs are called several times in it.
_SAMPLE_SECONDS = 2e-3
_CALLS = 50
# A program of this length hardly feels what ran before it.
_LONG_SECONDS = 0.2
_FEWEST = 3
_FEWEST_WARM = 2
# OpenMP's threads wait for 300,000 pauses, of 140 cycles each on Intel, before they sleep. The next
# program is called all that while: a machine left idle is slow when it wakes.
_SPINNING_SECONDS = 0.02


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one number a sample."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def __truediv__(self, steps: int) -> "Timing":
        return Timing(tuple(s / steps for s in self.samples))


def interleaved(
    programs: Mapping[str, Thunk],
    *,
    repeats: int = 20,
    seconds: float = 2.0,
    foreign: Collection[str] = (),
) -> dict[str, Timing]:
    """Time each program `repeats` times, one sample of each in turn, after a warm-up.

    Args:
        programs: by name, functions that return what they computed; all of it is waited for.
        repeats: samples of each program.
        seconds: a program too slow for that many samples in so much time gets fewer, three at
            least.
        foreign: programs of another library, to be named one after the other. The threads of a
            library go on spinning for a while after its last call.
    """
    calls, samples, short = {}, {}, {}
    for name, program in programs.items():
        once = _clock(program, 1)
        if once < seconds:
            once = min(_clock(program, 1) for _ in range(2))
        calls[name] = max(1, min(_CALLS, round(_SAMPLE_SECONDS / once)))
        short[name] = once < _LONG_SECONDS
        per_sample = once * calls[name]
        samples[name] = max(min(_FEWEST, repeats), min(repeats, int(seconds / per_sample)))

    times: dict[str, list[float]] = {name: [] for name in programs}
    before = None
    for turn in range(max(samples.values(), default=0)):
        for name, program in programs.items():
            if turn >= samples[name]:
                continue
            library = name in foreign
            if short[name]:
                _warm(program, _SAMPLE_SECONDS if library == before else _SPINNING_SECONDS)
            before = library
            times[name].append(_clock(program, calls[name]))
    return {name: Timing(tuple(t)) for name, t in times.items()}


def _warm(program: Thunk, seconds: float) -> None:
    """Calls it, at least twice: its operands come back into the cache, and its threads awake.

    The second call still finds some of its temporaries in memory, where another program left them.
    """
    start, calls = time.perf_counter(), 0
    while calls < _FEWEST_WARM or time.perf_counter() - start < seconds:
        jax.block_until_ready(program())
        calls += 1


def _clock(program: Thunk, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(program())
    return (time.perf_counter() - start) / calls
