"""Checkpoints by Orbax: written whole or not at all, the newest few kept.

Beside the state a checkpoint holds its place in the run as JSON: the configuration, the epoch and
the position in its order, sums that the next line of metrics needs, and a SHA-256 over every
number of the state, since neither Orbax nor the file system notices a flipped bit.
"""

import contextlib
import gc
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
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
            keep: how many of the newest to keep.
            read_only: never write, clean or delete.
        """
        self.path = Path(path).absolute()
        # Orbax tells of every save on the root logger's warning level and below.
        logging.getLogger("absl").setLevel(logging.ERROR)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
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

    def save(self, state: Any, configuration: Configuration, position: dict[str, Any]) -> None:
        """Write the state after `state.step` updates.

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
                f"{self._remedy(step)}"
            ) from None
        if digest(state) != note["digest"]:
            raise CommandError(
                f"the checkpoint {folder} is damaged: its numbers are not those that were saved."
                f"{self._remedy(step)}"
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
                f"{self._remedy(step)}"
            ) from None
        return note

    def _remedy(self, step: int) -> str:
        earlier = [s for s in self._manager.all_steps() if s < step]
        if earlier:
            return f" Remove that folder to go on from step {max(earlier)}."
        return " Start a new run in another folder."

    def close(self) -> None:
        """Finish what is being written."""
        self._manager.close()


@contextlib.contextmanager
def _only_the_first_error() -> Iterator[None]:
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
    """The first line of an error's message, without a full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200].rstrip(". ")
