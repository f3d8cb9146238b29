"""One run of the benchmark: what is measured in which order, printed, and written."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax

import jaxcnn
from jaxcnn import reference

from . import awake, distance, machine, networks, report, rows, scaling, steps
from .cases import Case
from .distance import Watch
from .layers import layer_programs
from .options import Options, Whole
from .program import Program
from .rows import Disagreement, Row


class Session:
    """The machine, its rate, and the options."""

    def __init__(self, options: Options):
        self.options = options
        self.torch = _torch(options)
        self.peak = machine.matrix_product_rate()
        self.machine: dict[str, Any] = machine.describe(self.torch) | {
            "matrix_product_flops": self.peak,
            "form": options.form,
            "awake": options.awake and jax.default_backend() == "cpu" and awake.possible(),
        }
        # Off the CPU a float32 product has ten bits or fewer by default, in every program. A step's
        # gradients have gone through eight layers.
        rounding = 1e-4 if jax.default_backend() == "cpu" else 1e-2
        self.tolerance = {"layer": rounding, "step": 10 * rounding, "bfloat16": 0.1}

    def compare(self, networks: Sequence[Whole], cases: Sequence[Case]) -> int:
        """Every row; returns the exit status, 1 where outputs disagree."""
        width = report.width(row.name for row in (*networks, *cases))
        print(report.heading(self.machine) + "\n")
        print(report.header(width), flush=True)
        measured: list[Row] = []
        wrong: list[Disagreement] = []
        try:
            for row in self._each(networks, cases, wrong):
                measured.append(row)
                print(report.line(row, width, self.peak), flush=True)
        finally:
            # An interrupted run keeps what it has.
            self._write({"rows": [rows.as_json(row) for row in measured]})
            if measured:
                print("\n" + report.summary(measured))
                if self.options.plot is not None:
                    report.plot(measured, self.options.plot)
        return _status(wrong)

    def scale(self, networks: Sequence[str]) -> int:
        """The step on several devices; returns the exit status, 1 where outputs disagree."""
        print(f"{jax.device_count()} x {self.machine['device']}; JAX {self.machine['jax']}")
        if jax.default_backend() == "cpu":
            print(
                f"simulated devices: they share the machine's {self.machine['cores']} cores"
                if jax.device_count() > 1
                else "1 device only; JAX_NUM_CPU_DEVICES=8 simulates more"
            )
        print("\n" + report.SCALING_HEADER, flush=True)
        measured: list[scaling.Scaling] = []
        wrong: list[Disagreement] = []
        for network in networks:
            for each in (False, True) if jax.device_count() > 1 else (False,):
                try:
                    found = scaling.measure(
                        network,
                        each=each,
                        tolerance=self.tolerance["step"],
                        repeats=self.options.repeats,
                        seconds=self.options.seconds,
                    )
                except Disagreement as disagreement:
                    wrong.append(disagreement)
                    print(f"WRONG {disagreement}", flush=True)
                    continue
                measured += found
                print("\n".join(report.scaling_lines(found)), flush=True)
        if self.options.plot is not None and measured:
            report.plot_scaling(measured, self.options.plot)
        self._write({"scaling": [report.scaling_json(s) for s in measured]})
        return _status(wrong)

    def _write(self, result: dict[str, Any]) -> None:
        if self.options.json is not None:
            text = json.dumps({"machine": self.machine, **result}, indent=1)
            self.options.json.write_text(text + "\n")

    def _each(
        self, networks: Sequence[Whole], cases: Sequence[Case], wrong: list[Disagreement]
    ) -> Iterator[Row]:
        """Every row, as it is measured; a case that disagrees in one pass has no other."""

        def told(measuring: Iterator[Row]) -> Iterator[Row]:
            try:
                yield from measuring
            except Disagreement as disagreement:
                wrong.append(disagreement)
                print(f"WRONG {disagreement}", flush=True)

        with distance.of_cores() as apart:
            watch = Watch(apart, self.options.near)
            for row in networks:
                yield from told(self._network(row, watch))
            with awake.cores() if self.machine["awake"] else nullcontext():
                for case in cases:
                    yield from told(self._layer(case, watch))

    def _layer(self, case: Case, watch: Watch) -> Iterator[Row]:
        try:
            hand = layer_programs(case, jaxcnn)
        except (TypeError, ValueError) as error:
            if self.options.form is None:
                raise
            reason = str(error).splitlines()[0]
            print(f"{case.name}: --form {self.options.form} does not fit: {reason}")
            return
        automatic = layer_programs(case, reference)
        peer: dict[str, Any] = {}
        if self.torch is not None and case.mapped is None:
            compiled = self.options.torch_compile == "all"
            peer = self.torch.layer_programs(case, compiled=compiled)
        for what in case.passes:
            yield rows.measure(
                case.name,
                what,
                hand[what],
                automatic[what],
                peer.get(what, {}),
                tolerance=self.tolerance["layer"],
                repeats=self.options.repeats,
                seconds=self.options.seconds,
                flops=None if what == "both" else case.flops,
                watch=watch,
            )

    def _network(self, row: Whole, watch: Watch) -> Iterator[Row]:
        network, dtype = row.network, row.dtype
        if row.kind in ("vmap", "per_example"):
            hand, automatic = (
                steps.mapped(row.kind, row.network, layers) for layers in (jaxcnn, reference)
            )
            yield rows.measure(
                row.name,
                "gradient",
                hand,
                automatic,
                {},
                tolerance=self.tolerance["step"],
                repeats=self.options.repeats,
                seconds=2 * self.options.seconds,
                watch=watch,
            )
            return
        evaluation = partial(steps.evaluation, size=row.images)
        in_scan = partial(steps.evaluation_in_scan, size=row.images)
        one, loop = {
            "step": (steps.alone, steps.in_scan),
            "evaluation": (evaluation, in_scan),
        }[row.kind]
        peer: dict[str, Any] = {}
        if self.torch is not None:
            compiled = self.options.torch_compile != "never"
            params, images, labels = (
                networks.parameters(network, dtype),
                *steps.batch(row.images, network),
            )
            if row.kind == "step":
                rate = steps.LEARNING_RATE, steps.MOMENTUM
                peer = self.torch.step_programs(
                    network, params, images, labels, *rate, compiled=compiled
                )
            else:
                at_once = steps.at_once(network, len(images), dtype)
                peer = self.torch.evaluation_programs(
                    network, params, images, compiled=compiled, at_once=at_once
                )
        # XLA may take seconds for a step that autodiff derives, once it is inside a loop.
        many = steps.CHUNK, 1
        yield from rows.measure_step(
            row.name,
            (one(network, jaxcnn, dtype=dtype), one(network, reference, dtype=dtype)),
            (
                loop(network, jaxcnn, many[0], dtype=dtype),
                loop(network, reference, many[1], dtype=dtype),
            ),
            peer,
            expected=None if dtype == "float32" else self._in_float32(one, loop, network),
            steps=many,
            tolerance=self.tolerance["step" if dtype == "float32" else dtype],
            repeats=self.options.repeats,
            seconds=2 * self.options.seconds,
            flops=networks.flops(network, row.images or steps.BATCH)[row.kind],
            watch=watch,
        )

    def _in_float32(self, one: Any, loop: Any, network: str) -> tuple[Program, Program]:
        """What a row in bfloat16 is compared with.

        Autodiff itself sums db in bfloat16, and loses half of it. In a loop the hand-written rules
        serve, which the row in float32 compares with autodiff's: those would take minutes there.
        """
        return one(network, reference), loop(network, jaxcnn, 2)


def _status(wrong: Sequence[Disagreement]) -> int:
    for disagreement in wrong:
        print(f"wrong: {disagreement}", file=sys.stderr)
    return 1 if wrong else 0


def _torch(options: Options) -> Any:
    """The module of PyTorch's programs, or None where there is none to measure."""
    if not options.torch:
        return None
    try:
        from . import torch_peer
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        return None
    # Beside another device it would be no comparison.
    there = torch_peer.use(jax.default_backend(), tf32=machine.tf32())
    return torch_peer if there else None
