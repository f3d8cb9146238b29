"""`jaxcnn predict`: what a trained network sees in pictures of anybody's making."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .._errors import CommandError


@dataclass(frozen=True)
class Predict:
    """Name the digit in each picture: PNG or JPEG, any size, dark on light or light on dark.

    A file that cannot be read gets an error line, the others are still answered, and the exit
    status is then 2.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's folder, as `jaxcnn train` printed it."""
    images: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE...", help_behavior_hint=""),
    ]
    """The pictures."""
    json: bool = False
    """Print one line of JSON a picture."""

    def run(self) -> int:
        """Predict; returns the exit status."""
        if not self.images:
            raise CommandError("predict needs at least one IMAGE after the run's folder.")
        import numpy as np

        import jaxcnn.mnist

        from ..mnist.data import image

        run = jaxcnn.mnist.load(self.run_folder)
        read: dict[Path, np.ndarray] = {}
        errors: dict[Path, str] = {}
        for path in self.images:
            try:
                read[path] = image.read(path)
            except CommandError as error:
                errors[path] = str(error)
        answers = {}
        if read:
            p = run.probabilities(np.stack(list(read.values())))
            answers = dict(zip(read, p, strict=True))
        for path in self.images:
            if path in errors:
                if self.json:
                    print(json.dumps({"image": str(path), "error": errors[path]}))
                print(f"jaxcnn: error: {errors[path]}", file=sys.stderr)
            else:
                print(self._line(path, answers[path], run.class_names))
        return 2 if errors else 0

    def _line(self, path: Path, p: Any, names: tuple[str, ...]) -> str:
        label = names[int(p.argmax())]
        if self.json:
            of = {name: float(value) for name, value in zip(names, p, strict=True)}
            return json.dumps({"image": str(path), "label": label, "probabilities": of})
        first, second = p.argsort()[::-1][:2]
        return (
            f"{path}: {names[first]} ({p[first]:.1%}), then {names[second]} ({p[second]:.1%})"
        ).replace("%", " %")
