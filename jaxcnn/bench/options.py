"""What `jaxcnn bench` can be asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# The trainer's.
NETWORKS = ("post", "wide")


@dataclass(frozen=True)
class Whole:
    """A row of a whole network: its training step, or its evaluation."""

    kind: Literal["step", "evaluation"]
    network: str
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Such as step/post or evaluation/resnet/bfloat16."""
        dtype = () if self.dtype == "float32" else (self.dtype,)
        return "/".join((self.kind, self.network, *dtype))


WHOLE = tuple(
    Whole(kind, network, dtype)
    for dtype in ("float32", "bfloat16")
    for kind in ("step", "evaluation")
    for network in (*NETWORKS, "resnet", "mobilenet")
)


@dataclass(frozen=True)
class Options:
    """Time every layer and whole networks on this machine, hand-written against automatic.

    Rows are printed as they are measured, each after its outputs have been found equal to those of
    the reference; the last lines hold the geometric means and the worst.
    """

    cases: tuple[str, ...] = ()
    """Rows to run: parts of their names, patterns with * or ?, or the groups step and evaluation
    (of whole networks), known (slow in XLA), network and more. All where left out."""
    list: bool = False
    """Print the names of the cases, and measure nothing."""
    repeats: int = 20
    """Samples of each program."""
    seconds: float = 2.0
    """For the samples of one program; one that is too slow gets fewer, three at least."""
    torch: bool = True
    """Measure PyTorch too, where it is installed."""
    torch_compile: Literal["networks", "all", "never"] = "networks"
    """Where PyTorch's modes include torch.compile, which takes long to compile."""
    scaling: bool = False
    """Instead of the rows, the training step on 1, 2, 4 and 8 devices, as far as they exist."""
    compile_for: Literal["tpu"] | None = None
    """Instead of the times, what the compiler of a TPU v5e tells of every row: bytes, temporaries,
    operations, and the collectives of the step on four devices. It needs `pip install libtpu`, and
    no TPU."""
    form: str | None = None
    """Force a way of putting convolutions to XLA (jaxcnn/lowering lists them) to compare it with
    the chosen one; layers that it does not fit are left out."""
    json: Path | None = None
    """File to write every sample to."""
    plot: Path | None = None
    """File to draw the result in: PNG, SVG, PDF or what else matplotlib writes."""
