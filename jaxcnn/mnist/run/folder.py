"""The folder of one run: its configuration, its metrics, its checkpoints and its pictures.

config.json       the configuration, versions, devices and digests of the data
metrics.jsonl     one line per evaluation; whatever depends on the clock is under "time"
metrics.csv       the same evaluations, for a spreadsheet
learning_curves.png, tensorboard/      see watching.py
checkpoints/      see checkpoint.py
"""

import csv
import datetime
import io
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ..._errors import CommandError
from .configuration import Configuration

try:
    import fcntl
except ImportError:  # Windows has no flock: two trainers in one folder go unnoticed there.
    fcntl = None


def new_name(configuration: Configuration) -> Path:
    """A folder name below `runs/` that nobody has: the time of day, the data and the recipe."""
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    stem = f"{time}-{configuration.dataset}-{configuration.recipe}"
    paths = [Path("runs") / (stem + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 100)))]
    for path in paths:
        if not path.exists():
            return path
    raise CommandError(f"{paths[-1]} is taken: name another folder with --out.")


class RunFolder:
    """A run's folder, held by one process at a time."""

    def __init__(self, path: str | os.PathLike[str]):
        """Name the folder `path`; nothing is read or written yet."""
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.checkpoints_path = self.path / "checkpoints"
        self._lock: int | None = None

    def create(self) -> None:
        """Make the folder, or take an empty one.

        Raises:
            CommandError: it holds a run already, or cannot be written to.
        """
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
            taken = [p for p in (self.config_path, self.metrics_path, self.checkpoints_path)
                     if p.exists()]  # fmt: skip
            if taken:
                raise CommandError(
                    f"{self.path} already holds a run ({taken[0].name} is there): continue it with"
                    " --resume, or name another folder with --out."
                )

    def reopen(self) -> None:
        """Take the folder of a run that is to be continued; it need not exist yet.

        Raises:
            CommandError: another process holds it, or it cannot be written to.
        """
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
            if any(self.path.iterdir()) and not (
                self.config_path.exists() or self.metrics_path.exists()
            ):
                others = [p for p in self.path.iterdir() if not p.name.startswith("config.json")]
                if others:
                    raise CommandError(
                        f"{self.path} holds no run to resume, but other files"
                        f" ({others[0].name}): check the folder given as --out."
                    )

    def _take(self) -> None:
        if fcntl is None:
            return
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"{self.path} is in use: another process is training in it. Wait for it to end,"
                " or name another folder with --out."
            ) from None

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_config(
        self,
        configuration: Configuration,
        digests: Mapping[str, str],
        data_dir: str | None = None,
    ) -> None:
        """Write config.json, whole or not at all; `data_dir` is where the data was, if known."""
        record = {"configuration": configuration.to_json(), **_provenance(), "data": dict(digests)}
        if data_dir is not None:
            record["data_dir"] = data_dir
        self.write_text(self.config_path.name, json.dumps(record, indent=2) + "\n")

    def has_config(self) -> bool:
        """Whether a run got so far as to write its configuration here."""
        return self.config_path.exists()

    def read_config(self) -> tuple[Configuration, dict[str, Any]]:
        """The configuration, and the whole of config.json.

        Raises:
            CommandError: there is no run here, or config.json is damaged.
        """
        try:
            record = json.loads(self.config_path.read_text())
            fields = record["configuration"]
        except FileNotFoundError:
            raise CommandError(
                f"{self.path} holds no run: there is no {self.config_path.name} in it."
                " Name the folder that `jaxcnn train` printed."
            ) from None
        except OSError as error:
            raise CommandError(f"{self.config_path} cannot be read: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError):
            raise CommandError(
                f"{self.config_path} is damaged: it is not the JSON that `jaxcnn train` writes."
            ) from None
        return Configuration.from_json(fields, self.config_path), record

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl, on the disk before this returns."""
        with _writing(self.metrics_path), open(self.metrics_path, "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_csv(self) -> None:
        """Write the evaluations of metrics.jsonl to metrics.csv, whole or not at all."""
        lines = [line for line in self.read_metrics() if not line.get("final")]
        rows = [{**line, "seconds": line["time"]["seconds"]} for line in lines]
        names = [name for name in rows[0] if name != "time"] if rows else []
        text = io.StringIO()
        writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write_text("metrics.csv", text.getvalue())

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line that a kill cut short is left out."""
        try:
            text = self.metrics_path.read_text()
        except FileNotFoundError:
            return []
        lines = []
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            try:
                lines.append(json.loads(line))
            except ValueError:
                if line.endswith("\n"):
                    raise CommandError(
                        f"{self.metrics_path} is damaged at line {number}: remove that line."
                    ) from None
        return lines

    def cut_metrics(self, step: int) -> list[dict[str, Any]]:
        """Forget what was measured after `step` updates, and the closing line; returns the rest."""
        if not self.metrics_path.exists():
            return []
        kept = [m for m in self.read_metrics() if m["step"] <= step and not m.get("final")]
        self.write_text(self.metrics_path.name, "".join(json.dumps(m) + "\n" for m in kept))
        return kept

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file of the folder, whole or not at all."""
        path = self.path / name
        with _writing(path):
            temporary = path.with_name(name + ".new")
            temporary.write_bytes(content)
            os.replace(temporary, path)


class _writing:
    """Turn the system's errors on writing `path` into one line for the user."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, OSError):
            raise CommandError(
                f"{self.path} cannot be written: {error.strerror or error}."
                " Name another folder with --out, or make room there."
            ) from None


def _provenance() -> dict[str, Any]:
    names = ("jaxcnn", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in names},
        "devices": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def warn_of_changes(record: Mapping[str, Any]) -> None:
    """Say on the standard error stream where this machine is not the one of config.json."""
    now = _provenance()
    changes = [
        f"{name} {before[name]} -> {value}"
        for part in ("versions", "devices")
        for name, value in now[part].items()
        if (before := record.get(part, {})).get(name, value) != value
    ]
    if changes:
        print(
            f"resuming elsewhere than the run began ({', '.join(changes)}): the same up to"
            " rounding, not bit for bit",
            file=sys.stderr,
        )
