"""`jaxcnn bench`: hand-written gradients against automatic ones, and PyTorch beside them.

Every row is one pass of one layer, or the training step. Its programs run in one process, one
sample of each in turn, and only after their outputs have been found equal to the reference's.
Nothing heavy is imported before it runs.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxcnn._errors import CommandError

if TYPE_CHECKING:
    from jaxcnn._bench.rows import Row

NETWORKS = ("post", "wide")


@dataclass(frozen=True)
class Bench:
    """Time every layer and the training step on this machine, hand-written against automatic.

    Rows are printed as they are measured; the last lines hold the geometric mean and the worst.
    """

    cases: tuple[str, ...] = ()
    """Rows to run: parts of their names, patterns with * or ?, or the groups step, known (slow in
    XLA), network and more. All where left out."""
    list: bool = False
    """Print the names of the cases, and measure nothing."""
    repeats: int = 20
    """Samples of each program."""
    seconds: float = 2.0
    """For the samples of one program; one that is too slow gets fewer, three at least."""
    torch: bool = True
    """Measure PyTorch too, where it is installed."""
    torch_compile: Literal["steps", "all", "never"] = "steps"
    """Where PyTorch's modes include torch.compile, which takes long to compile."""
    json: Path | None = None
    """File to write every sample to."""
    plot: Path | None = None
    """File to draw the ratios in, PNG or what else matplotlib writes."""
    form: str | None = None
    """Force this way of putting convolutions to XLA (see jaxcnn._correlate)."""

    def run(self) -> int:
        """Measure; returns the exit status, 1 where outputs disagree."""
        from jaxcnn._bench.cases import CASES, matches

        layers = [c for c in CASES if matches(c.name, c.group, self.cases)]
        steps = [n for n in NETWORKS if matches(f"step/{n}", "step", self.cases)]
        if not layers and not steps:
            raise CommandError(f"--cases {' '.join(self.cases)}: no such case; see --list")
        if self.list:
            print("\n".join([f"step/{n}" for n in steps] + [case.name for case in layers]))
            return 0
        return _Session(self).run(layers, steps)


class _Session:
    """One run: the machine's rate, the rows so far, the disagreements."""

    def __init__(self, options: Bench):
        import jax

        from jaxcnn._bench import machine

        self.options = options
        self.torch = _torch(options)
        self.peak = machine.matrix_product_rate()
        self.machine = machine.describe(self.torch) | {"matrix_product_flops": self.peak}
        # Off the CPU a float32 product has the ten bits of TF32 by default, in every program. A
        # step's gradients have gone through eight layers.
        rounding = 1e-4 if jax.default_backend() == "cpu" else 1e-2
        self.tolerance = {"layer": rounding, "step": 10 * rounding}

    def run(self, layers, steps) -> int:
        from jaxcnn._bench import report
        from jaxcnn._bench.rows import Disagreement

        names = [f"step/{n}" for n in steps] + [case.name for case in layers]
        width = max(map(len, names)) + 10
        print(f"{self.machine['device']}; JAX {self.machine['jax']}; times in ms, median ± spread")
        print(f"a 2048-cubed matrix product: {self.peak / 1e9:.0f} GFLOP/s\n")
        print(report.header(width), flush=True)
        rows: list[Row] = []
        wrong: list[Disagreement] = []
        for measuring in self._all(layers, steps):
            try:
                for row in measuring:
                    rows.append(row)
                    print(report.line(row, width, self.peak), flush=True)
            except Disagreement as disagreement:
                wrong.append(disagreement)
                print(f"WRONG {disagreement}", flush=True)
        if rows:
            print("\n" + report.summary(rows))
        self._write(rows)
        for disagreement in wrong:
            print(f"wrong: {disagreement}", file=sys.stderr)
        return 1 if wrong else 0

    def _write(self, rows: "list[Row]") -> None:
        from jaxcnn._bench import report

        if self.options.json is not None:
            text = json.dumps(report.document(rows, self.machine), indent=1)
            self.options.json.write_text(text + "\n")
        if self.options.plot is not None and rows:
            report.plot(rows, self.options.plot)

    def _all(self, layers, steps) -> Iterator[Iterator["Row"]]:
        for network in steps:
            yield self._step(network)
        for case in layers:
            yield self._layer(case)

    def _layer(self, case) -> Iterator["Row"]:
        import jaxcnn
        from jaxcnn import reference
        from jaxcnn._bench.layers import layer_programs
        from jaxcnn._bench.rows import measure

        hand = layer_programs(case, jaxcnn)
        automatic = layer_programs(case, reference)
        peer: dict[str, Any] = {}
        if self.torch is not None:
            compiled = self.options.torch_compile == "all"
            peer = self.torch.layer_programs(case, compiled=compiled)
        for what in case.passes:
            yield measure(
                case.name,
                what,
                hand[what],
                automatic[what],
                peer.get(what, {}),
                tolerance=self.tolerance["layer"],
                repeats=self.options.repeats,
                seconds=self.options.seconds,
                flops=None if what == "both" else case.flops,
            )

    def _step(self, network: str) -> Iterator["Row"]:
        import jaxcnn
        from jaxcnn import reference
        from jaxcnn._bench import steps
        from jaxcnn._bench.rows import measure

        common: dict[str, Any] = dict(
            tolerance=self.tolerance["step"],
            repeats=self.options.repeats,
            seconds=2 * self.options.seconds,
            flops=steps.flops(network),
        )
        hand = steps.alone(network, jaxcnn)
        automatic = steps.alone(network, reference)
        peer = {}
        if self.torch is not None:
            peer = self.torch.step_programs(
                steps.parameters(network),
                *steps.batch(),
                steps.LEARNING_RATE,
                steps.MOMENTUM,
                compiled=self.options.torch_compile != "never",
            )
        yield measure(f"step/{network}", "alone", hand, automatic, peer, **common)
        # XLA may take seconds for a step that autodiff derives, once it is inside a loop.
        many = {"hand": steps.CHUNK, "automatic": 1}
        hand = steps.in_scan(network, jaxcnn, many["hand"])
        automatic = steps.in_scan(network, reference, many["automatic"])
        yield measure(f"step/{network}", "scan", hand, automatic, {}, steps=many, **common)


def _torch(options: Bench) -> Any:
    """The module of PyTorch's programs, or None where there is none to measure."""
    import jax

    if not options.torch or jax.default_backend() != "cpu":
        return None
    try:
        from jaxcnn._bench import torch_peer
    except ModuleNotFoundError:
        return None
    torch_peer.threads()
    return torch_peer


if __name__ == "__main__":
    import tyro

    raise SystemExit(tyro.cli(Bench).run())
