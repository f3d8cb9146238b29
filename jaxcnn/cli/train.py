"""`jaxcnn train`: the command line of a run. Nothing heavy is imported before it runs."""

import math
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from . import clock

if TYPE_CHECKING:
    from ..mnist.run.fit import Outcome, Run


def _default(text: str) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


@dataclass(frozen=True)
class Train:
    """Train the network on handwritten digits, every gradient from a hand-written rule.

    The last line that is printed is the test accuracy. All that is left of the run (configuration,
    metrics, checkpoints) is in one folder, from which --resume continues it.
    """

    dataset: Annotated[
        Literal["mnist", "fashion_mnist", "digits"] | None,
        _default("mnist if it can be had, else digits"),
    ] = None
    """What to learn."""
    data_dir: Annotated[Path | None, _default("$JAXCNN_DATA_DIR, a cache, a download")] = None
    """Folder with the four IDX files of MNIST or Fashion-MNIST."""
    recipe: Annotated[
        Literal["post", "fast", "small", "best"] | None, _default("fast, or small for few examples")
    ] = None
    """How to train: the post's notebook to the letter, 99 % of MNIST quickest, few examples, or the
    most accurate."""
    model: Annotated[str | None, _default("post")] = None
    """The network: post is the post's, wide its sister with 32-32-64-64 channels. Any other is
    given in words, "conv 8 5x5, pool 2, conv 16 3x3, pool 2, dense 64": channels and kernels of
    convolutions (SAME padding, ReLU), sides of max-pools, units of dense layers (ReLU). The ten
    logits follow of themselves."""
    epochs: Annotated[int | None, _default("the recipe's")] = None
    """Passes over the training set."""
    steps: Annotated[int | None, _default("the recipe's")] = None
    """Updates in all; with --epochs, whichever ends first."""
    batch_size: Annotated[int | None, _default("the recipe's")] = None
    """Examples a step, over all devices together."""
    learning_rate: Annotated[float | None, _default("the recipe's")] = None
    """Constant, or the peak of the recipe's schedule."""
    seed: Annotated[int | None, _default("0")] = None
    """Of the initial weights, the order of the examples and the augmentation."""
    layers: Annotated[Literal["jaxcnn", "reference"] | None, _default("jaxcnn")] = None
    """Gradients by hand, or of the same layers left to autodiff."""
    dtype: Annotated[Literal["float32", "bfloat16"] | None, _default("float32")] = None
    """What the layers compute in. With bfloat16 parameters, sums, loss and updates stay float32; it
    pays on a processor with AVX-512 BF16 or AMX, on a GPU and on a TPU."""
    out: Annotated[Path | None, _default("a fresh folder under runs/")] = None
    """The run's folder."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out from its last checkpoint, or begin it if it has none. Flags that
    are left out are taken from the run; more --epochs or --steps extend it, and --learning-rate
    may change."""
    checkpoint_every: Annotated[int | None, _default("every epoch")] = None
    """Steps from one checkpoint to the next."""
    keep: int = 3
    """How many checkpoints to keep."""
    devices: Annotated[int | None, _default("all")] = None
    """How many devices share each batch."""
    coordinator: Annotated[str | None, _default("found on SLURM, Open MPI, Kubernetes, TPU")] = None
    """HOST:PORT of the first of several processes."""
    processes: Annotated[int | None, _default("found likewise")] = None
    """How many processes make the run together."""
    process_id: Annotated[int | None, _default("found likewise")] = None
    """Which of them this is, from 0."""
    compilation_cache: bool = True
    """Keep compiled programs from one run to the next."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write losses and accuracies for TensorBoard too, to tensorboard/ in the run's folder."""

    find_learning_rate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Make no run: let the rate rise from step to step for 150 steps, and say from the losses which
    one to try."""

    def run(self) -> int:
        """Train; returns the exit status."""
        started = clock.process_start()
        from ..mnist.announcements import advice
        from ..mnist.machine import distributed
        from ..mnist.training import Training

        options = dict(vars(self))
        if options.pop("find_learning_rate"):
            print(Training(**options).search())
            return 0
        run, outcome = Training(**options).run(started)
        if outcome.test_accuracy is None:
            by = outcome.stopped_by.name if outcome.stopped_by else "a signal to another process"
            if distributed.is_first():
                print(f"jaxcnn: stopped by {by}, {advice(run)}", file=sys.stderr, flush=True)
            return 128 + (outcome.stopped_by or signal.SIGTERM)
        if distributed.is_first():
            _conclude(run, outcome)
            print(f"test accuracy {outcome.test_accuracy:.4f}", flush=True)
        return 0


def _conclude(run: "Run", outcome: "Outcome") -> None:
    dataset = run.configuration.dataset
    guessing = math.log(10)
    if outcome.test_loss is not None and outcome.test_loss >= guessing:
        print(
            f"The network has learnt nothing: its test loss, {outcome.test_loss:.4g}, is not below"
            f" {guessing:.4g}, that of guessing. Lower --learning-rate (now"
            f" {run.configuration.learning_rate:g}), or train longer."
        )
    elif dataset == "digits":
        print(
            "The test digits are by writers of whom the network has seen none: 97 to 98 % is what"
            " the recipe small comes to in its 30 epochs."
        )
    if dataset != "mnist":
        return
    if run.configuration.recipe == "post":
        from ..mnist.run.published import write_comparison

        for line in write_comparison(run.folder):
            print(line)
    if (reached := run.to_target) is None:
        print("99.0 % test accuracy not reached")
    else:
        state = reached["compilation_cache"]
        print(
            f"99.0 % test accuracy reached after {reached['seconds']:.1f} s, counted from"
            f" process start, with {'no' if state == 'off' else f'a {state}'} compilation cache"
        )
