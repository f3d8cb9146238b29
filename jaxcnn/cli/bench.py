"""`jaxcnn bench`: hand-written gradients compared with automatic ones, and PyTorch beside them.

Nothing heavy is imported before it runs; what it runs is in `jaxcnn.bench`.
"""

from contextlib import nullcontext
from dataclasses import dataclass

from .._errors import CommandError
from ..bench.options import NETWORKS, WHOLE, Options


@dataclass(frozen=True)
class Bench(Options):
    __doc__ = Options.__doc__

    def run(self) -> int:
        """Measure; returns the exit status, 1 where outputs disagree."""
        from ..bench.cases import CASES, matches

        layers = [c for c in CASES if matches(c.name, c.group, self.cases)]
        whole = [w for w in WHOLE if matches(w.name, w.kind, self.cases)]
        steps = [n for n in NETWORKS if f"step/{n}" in [w.name for w in whole]]
        if not (steps if self.scaling else [*whole, *layers]):
            kind = "training step" if self.scaling else "case"
            raise CommandError(
                f"--cases {' '.join(self.cases)}: no such {kind}; bench --list shows the names."
            )
        if self.list:
            print("\n".join(row.name for row in [*whole, *layers]))
            return 0
        self._check()
        if self.compile_for is not None:
            from ..bench import compiled_for

            return compiled_for.run(self, whole, layers)
        if self.processes > 1:
            from ..bench import processes

            return processes.compare(self)
        import jax

        from .. import lowering
        from ..bench.session import Session

        if not self.scaling:
            # JAX hands a program to a thread of its own, which takes as long as a small layer does,
            # and two cores as long again where both threads land on one. PyTorch stays in this one.
            jax.config.update("jax_cpu_enable_async_dispatch", False)

        with nullcontext() if self.form is None else lowering.using(self.form):
            session = Session(self)
            return session.scale(steps) if self.scaling else session.compare(whole, layers)

    def _check(self) -> None:
        # Before minutes of measuring, not after.
        from ..lowering.choice import NAMES

        if self.form is not None and self.form not in NAMES:
            raise CommandError(f"--form {self.form}: the forms are {', '.join(sorted(NAMES))}.")
        if self.repeats < 1:
            raise CommandError(f"--repeats {self.repeats}: it must be 1 or more.")
        if self.processes < 1:
            raise CommandError(f"--processes {self.processes}: it must be 1 or more.")
        if self.processes > 1 and (self.scaling or self.compile_for is not None):
            other = "--scaling" if self.scaling else f"--compile-for {self.compile_for}"
            raise CommandError(f"--processes {self.processes}: {other} needs one; leave it out.")
        if not self.near >= 0:
            raise CommandError(f"--near {self.near}: it must be 0 or more.")
        if self.near and (self.scaling or self.compile_for is not None):
            other = "--scaling" if self.scaling else f"--compile-for {self.compile_for}"
            raise CommandError(f"--near {self.near}: {other} does not wait; leave it out.")
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
