"""`jaxcnn evaluate`: how good a trained network is, class by class."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Evaluate:
    """Accuracy and loss of a trained network on the test set, and its accuracy for each class."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's folder, as `jaxcnn train` printed it."""
    split: Literal["test", "validation", "train"] = "test"
    """Which part of the data set."""
    data_dir: Path | None = None
    """Folder with the data, as for train."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Evaluate; returns the exit status."""
        import numpy as np

        from ..mnist.run import trained

        run = trained.load(self.run_folder)
        dataset = run.load_data(self.data_dir)
        images = getattr(dataset, f"{self.split}_images")
        labels = getattr(dataset, f"{self.split}_labels").astype(int)
        p = trained.probabilities(run.logits(images))
        right = p.argmax(-1) == labels
        of_truth = p[np.arange(len(labels)), labels]
        loss = float(-np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean())
        accuracy = float(right.mean())
        by_class = {
            name: (float(right[labels == i].mean()), int((labels == i).sum()))
            for i, name in enumerate(dataset.class_names)
        }
        if self.json:
            record = {
                "run": str(self.run_folder),
                "step": run.step,
                "split": self.split,
                "loss": loss,
                "accuracy": accuracy,
                "by_class": {name: share for name, (share, _) in by_class.items()},
            }
            print(json.dumps(record))
            return 0
        width = max(map(len, by_class))
        print(f"{run.configuration.dataset}, {self.split} set, {len(labels):,} examples,"
              f" after step {run.step}")  # fmt: skip
        for name, (share, count) in by_class.items():
            print(f"  {name:<{width}}  {share:.4f} of {count:,}")
        print(f"{self.split} loss {loss:.4f}")
        print(f"{self.split} accuracy {accuracy:.4f}")
        return 0
