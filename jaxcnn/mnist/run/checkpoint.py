"""Checkpoints by Orbax: written whole or not at all, the newest few kept, and the best of them.

Beside the state a checkpoint holds its place in the run as JSON: the configuration, the epoch and
the position in its order, sums that the next line of metrics needs, and a SHA-256 over every
number of the state, since neither Orbax nor the file system notices a flipped bit.
"""

import contextlib
import gc
import hashlib
import itertools
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ..._errors import CommandError
from .configuration import Configuration


class Checkpoints:
    """The checkpoints of one run, in a folder of their own, named after their step."""

    def __init__(self, path: str | os.PathLike[str], *, keep: int = 3, read_only: bool = False):
        """Open the folder; it is made at the first save.

        Args:
            path: the folder.
            keep: how many of the newest to keep, beside the best.
            read_only: never write, clean or delete.
        """
        self.path = Path(path).absolute()
        self._keep = keep
        # Orbax tells of every save on the root logger's warning level and below.
        logging.getLogger("absl").setLevel(logging.ERROR)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None,  # the best has to be kept however old it is: `save` deletes
            # A state of a few megabytes is written in some 50 ms: nothing to hide by a thread,
            # and an error comes to light at the save that it belongs to.
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        try:
            self._manager = ocp.CheckpointManager(self.path, options=options)
        except (OSError, ValueError) as error:
            raise CommandError(f"{self.path} cannot be opened: {_reason(error)}.") from None

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """The steps of all checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def save(
        self,
        state: Any,
        configuration: Configuration,
        position: dict[str, Any],
        best: int | None = None,
    ) -> None:
        """Write the state after `state.step` updates, and forget old ones.

        Args:
            state: of `step.State`.
            configuration: of the run.
            position: the place in the run, as JSON.
            best: the step of a checkpoint to keep however old it is.

        Raises:
            CommandError: it could not be written; earlier checkpoints are untouched.
        """
        step = int(state.step)
        note = {
            "configuration": configuration.to_json(),
            "position": position,
            "digest": digest(state),
        }
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(_as_dict(state)), note=ocp.args.JsonSave(note)
        )
        try:
            self._probe(sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
            with _only_the_first_error():
                self._manager.save(step, args=arguments, force=True)
            for old in self.steps()[: -self._keep]:
                if old != best:
                    self._manager.delete(old)
        except (OSError, ValueError) as error:
            kept = self.latest()
            begin = "which begins it anew" if kept is None else f"from step {kept}"
            raise CommandError(
                f"no checkpoint could be written to {self.path}: {_reason(error)}. Make room"
                f" there, then continue the run with --resume, {begin}."
            ) from None

    def _probe(self, size: int) -> None:
        """Raise the OSError of a full disk now, before Orbax fails of it in many threads."""
        if jax.process_index() or not hasattr(os, "posix_fallocate"):
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path) as file:
            os.posix_fallocate(file.fileno(), 0, size + 2**16)

    def restore_newest(
        self, like: Any, among: list[int] | None = None
    ) -> tuple[int, Any, Configuration, dict[str, Any]]:
        """The step of the newest whole checkpoint, and what `restore` returns for it.

        A damaged one is told on the standard error stream, and the one before it is taken.

        Args:
            like: as for `restore`.
            among: steps to choose from, the last first; all of them by default.

        Raises:
            CommandError: none is whole.
        """
        steps = self.steps() if among is None else among
        for step in reversed(steps):
            try:
                return step, *self.restore(like, step)
            except CommandError as error:
                if step == steps[0]:
                    if len(steps) == 1:
                        raise
                    raise CommandError(
                        f"{error} None of the {len(steps)} checkpoints there is whole: train anew"
                        " in another folder."
                    ) from None
                if jax.process_index() == 0:
                    earlier = max(s for s in steps if s < step)
                    print(f"{error} Taking that of step {earlier}.", file=sys.stderr, flush=True)
        raise CommandError(f"{self.path} holds no checkpoint.")

    def set_aside(self, after: int) -> None:
        """Move the checkpoints after a step out of the way of new ones, to `damaged/` beside."""
        later = [step for step in self.steps() if step > after]
        if not later:
            return
        if jax.process_index() == 0:
            for step in later:
                folder = self.path.parent / "damaged"
                folder.mkdir(exist_ok=True)
                target = next(
                    path
                    for n in itertools.count(1)
                    if not (path := folder / (f"{step}" if n == 1 else f"{step}-{n}")).exists()
                )
                os.replace(self.path / str(step), target)
        self._manager.reload()

    def restore(self, like: Any, step: int) -> tuple[Any, Configuration, dict[str, Any]]:
        """The state after `step` updates, its configuration and its position.

        Args:
            like: a state of `jax.ShapeDtypeStruct`, with the shardings wanted.
            step: one that `latest` named.

        Raises:
            CommandError: the checkpoint is damaged, or is none of this network and recipe.
        """
        folder = self.path / str(step)
        note = self.read_note(step)
        try:
            with _only_the_first_error():
                restored = self._manager.restore(
                    step, args=ocp.args.Composite(state=ocp.args.StandardRestore(_as_dict(like)))
                )
            state = like._replace(**restored["state"])
        except Exception as error:  # Orbax, tensorstore and zarr each raise their own.
            raise CommandError(
                f"the checkpoint {folder} is damaged or foreign: {_reason(error)}."
            ) from None
        if digest(state) != note["digest"]:
            raise CommandError(
                f"the checkpoint {folder} is damaged: its numbers are not those that were saved."
            )
        return state, Configuration.from_json(note["configuration"], folder), note["position"]

    def read_note(self, step: int) -> dict[str, Any]:
        """The JSON beside the state."""
        folder = self.path / str(step)
        try:
            with _only_the_first_error():
                restored = self._manager.restore(
                    step, args=ocp.args.Composite(note=ocp.args.JsonRestore())
                )
            note = restored["note"]
            if set(note) != {"configuration", "position", "digest"}:
                raise ValueError(f"unknown fields {sorted(note)}")
        except Exception as error:
            raise CommandError(
                f"the checkpoint {folder} is damaged or foreign: {_reason(error)}."
            ) from None
        return note

    def close(self) -> None:
        """Finish what is being written."""
        self._manager.close()


@contextlib.contextmanager
def _only_the_first_error() -> Generator[None]:
    """Keep what Orbax abandons after a read or write that failed from telling of it at length.

    It does so through asyncio's logger, in threads of its own, and when it is collected.
    """
    asyncio_logger = logging.getLogger("asyncio")
    level, unraisable, uncaught = asyncio_logger.level, sys.unraisablehook, sys.excepthook
    try:
        asyncio_logger.setLevel(logging.CRITICAL)
        sys.unraisablehook = sys.excepthook = lambda *_: None
        yield
    except Exception as error:
        # What it is kept alive by is in the frames of the traceback.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        time.sleep(0.5)  # Reads still under way end, each with a complaint, in threads of C++.
        gc.collect()
        raise
    finally:
        asyncio_logger.setLevel(level)
        sys.unraisablehook, sys.excepthook = unraisable, uncaught


def digest(state: Any) -> str:
    """SHA-256, in hexadecimal, over the path, dtype, shape and bytes of every array."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)
        head = [jax.tree_util.keystr(path), array.dtype.name, array.shape]
        sha.update(json.dumps(head).encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _as_dict(state: Any) -> dict[str, Any]:
    return {name: value for name, value in state._asdict().items() if value is not None}


def _reason(error: BaseException) -> str:
    """Why a checkpoint could not be read or written, in words of the user's world."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    # What tensorstore says names its classes, and its drivers' keys.
    if isinstance(error, FileNotFoundError | KeyError) or "NOT_FOUND" in text:
        return "a part of it is missing"
    if isinstance(error, json.JSONDecodeError):
        return "its note is no JSON"
    if "Requested shape" in text:
        return "its arrays have other shapes than this network's"
    return "its files cannot be decoded"
