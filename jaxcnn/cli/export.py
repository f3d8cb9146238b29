"""`jaxcnn export`: a trained network for the world outside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Export:
    """Write a trained network to a file: its parameters by name, or the whole of it as a program.

    npz and safetensors hold the parameters, conv1.w to dense2.b. stablehlo holds the network for
    CPU, CUDA and TPU: what jax.export.deserialize makes of it takes float32 images [n, 28, 28] from
    0 to 1 to logits [n, 10]. ONNX is left out as long as its converter, jax2onnx, refuses the Orbax
    of today.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """The run's folder, as `jaxcnn train` printed it."""
    format: Literal["npz", "safetensors", "stablehlo"] = "npz"
    """What to write."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(help_behavior_hint="(default: network.FORMAT in the run's folder)"),
    ] = None
    """The file."""

    def run(self) -> int:
        """Export; returns the exit status."""
        import jaxcnn.mnist

        from ..mnist import export

        run = jaxcnn.mnist.load(self.run_folder)
        out = self.out or run.folder.path / f"network.{self.format}"
        path = export.write(run, out, self.format)
        print(f"{path}: {path.stat().st_size:,} bytes, the network after step {run.step}")
        return 0
