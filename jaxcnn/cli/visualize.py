"""`jaxcnn visualize`: the pictures of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .._errors import CommandError


@dataclass(frozen=True)
class Visualize:
    """Draw a run: its learning curves, confusions, worst mistakes, filters, and one example.

    The example is drawn forward (every activation) and backward (the gradient of its loss at every
    activation), to be read side by side.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's folder, as `jaxcnn train` printed it."""
    index: int | None = None
    """Which example of the test set to follow through the network; 0 where no --image is given."""
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
        import jaxcnn.mnist

        from ..mnist import plot, recipe
        from ..mnist.data import image

        run = jaxcnn.mnist.load(self.run_folder)
        names = run.class_names
        # A picture of one's own needs no test set, which may not be at hand.
        dataset = None if self.image else run.load_data(self.data_dir)
        published = recipe.PUBLISHED_CURVE if run.configuration.recipe == "post" else None
        figures: dict[str, Any] = {
            "learning_curves": plot.learning_curves(run.folder.read_metrics(), published=published),
            "filters": plot.filters(run.params),
        }
        if dataset is not None:
            p = run.probabilities(dataset.test_images)
            labels = dataset.test_labels.astype(int)
            figures["confusion_matrix"] = plot.confusion_matrix(
                labels, p.argmax(-1), class_names=names
            )
            figures["worst_mistakes"] = plot.worst_mistakes(
                dataset.test_images, labels, p, class_names=names
            )
            index = self.index or 0
            if not 0 <= index < len(labels):
                raise CommandError(f"--index {index} must be from 0 to {len(labels) - 1}.")
            example, label = dataset.test_images[index], int(labels[index])
            note = f"test example {index}, a {names[label]}"
        else:
            assert self.image is not None
            example = image.read(self.image)
            predicted = int(run.predict(example))
            label = predicted if self.label is None else self.label
            note = f"{self.image.name}, "
            note += "taken for" if self.label is None else "labelled"
            note += f" {names[label]}"
        places, gradients = run.activations(example), run.gradients(example, label)
        figures["activations"] = plot.activation_figure(places, class_names=names, note=note)
        figures["gradients"] = plot.gradient_figure(gradients, class_names=names, note=note)

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

    def _check(self) -> None:
        if self.image is not None and self.index is not None:
            raise CommandError("--index and --image exclude each other: give one of them.")
        if self.label is not None and self.image is None:
            raise CommandError("--label goes with --image; a test example has its own.")
        if self.label is not None and not 0 <= self.label <= 9:
            raise CommandError(f"--label {self.label} must be from 0 to 9.")
