"""The benchmark as a table, as JSON and as a picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .distance import FAR
from .rows import Row
from .scaling import Scaling
from .timing import Timing

_HEADER = ("hand-written", "automatic", "speed-up", "PyTorch", "speed-up", "of peak", "apart")

# A row whose samples spread by more says little.
_STEADY = 0.25


def heading(machine: Mapping[str, Any]) -> str:
    """What was measured on, and what the columns hold."""
    lines = [
        f"{machine['device']}; JAX {machine['jax']}, PyTorch {machine['torch'] or 'not measured'}"
    ]
    onednn = machine["onednn"]
    engine = f"oneDNN in {' and '.join(onednn)}, else XLA" if onednn else "XLA"
    lines.append(f"convolutions by {engine}")
    if machine["tf32"]:
        lines.append("float32 products have TF32's ten bits, in JAX and in PyTorch")
    peak = machine["matrix_product_flops"] / 1e9
    lines.append(f"a 2048-cubed float32 matrix product runs at {peak:.0f} GFLOP/s")
    if not machine["asynchronous"]:
        lines.append("JAX runs a program in the thread that calls it, as PyTorch does")
    if machine["batch"]:
        lines.append("Linux lets no thread interrupt another when it wakes (SCHED_BATCH)")
    if machine["awake"]:
        lines.append("beside single layers every core is kept awake, by a process that gives way")
    lines.append("milliseconds, median ± half the distance of the quartiles")
    lines.append("apart: microseconds that a byte takes from the first core to the last and back")
    lines.append("=: both sides are the same compiled program, and their times differ by chance")
    return "\n".join(lines)


def width(names: Iterable[str]) -> int:
    """Of the column of names, each with its longest pass."""
    return max(map(len, names)) + 10


def header(width: int) -> str:
    """The table's first lines, for names of at most this width."""
    columns = f"{_HEADER[0]:>16}{_HEADER[1]:>16}{_HEADER[2]:>9}{_HEADER[3]:>16}{_HEADER[4]:>9}"
    line = f"{'case':<{width}}{columns}{_HEADER[5]:>9}{_HEADER[6]:>7}"
    return f"{line}\n{'-' * len(line)}"


def line(row: Row, width: int, peak: float) -> str:
    """One row of the table."""
    text = f"{row.case + ' ' + row.what:<{width}}"
    for timing in (row.hand, row.automatic):
        text += _time(timing)
    text += f"{times(row.ratio) + ('=' if row.same else ''):>9}"
    mode = row.best_torch
    if mode is None or row.torch_ratio is None:
        text += f"{'-':>16}{'-':>9}"
    else:
        text += f"{_time(row.torch[mode])}{times(row.torch_ratio):>9}"
    text += f"{row.rate / peak:>9.0%}" if row.rate is not None else f"{'-':>9}"
    text += f"{1e6 * max(row.apart):>7.2f}" if row.apart else f"{'-':>7}"
    return f"{text}  {mode}" if mode else text


def _time(timing: Timing) -> str:
    return f"{milliseconds(timing.median):>11}{f'±{timing.spread:.0%}':>5}"


def milliseconds(seconds: float) -> str:
    """Such as 0.123 or 45.6: three digits that count."""
    ms = 1e3 * seconds
    return f"{ms:.3f}" if ms < 1 else f"{ms:.2f}" if ms < 10 else f"{ms:.1f}"


def times(ratio: float) -> str:
    """Such as 12x."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean of ratios."""
    logs = [math.log(r) for r in ratios]
    return math.exp(sum(logs) / len(logs))


def summary(rows: Sequence[Row]) -> str:
    """Geometric means and worst ratios, and what is told of the steps alone."""
    lines = []
    steps = [row for row in rows if row.case.startswith(("step/", "evaluation/"))]
    mapped = [row for row in rows if row.case.startswith(("vmap/", "per_example/"))]
    for title, chosen in (
        ("layers", [row for row in rows if row not in (*steps, *mapped)]),
        ("networks", steps),
        ("under vmap", mapped),
    ):
        against = {
            "automatic": [(row.ratio, row) for row in chosen],
            "PyTorch": [(r, row) for row in chosen if (r := row.torch_ratio) is not None],
        }
        for peer, ratios in against.items():
            if not ratios:
                continue
            mean = geometric_mean(ratio for ratio, _ in ratios)
            text = f"{title}, speed-up against {peer}: geometric mean of {len(ratios)} rows"
            text += f" {times(mean)}"
            # Chance is no worst.
            unlike = [(r, row) for r, row in ratios if peer == "PyTorch" or not row.same]
            if unlike:
                worst, row = min(unlike, key=lambda pair: pair[0])
                text += f", the worst {times(worst)}: {row.case} {row.what}"
            lines.append(text)
    by_chance = [row.ratio for row in rows if row.same]
    if by_chance:
        lines.append(
            f"{len(by_chance)} of {len(rows)} rows are the same compiled program on both sides, and"
            f" read {times(min(by_chance))} to {times(max(by_chance))}"
        )
    busy = sum(max(t.spread for t in _shown(row)) > _STEADY for row in rows)
    if busy:
        lines.append(
            f"{busy} of {len(rows)} rows spread by more than {_STEADY:.0%}: other programs ran"
            " beside them; believe them only when they come out the same on an idle machine"
        )
    distances = [d for row in rows for d in row.apart]
    near = min(distances, default=0.0)
    far = sum(max(row.apart, default=0.0) > FAR * near for row in rows)
    if far:
        lines.append(
            f"{far} of {len(rows)} rows were timed while the cores were up to"
            f" {1e6 * max(distances):.2f} us apart, not {1e6 * near:.2f}: what one thread hands to"
            " another is slower then"
        )
    compiled = [(row.compile_seconds.get("hand") or 0.0, row) for row in rows]
    if compiled:
        slowest, row = max(compiled, key=lambda pair: pair[0])
        automatic = row.compile_seconds.get("automatic") or 0.0
        lines.append(
            f"slowest to compile: {slowest:.1f} s, automatic {automatic:.1f} s:"
            f" {row.case} {row.what}"
        )
    lines += _of_the_steps({(row.case, row.what): row for row in steps})
    return "\n".join(lines)


