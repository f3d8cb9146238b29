"""`jaxcnn bench`: hand-written gradients against automatic ones, and PyTorch beside them.

Nothing heavy is imported before it runs; what it runs is in `jaxcnn._bench`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ._errors import CommandError

NETWORKS = ("post", "wide")


@dataclass(frozen=True)
class Bench:
    """Time every layer and the training step on this machine, hand-written against automatic.

    Rows are printed as they are measured, each after its outputs have been found equal to those of
    the reference; the last lines hold the geometric means and the worst.
    """

    cases: tuple[str, ...] = ()
    """Rows to run: parts of their names, patterns with * or ?, or the groups step, known (slow in
    XLA), network and more. All where left out."""
    list: bool = False
    """Print the names of the cases, and measure nothing."""
    repeats: int = 20
    """Samples of each program."""
    seconds: float = 2.0
    """For the samples of one program; one that is too slow gets fewer, three at least."""
    torch: bool = True
    """Measure PyTorch too, where it is installed."""
    torch_compile: Literal["steps", "all", "never"] = "steps"
    """Where PyTorch's modes include torch.compile, which takes long to compile."""
    scaling: bool = False
    """Instead of the rows, the training step on 1, 2, 4 and 8 devices, as far as they exist."""
    form: str | None = None
    """Force a way of putting convolutions to XLA (jaxcnn._forms lists them) to compare it with the
    chosen one; layers that it does not fit are left out."""
    json: Path | None = None
    """File to write every sample to."""
    plot: Path | None = None
    """File to draw the result in: PNG, SVG, PDF or what else matplotlib writes."""

    def run(self) -> int:
        """Measure; returns the exit status, 1 where outputs disagree."""
        from ._bench.cases import CASES, matches

        layers = [c for c in CASES if matches(c.name, c.group, self.cases)]
        steps = [n for n in NETWORKS if matches(f"step/{n}", "step", self.cases)]
        if not steps and (self.scaling or not layers):
            kind = "training step" if self.scaling else "case"
            raise CommandError(
                f"--cases {' '.join(self.cases)}: no such {kind}; bench --list shows the names."
            )
        if self.list:
            print("\n".join([f"step/{n}" for n in steps] + [case.name for case in layers]))
            return 0
        self._check()
        from ._bench.session import Session

        session = Session(self)
        return session.scale(steps) if self.scaling else session.compare(steps, layers)

    def _check(self) -> None:
        # Before minutes of measuring, not after.
        if self.repeats < 1:
            raise CommandError(f"--repeats {self.repeats}: it must be 1 or more.")
        if not self.seconds > 0:
            raise CommandError(f"--seconds {self.seconds}: it must be more than 0.")
        for flag, path in (("--json", self.json), ("--plot", self.plot)):
            if path is None:
                continue
            if path.is_dir():
                raise CommandError(f"{flag} {path} is a folder: give a file's name.")
            if not path.absolute().parent.is_dir():
                raise CommandError(f"{flag} {path}: there is no folder {path.parent}; make it.")
        if self.plot is not None:
            from matplotlib.backend_bases import FigureCanvasBase

            kinds = sorted(FigureCanvasBase.get_supported_filetypes())
            if self.plot.suffix.lstrip(".").lower() not in kinds:
                raise CommandError(
                    f"--plot {self.plot}: the name must end in one of .{', .'.join(kinds)}."
                )
