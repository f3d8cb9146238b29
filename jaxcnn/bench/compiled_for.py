"""The rules and both steps, hand-written and automatic, by another chip's own compiler.

Bytes are what counts here: nearly all of a network's time on such a chip is memory traffic, and
the convolutions' own arithmetic is the same on both sides.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import jaxcnn
from jaxcnn import reference

from . import chip, networks, scaling, steps
from .cases import Case
from .chip import Costs, compile_for
from .layers import layer_passes
from .options import NETWORKS, Options, Whole

# The chip of every row, and then the chips of the step on four devices.
ONE = "v5e:1x1"
FOUR = "v5e:2x2"
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")

# More bytes than autodiff's by this factor count as more.
LEVEL = 1.1


@dataclass(frozen=True)
class Row:
    """One pass, hand-written and left to autodiff."""

    case: str
    what: str
    hand: Costs
    automatic: Costs

    @property
    def ratio(self) -> float:
        """The bytes of the hand-written program, as a multiple of autodiff's."""
        return self.hand.bytes / self.automatic.bytes


def layer_rows(case: Case, device: Any) -> Iterator[Row]:
    """Every pass of a layer."""

    def costs(layers: ModuleType) -> dict[str, Costs]:
        passes = layer_passes(case, layers, jax.eval_shape)
        return {
            what: compile_for(SingleDeviceSharding(device), f, *operands)
            for what, (f, operands) in passes.items()
        }

    hand, automatic = costs(jaxcnn), costs(reference)
    for what in case.passes:
        yield Row(case.name, what, hand[what], automatic[what])


def network_rows(row: Whole, device: Any) -> Iterator[Row]:
    """The training step, the evaluation or the gradients of one batch."""

    def costs(layers: ModuleType) -> Costs:
        if row.kind in ("vmap", "per_example"):
            program = steps.mapped_and_operands(row.kind, row.network, layers)
        else:
            network = row.network, layers, row.dtype
            program = (
                steps.step_and_operands(*network)
                if row.kind == "step"
                else steps.evaluation_and_operands(*network, row.images)
            )
        return compile_for(SingleDeviceSharding(device), *program)

    yield Row(row.name, "alone", costs(jaxcnn), costs(reference))


def sharded_step(network: str, topology: str) -> Costs:
    """The hand-written step, its batch over the devices of the topology."""
    mesh = Mesh(np.array(chip.devices(topology)), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    state, step = steps.state_and_step(network, jaxcnn)
    batch = [
        jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=split) for a in steps.batch(network=network)
    ]
    return compile_for(NamedSharding(mesh, PartitionSpec()), step, state, *batch)


def as_json(row: Row) -> dict[str, Any]:
    """The row without the programs' text."""

    def costs(c: Costs) -> dict[str, Any]:
        return {name: value for name, value in asdict(c).items() if name != "text"}

    return {
        "case": row.case,
        "what": row.what,
        "hand": costs(row.hand),
        "automatic": costs(row.automatic),
        "bytes_of_automatic": row.ratio,
    }


def run(options: Options, whole: Sequence[Whole], cases: Sequence[Case]) -> int:
    """Compile and print every row; returns the exit status, 1 where something does not compile."""
    # A TPU that is there stays free: nothing runs.
    jax.config.update("jax_platforms", "cpu")
    (device,) = chip.devices(ONE)
    print(f"compiled for {device.device_kind}; {chip.versions()}; nothing ran")
    width = max(len(row.name) for row in (*whole, *cases)) + 9
    print(
        f"MB read and written, MB of temporaries, GFLOP, µs that it estimates\n\n{_header(width)}"
    )
    rows: list[Row] = []
    failed: list[str] = []
    for name, compiling in (
        *((row.name, network_rows(row, device)) for row in whole),
        *((case.name, layer_rows(case, device)) for case in cases),
    ):
        try:
            for row in compiling:
                rows.append(row)
                print(_line(row, width), flush=True)
        except jax.errors.JaxRuntimeError as error:
            failed.append(name)
            print(f"DOES NOT COMPILE {name}: {str(error).splitlines()[0]}", flush=True)
    if rows:
        print("\n" + _summary(rows))
    chosen = [row.name for row in whole]
    sharded = [n for n in NETWORKS if f"step/{n}" in chosen]
    on_four = [_on_four(n, FOUR) for n in sharded]
    print("\n".join(["", *(text for text, _ in on_four)]) if on_four else "", end="\n")
    if options.json is not None:
        told = {"chip": device.device_kind, "versions": chip.versions()}
        table = {"rows": [as_json(row) for row in rows], "sharded": [told for _, told in on_four]}
        options.json.write_text(json.dumps(told | table, indent=1) + "\n")
    return 1 if failed else 0


def _header(width: int) -> str:
    line = (
        f"{'case':<{width}}{'MB':>9}{'automatic':>11}{'of it':>7}{'temp':>8}{'automatic':>11}"
        f"{'GFLOP':>8}{'automatic':>11}{'us':>8}{'automatic':>11}"
    )
    return f"{line}\n{'-' * len(line)}"


def _line(row: Row, width: int) -> str:
    hand, automatic = row.hand, row.automatic
    text = f"{row.case + ' ' + row.what:<{width}}"
    text += f"{hand.bytes / 1e6:>9.2f}{automatic.bytes / 1e6:>11.2f}{row.ratio:>7.2f}"
    text += f"{hand.temporaries / 1e6:>8.1f}{automatic.temporaries / 1e6:>11.1f}"
    text += f"{hand.flops / 1e9:>8.3f}{automatic.flops / 1e9:>11.3f}"
    return f"{text}{_microseconds(hand):>8}{_microseconds(automatic):>11}"


def _microseconds(costs: Costs) -> str:
    return "-" if costs.seconds is None else f"{costs.seconds * 1e6:.1f}"


def _summary(rows: Sequence[Row]) -> str:
    mean = float(np.exp(np.mean([np.log(row.ratio) for row in rows])))
    worst = max(rows, key=lambda row: row.ratio)
    more = sum(row.ratio > LEVEL for row in rows)
    return (
        f"bytes, as a share of automatic: geometric mean of {len(rows)} rows {mean:.2f}, the most"
        f" {worst.ratio:.2f}: {worst.case} {worst.what}; {more} rows above {LEVEL}"
    )


def _on_four(network: str, topology: str) -> tuple[str, dict[str, Any]]:
    """The sharded step in a line, and as JSON."""
    costs = sharded_step(network, topology)
    found = {name: len(re.findall(rf" {name}(?:-start)?\(", costs.text)) for name in COLLECTIVES}
    reduced = scaling.all_reduced_bytes(costs.text)
    text = ", ".join(f"{count} {name}" for name, count in found.items() if count)
    gradients = 4 * sum(a.size for a in jax.tree.leaves(networks.parameters(network)))
    return (
        f"step/{network} on {topology}: {text or 'no collective'}; {reduced:,} bytes reduced,"
        f" the gradients have {gradients:,}",
        {"step": network, "topology": topology, "collectives": found, "all_reduced_bytes": reduced},
    )
