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
        import jaxcnn.mnist

        run = jaxcnn.mnist.load(self.run_folder)
        measured = run.evaluate(self.split, data_dir=self.data_dir)
        if self.json:
            record = {"run": str(self.run_folder), "step": run.step, "split": self.split}
            print(json.dumps(record | measured))
            return 0
        by_class = measured["by_class"]
        width = max(map(len, by_class))
        print(f"{run.configuration.dataset}, {self.split} set, after step {run.step}")
        for name, share in by_class.items():
            print(f"  {name:<{width}}  {share:.4f}")
        print(f"{self.split} loss {measured['loss']:.4f}")
        print(f"{self.split} accuracy {measured['accuracy']:.4f}")
        return 0
