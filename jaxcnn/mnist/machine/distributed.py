"""One machine or many: the start of JAX's own distributed runtime, and the mesh of devices.

The mesh has one axis, `data`. The numbers of a batch's examples are sharded along it, and all else
is replicated: every process holds the whole (small) data set, so which example comes when never
depends on how many devices there are.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ..._errors import CommandError

# A process that is gone is noticed after so many seconds, and all others stop.
HEARTBEAT_SECONDS = 20
SHUTDOWN_SECONDS = 20

# Handlers that C holds.
_KEPT_ALIVE: list[Any] = []


def start(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the other processes of the run, where there are others. Call before any computation.

    With no argument the processes are found by `jax.distributed.initialize()` where the
    environment tells of more than one: SLURM, Open MPI, a Kubernetes job, a Cloud TPU pod.

    Raises:
        CommandError: only some of the three are given, or the others cannot be reached.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == 3 and not _several_processes():
        return
    if 0 < len(missing) < 3:
        raise CommandError(
            f"{', '.join(missing)} missing: --coordinator HOST:PORT, --processes N and"
            " --process-id I go together."
        )
    if processes is not None and process_id is not None and not 0 <= process_id < processes:
        raise CommandError(
            f"--process-id {process_id} must be from 0 to {processes - 1}, one less than"
            f" --processes."
        )
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except Exception as error:
        where = f"--coordinator {coordinator}" if coordinator else "the processes of the job"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CommandError(f"{where} cannot be joined: {reason}") from None


def _several_processes() -> bool:
    def number(*names: str) -> int:
        return max((int(v) for n in names if (v := os.environ.get(n, "")).isdigit()), default=1)

    return (
        # Inside an allocation but outside srun, SLURM_NTASKS is set and no task is running.
        ("SLURM_STEP_ID" in os.environ and number("SLURM_STEP_NUM_TASKS") > 1)
        or number("OMPI_COMM_WORLD_SIZE") > 1
        or len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1
        or ("KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ)
    )


@contextmanager
def stopping_together(advice: Callable[[], str]) -> Generator[None]:
    """End this process, within seconds and with one line, when another of the run has died.

    A collective operation with a process that is gone fails at once where its connection breaks.
    Where it just falls silent, JAX's runtime aborts this process after `HEARTBEAT_SECONDS`, and it
    does so at once when the first process, which keeps the books, is gone.

    Args:
        advice: what to do next, for the end of the line.
    """

    def stop(reason: str) -> None:
        line = (
            "jaxcnn: error: another process of the run has died or cannot be reached"
            f" ({reason}). {advice()}\n"
        )
        os.write(sys.stderr.fileno(), line.encode())
        # An orderly exit would wait for the dead at a barrier.
        os._exit(2)

    if jax.process_count() == 1:
        yield
        return
    sys.stdout.flush()
    _on_abort(lambda: stop("its heartbeat stopped"))
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        sys.stdout.flush()
        stop(str(error).strip().splitlines()[0][:200].rstrip(". "))


def _on_abort(function: Callable[[], None]) -> None:
    """Call the function where C++ aborts this process, as JAX's runtime does without a peer.

    A Python handler would wait for the main thread, which is in a collective that never ends.
    """
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _KEPT_ALIVE.append(handler := kind(lambda _: function()))
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, kind), ctypes.c_void_p
    libc.signal(signal.SIGABRT, handler)


def is_first() -> bool:
    """Whether this process is the one that prints, and writes all but the checkpoints."""
    return jax.process_index() == 0


def data_mesh(devices: int | None = None) -> Mesh:
    """A mesh of one axis, `data`, over all devices, or the first so many.

    Raises:
        CommandError: there are fewer devices, or the processes would not share them evenly.
    """
    found = jax.devices()
    if devices is None:
        devices = len(found)
    if not 1 <= devices <= len(found):
        raise CommandError(
            f"--devices {devices}: there {_are(len(found))} here. On a CPU, XLA_FLAGS="
            f"--xla_force_host_platform_device_count={max(devices, 1)} simulates more."
        )
    if jax.process_count() > 1 and devices != len(found):
        raise CommandError(
            f"--devices {devices}: with {jax.process_count()} processes all {len(found)} devices"
            " take part; leave the flag out."
        )
    return Mesh(np.array(found[:devices]), ("data",), axis_types=(AxisType.Auto,))


def _are(n: int) -> str:
    return "is 1 device" if n == 1 else f"are {n} devices"


def check_batch(batch_size: int, mesh: Mesh, flag: str = "--batch-size") -> None:
    """Raise CommandError, with the nearest sizes that do, where a batch does not divide."""
    n = mesh.size
    if batch_size % n:
        below = batch_size // n * n
        nearest = f"{below} or {below + n}" if below else f"{n}"
        raise CommandError(
            f"{flag} {batch_size} does not divide among {n} devices: take {nearest}, or choose"
            " the number of devices with --devices."
        )


def like(tree: Any, mesh: Mesh) -> Any:
    """The shapes of a tree, told to be whole on every device."""
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole), tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Every array of a tree, whole, on every device."""
    return jax.tree.map(lambda x: _put(x, NamedSharding(mesh, PartitionSpec())), tree)


def shard_batches(order: np.ndarray, mesh: Mesh) -> jax.Array:
    """Integers `[steps, N]` with the batch axis N divided among the devices."""
    return _put(order, NamedSharding(mesh, PartitionSpec(None, "data")))


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    # Each process has the whole array at hand, so none has to hear from another.
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def any_process(flag: bool) -> bool:
    """Whether the flag is up in any process; every process must ask, and all get one answer."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def tell_all(text: str) -> str:
    """The text that the first process gave, in every process."""
    if jax.process_count() == 1:
        return text
    buffer = np.zeros(2**16, np.uint8)
    encoded = np.frombuffer(text.encode(), np.uint8)
    buffer[: encoded.size] = encoded
    heard = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
    return bytes(heard[heard > 0]).decode(errors="replace")
