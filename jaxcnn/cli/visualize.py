"""`jaxcnn visualize`: the pictures of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .._errors import CommandError

if TYPE_CHECKING:
    import numpy as np

    from ..mnist.run.trained import Trained


@dataclass(frozen=True)
class Visualize:
    """Draw a run: its learning curves, confusions, worst mistakes, filters, and one example.

    The example is drawn forward (every activation) and backward (the gradient of its loss at every
    activation), to be read side by side. Unless one is named, it is the worst mistake, beside a
    digit of its class that is recognised: whose gradient is next to nothing.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's folder, as `jaxcnn train` printed it."""
    index: int | None = None
    """Which example of the test set to follow through the network; the worst mistake by default,
    and a right one beside it."""
    image: Path | None = None
    """A picture of a digit to follow instead."""
    label: int | None = None
    """The true class of --image, which its gradient needs; by default the predicted one."""
    out: Annotated[
        Path | None, tyro.conf.arg(help_behavior_hint="(default: pictures/ in the run's folder)")
    ] = None
    """Where to write the PNG files."""
    data_dir: Path | None = None
    """Folder with the data, as for train."""

    def run(self) -> int:
        """Draw; returns the exit status."""
        self._check()
        import numpy as np

        import jaxcnn.mnist

        from ..mnist import plot, recipe

        run = jaxcnn.mnist.load(self.run_folder)
        names = run.class_names
        published = recipe.PUBLISHED_CURVE if run.configuration.recipe == "post" else None
        figures: dict[str, Any] = {
            "learning_curves": plot.learning_curves(run.folder.read_metrics(), published=published),
        }
        if any(name.startswith("conv") for name in run.places):
            figures["filters"] = plot.filters(run.params)
        if self.image is not None:
            # A picture of one's own needs no test set, which may not be at hand.
            examples = {"": self._own(run, self.image)}
        else:
            dataset = run.load_data(self.data_dir)
            p, labels = run.probabilities(dataset.test_images), dataset.test_labels.astype(int)
            figures["confusion_matrix"] = plot.confusion_matrix(
                labels, p.argmax(-1), class_names=names
            )
            figures["worst_mistakes"] = plot.worst_mistakes(
                dataset.test_images, labels, p, class_names=names
            )
            examples = {
                suffix: (
                    dataset.test_images[i],
                    int(labels[i]),
                    f"test example {i}, a {names[labels[i]]}, "
                    + ("recognised" if best == labels[i] else f"taken for {names[best]}"),
                )
                for suffix, i in self._indices(labels, p).items()
                for best in [p[i].argmax()]
            }
        for suffix, (example, label, note) in examples.items():
            places, gradients = run.activations(example), run.gradients(example, label)
            z = places["logits"].astype(np.float64)
            loss = np.log(np.exp(z - z.max()).sum()) - (z[label] - z.max())
            how: dict[str, Any] = {"class_names": names, "model": run.configuration.model}
            how["note"] = f"{note}; its loss is {loss:.2g}"
            figures[f"activations{suffix}"] = plot.activation_figure(places, **how)
            figures[f"gradients{suffix}"] = plot.gradient_figure(gradients, **how)

        folder = self.out or run.folder.path / "pictures"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, figure in figures.items():
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=120)
                print(path)
        except OSError as error:
            raise CommandError(
                f"{folder} cannot be written: {error.strerror}. Name another folder with --out."
            ) from None
        return 0

    def _own(self, run: "Trained", path: Path) -> tuple["np.ndarray", int, str]:
        """One's own picture as an image, its label, and what is said of it."""
        from ..mnist.data import image

        example = image.read(path)
        label = int(run.predict(example)) if self.label is None else self.label
        says = "taken for" if self.label is None else "labelled"
        return example, label, f"{path.name}, {says} {run.class_names[label]}"

    def _indices(self, labels: "np.ndarray", p: "np.ndarray") -> dict[str, int]:
        """Which test examples to follow, by what is added to the names of their pictures."""
        import numpy as np

        if self.index is not None:
            if not 0 <= self.index < len(labels):
                raise CommandError(f"--index {self.index} must be from 0 to {len(labels) - 1}.")
            return {"": self.index}
        of_truth = p[np.arange(len(labels)), labels]
        worst = int(of_truth.argmin())
        right = np.flatnonzero((labels == labels[worst]) & (p.argmax(-1) == labels))
        beside = {"_of_a_right_one": int(right[of_truth[right].argmax()])} if len(right) else {}
        return {"": worst, **beside}

    def _check(self) -> None:
        if self.image is not None and self.index is not None:
            raise CommandError("--index and --image exclude each other: give one of them.")
        if self.label is not None and self.image is None:
            raise CommandError("--label goes with --image; a test example has its own.")
        if self.label is not None and not 0 <= self.label <= 9:
            raise CommandError(f"--label {self.label} must be from 0 to 9.")
