"""The training step on 1, 2, 4 and 8 devices: the batch sharded, the parameters on every one."""

import re
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import jaxcnn

from ..mnist.machine import distributed
from . import steps
from .program import Program, compiled, difference
from .rows import Disagreement
from .timing import Timing, interleaved

DEVICES = (1, 2, 4, 8)

_ALL_REDUCE = re.compile(r"= (.*?) all-reduce(?:-start)?\(")
_ARRAY = re.compile(r"\b[a-z]+(\d+)\[([\d,]*)\]")


@dataclass(frozen=True)
class Scaling:
    """The step of one network on so many devices.

    Attributes:
        network: "post" or "wide".
        devices: how many share the batch.
        each: whether every device has a batch of its own, or all share one.
        batch: examples a step, over all devices together.
        timing: seconds a step.
        all_reduced: bytes that a step sums over the devices.
    """

    network: str
    devices: int
    each: bool
    batch: int
    timing: Timing
    all_reduced: int

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.batch / self.timing.median


def sharded_step(network: str, devices: int, batch: int) -> Program:
    """The hand-written step with its batch over the first `devices` devices."""
    mesh = distributed.data_mesh(devices)
    state, step = steps.state_and_step(network, jaxcnn)
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    images, labels = (jax.device_put(a, sharding) for a in steps.batch(batch, network))
    return compiled(
        step, distributed.replicate(state, mesh), images, labels, select=steps.loss_and_params
    )


def all_reduced_bytes(text: str) -> int:
    """The bytes that the all-reduces of a compiled program give back."""
    return sum(
        int(bits) // 8 * int(np.prod([int(n) for n in shape.split(",") if n]))
        for result in _ALL_REDUCE.findall(text)
        for bits, shape in _ARRAY.findall(result)
    )


def measure(
    network: str, *, each: bool, tolerance: float, repeats: int, seconds: float
) -> list[Scaling]:
    """The step on 1, 2, 4 and 8 devices, as far as they exist.

    Args:
        network: "post" or "wide".
        each: whether every device has a batch of its own, so that the batch grows with them; else
            they share one.
        tolerance: of the loss and the new parameters from those of one device.
        repeats: see `interleaved`, as is seconds.
        seconds: a program.

    Raises:
        Disagreement: another number of devices has another result.
    """
    counts = [n for n in DEVICES if n <= jax.device_count()]
    programs = {n: sharded_step(network, n, steps.BATCH * (n if each else 1)) for n in counts}
    for n, program in programs.items():
        alone = sharded_step(network, 1, steps.BATCH * n) if each else programs[1]
        error = difference(program.outputs(), alone.outputs())
        if not error <= tolerance:
            raise Disagreement(f"step/{network}", f"on {n} devices", "hand", error, tolerance)
    timings = interleaved(
        {str(n): p.call for n, p in programs.items()}, repeats=repeats, seconds=seconds
    )
    return [
        Scaling(
            network,
            n,
            each,
            steps.BATCH * (n if each else 1),
            timings[str(n)],
            all_reduced_bytes(program.text),
        )
        for n, program in programs.items()
    ]