def _shown(row: Row) -> list[Timing]:
    mode = row.best_torch
    return [row.hand, row.automatic, *([row.torch[mode]] if mode else [])]


def _of_the_steps(rows: Mapping[tuple[str, str], Row]) -> list[str]:
    lines = []
    for (case, what), row in rows.items():
        if what == "alone":
            seconds, peaks = row.compile_seconds, row.peak_bytes
            text = []
            if seconds.get("hand") and seconds.get("automatic"):
                hand, automatic = seconds["hand"] or 0.0, seconds["automatic"] or 1.0
                text.append(
                    f"compile time {hand:.2f} s, automatic {automatic:.2f} s"
                    f" ({hand / automatic:.2f} of it)"
                )
            if peaks.get("hand") and peaks.get("automatic"):
                hand, automatic = peaks["hand"] or 0, peaks["automatic"] or 1
                text.append(
                    f"peak memory {hand / 2**20:.1f} MiB, automatic {automatic / 2**20:.1f} MiB"
                    f" ({hand / automatic:.2f} of it)"
                )
            lines += [f"{case}: {'; '.join(text)}"] if text else []
        elif (case, "alone") in rows:
            share = row.hand.median / rows[case, "alone"].hand.median
            lines.append(f"{case}: inside a scan {share:.2f} of one alone")
    return lines


def plot(rows: Sequence[Row], path: Path) -> None:
    """Each row's speed as a multiple of autodiff's (bars) and of PyTorch's (diamonds)."""
    from matplotlib.figure import Figure

    chosen = list(reversed(rows))
    figure = Figure(figsize=(9, 1.6 + 0.22 * len(chosen)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(chosen))
    axes.barh(places, [row.ratio - 1 for row in chosen], left=1, color="#4477aa", height=0.7)
    peers = [(i, r) for i, row in enumerate(chosen) if (r := row.torch_ratio) is not None]
    if peers:
        axes.plot([r for _, r in peers], [i for i, _ in peers], "D", color="#cc6677", markersize=4)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # Room for the numbers on the right.
    axes.set_xlim(min(low, 0.5), 1.5 * max(high, 2))
    for i, row in enumerate(chosen):
        ratios = [row.ratio, *([] if row.torch_ratio is None else [row.torch_ratio])]
        axes.annotate(
            ", ".join(map(times, ratios)),
            (max(1, *ratios), i),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
        )
    axes.set_ylim(-0.7, len(chosen) - 0.3)
    axes.set_yticks(places, [f"{row.case}  {row.what}" for row in chosen], fontsize=7)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("Hand-written rules: how many times as fast as")
    figure.legend(
        [axes.patches[0], *axes.lines[:1]] if peers else [axes.patches[0]],
        ["jax.grad of the reference", "PyTorch at its best"][: 1 + bool(peers)],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path, dpi=120)


SCALING_HEADER = (
    f"{'step':<12}{'devices':>8}{'batch':>7}{'ms':>9}{'spread':>8}{'examples/s':>12}"
    f"{'scaling':>9}{'all-reduced':>13}"
)


def scaling_lines(measured: Sequence[Scaling]) -> list[str]:
    """A line for each number of devices; its scaling is the rate over that of one device."""
    return [
        f"{'step/' + s.network:<12}{s.devices:>8}{s.batch:>7}{milliseconds(s.timing.median):>9}"
        f"{f'±{s.timing.spread:.0%}':>8}{s.rate:>12,.0f}{times(s.rate / measured[0].rate):>9}"
        f"{s.all_reduced / 2**10:>9.0f} KiB"
        for s in measured
    ]


def scaling_json(s: Scaling) -> dict[str, Any]:
    """What `--json` writes of one number of devices."""
    return {
        "network": s.network,
        "devices": s.devices,
        "batch_each": s.each,
        "batch": s.batch,
        "seconds": s.timing.samples,
        "examples_per_second": s.rate,
        "all_reduced_bytes": s.all_reduced,
    }


def plot_scaling(measured: Sequence[Scaling], path: Path) -> None:
    """Examples a second against devices, a line for each network and way of sharing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[tuple[str, bool], list[Scaling]] = {}
    for s in measured:
        lines.setdefault((s.network, s.each), []).append(s)
    for (network, each), points in lines.items():
        label = f"{network}, {points[0].batch} {'a device' if each else 'in all'}"
        axes.plot([s.devices for s in points], [s.rate for s in points], "o-", label=label)
    devices = sorted({s.devices for s in measured})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(devices, [str(n) for n in devices])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("devices")
    axes.set_ylabel("examples a second")
    axes.set_title("The training step on several devices")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
