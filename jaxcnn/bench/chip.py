"""The compiler of a chip that need not be there, and what it tells of a program.

The compiler of a TPU comes with `pip install libtpu` and runs on any x86 machine. It tells what a
program would read and write, and keep beside its operands; nothing runs, and nothing is timed. Its
own estimate of the time follows from the bytes, where it gives one at all.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Sharding

from .._errors import CommandError


@dataclass(frozen=True)
class Costs:
    """What the compiler tells of one program.

    Attributes:
        flops: additions and multiplications.
        bytes: read and written by all of its operations.
        temporaries: bytes kept beside arguments and results.
        seconds: the compiler's estimate, or None.
        compile_seconds: how long it took to compile.
        text: the compiled program.
    """

    flops: float
    bytes: float
    temporaries: int
    seconds: float | None
    compile_seconds: float
    text: str


def devices(topology: str) -> Sequence[Any]:
    """The devices of a topology such as v5e:2x2, described and not there.

    Raises:
        CommandError: there is no libtpu, or it does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise CommandError(
            "--compile-for tpu needs the TPU's compiler: pip install libtpu"
            " (Linux on x86; no TPU needed)."
        )
    # Without these it asks the network which machine of which pod this is, and lets in one process
    # at a time.
    for name, value in (
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_ACCELERATOR_TYPE", "v5litepod-4"),
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ):
        os.environ.setdefault(name, value)
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CommandError(f"libtpu does not start with topology {topology}: {reason}") from None
    return found.devices


def versions() -> str:
    """Of JAX and of the compiler."""
    return f"JAX {jax.__version__}, libtpu {metadata.version('libtpu')}"


def compile_for(sharding: Sharding, f: Callable[..., Any], *operands: Any) -> Costs:
    """Compile `f` for the device or devices of `sharding`, on which every operand lies.

    Args:
        sharding: where an operand lies that has no other: arrays and shapes of this machine.
        f: what to compile.
        operands: trees of arrays or of their shapes, with a `NamedSharding` where they have one.
    """

    def placed(a: Any) -> jax.ShapeDtypeStruct:
        named = isinstance(a, jax.ShapeDtypeStruct) and a.sharding is not None
        return a if named else jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)

    start = time.perf_counter()
    executable = jax.jit(f).lower(*jax.tree.map(placed, operands)).compile()
    seconds = time.perf_counter() - start
    costs: Any = executable.cost_analysis()
    memory: Any = executable.memory_analysis()
    estimate = costs.get("optimal_seconds", 0)
    return Costs(
        costs.get("flops", 0.0),
        costs["bytes accessed"],
        memory.temp_size_in_bytes,
        estimate if estimate > 0 else None,
        seconds,
        executable.as_text() or "",
    )
