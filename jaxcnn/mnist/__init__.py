"""The network of the post on handwritten digits: trained, read back, looked into.

A run, and what it holds:

    run = jaxcnn.mnist.train(epochs=2, out="runs/mine")     # what `jaxcnn train` does
    run = jaxcnn.mnist.load("runs/mine")                    # what it left
    run.predict(images), run.evaluate(), run.params, run.history
    run.activations(image), run.gradients(image, label)
"""

from __future__ import annotations

TYPE_CHECKING = False  # Type checkers take it for True; the command line has to start quickly.
if TYPE_CHECKING:
    import os
    from typing import Literal

    from .run.trained import Trained


def train(
    dataset: Literal["mnist", "fashion_mnist", "digits"] | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    recipe: Literal["post", "fast", "small", "best"] | None = None,
    model: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    layers: Literal["jaxcnn", "reference"] | None = None,
    dtype: Literal["float32", "bfloat16"] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    keep: int = 3,
    devices: int | None = None,
    compilation_cache: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
) -> Trained:
    """Train as `jaxcnn train` does, and return the run as `load` does.

    Args:
        dataset: what to learn; None takes MNIST if it can be had, else scikit-learn's digits.
        data_dir: folder with the four IDX files; else `$JAXCNN_DATA_DIR`, a cache, a download.
        recipe: how to train; None takes "fast", or "small" for a small training set.
        model: "post" (None), "wide", or a network in words, such as "conv 8 5x5, pool 2, conv 16
            3x3, pool 2, dense 64": see `jaxcnn.mnist.description`.
        epochs: passes over the training set; None takes the recipe's.
        steps: updates in all; with epochs, whichever ends first.
        batch_size: examples a step, over all devices together.
        learning_rate: constant, or the peak of the recipe's schedule.
        seed: of the initial weights, the order of the examples and the augmentation; None is 0.
        layers: gradients by hand ("jaxcnn", None), or left to autodiff ("reference").
        dtype: what the layers compute in, "float32" (None) or "bfloat16"; parameters, sums and
            updates are float32 in either.
        out: the run's folder; None makes a fresh one under runs/.
        resume: go on with the run in `out`, from its newest checkpoint.
        checkpoint_every: steps from one checkpoint to the next.
        keep: how many checkpoints to keep, beside the best by validation.
        devices: how many devices share each batch; None takes all.
        compilation_cache: keep compiled programs from one process to the next. It is a setting of
            JAX's, and stays for whatever the process does next.
        tensorboard: write losses and accuracies for TensorBoard too, to tensorboard/ in the run's
            folder. It needs the extra `tensorboard`.
        quiet: print nothing.

    Raises:
        CommandError: what the command tells in one line and a status of 2.
        KeyboardInterrupt: after Ctrl-C, once all is saved.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train("digits", steps=2, out=folder, quiet=True)
        ...     print(run.step, run.history[-1]["epoch"], list(run.evaluate()))
        2 1 ['loss', 'accuracy', 'by_class']
    """
    options = dict(locals())
    from .training import Training

    return Training(**options).result()


def load(
    folder: str | os.PathLike[str], checkpoint: int | Literal["best"] | None = None
) -> Trained:
    """A run as it is in its folder.

    Args:
        folder: the run's, as `jaxcnn train` printed it.
        checkpoint: the step of one of its checkpoints, or "best": the best of them by validation.
            None takes the newest.

    Raises:
        CommandError: the folder holds no run, no such checkpoint, or damaged ones alone.
    """
    from .run import trained

    return trained.load(folder, checkpoint)
