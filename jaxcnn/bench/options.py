"""What `jaxcnn bench` can be asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# The trainer's.
NETWORKS = ("post", "wide")


@dataclass(frozen=True)
class Whole:
    """A row of a whole network: its training step, its evaluation, or a gradient under jax.vmap.

    "vmap" is the gradient of the mean loss of a network of one image, mapped over the batch;
    "per_example" is the gradient of every image's loss.
    """

    kind: Literal["step", "evaluation", "vmap", "per_example"]
    network: str
    dtype: str = "float32"
    images: int | None = None
    """Of an evaluation; those of a training step by default."""

    @property
    def name(self) -> str:
        """Such as step/post, evaluation/wide/1 or evaluation/resnet/bfloat16."""
        images = () if self.images is None else (str(self.images),)
        dtype = () if self.dtype == "float32" else (self.dtype,)
        return "/".join((self.kind, self.network, *images, *dtype))


_ALL = (*NETWORKS, "resnet", "mobilenet")
WHOLE = (
    *(
        Whole(kind, network, dtype)
        for dtype in ("float32", "bfloat16")
        for kind in ("step", "evaluation")
        for network in _ALL
    ),
    # What a program asks that is shown one image at a time.
    *(Whole("evaluation", network, images=1) for network in _ALL),
    *(Whole(kind, network) for kind in ("vmap", "per_example") for network in NETWORKS),
)


@dataclass(frozen=True)
class Options:
    """Time every layer and whole networks on this machine, hand-written and automatic.

    Rows are printed as they are measured, each after its outputs have been found equal to those of
    the reference; the last lines hold the geometric means and the worst.
    """

    cases: tuple[str, ...] = ()
    """Rows to run: parts of their names, patterns with * or ?, or the groups step, evaluation
    and per_example (of whole networks), vmap, known (slow in XLA), network and more. All where left
    out."""
    list: bool = False
    """Print the names of the cases, and measure nothing."""
    repeats: int = 20
    """Samples of each program."""
    seconds: float = 2.0
    """For the samples of one program; one that is too slow gets fewer, three at least."""
    processes: int = 1
    """Processes that take so many samples each, one after the other: a process's luck with its
    threads and its memory decides the time of a small program."""
    awake: bool = True
    """While single layers are timed on a CPU, keep every core from sleeping between two of them, by
    a process that gives way to all others: a sleeping core wakes more slowly than a small layer
    runs."""
    near: float = 0.0
    """Seconds that may be spent in all on waiting until the first core and the last are near each
    other, and on timing a row again where they went apart meanwhile: see the column `apart`."""
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
    """Force a way of putting convolutions to XLA (the tables in jaxcnn/lowering/choice_of_y.py and
    choice_of_dw.py have them) to compare it with the chosen one; layers that it does not fit are
    left out."""
    json: Path | None = None
    """File to write every sample to."""
    plot: Path | None = None
    """File to draw the result in: PNG, SVG, PDF or what else matplotlib writes."""
