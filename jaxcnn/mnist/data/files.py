"""The four IDX files of a data set: found in a folder, and verified.

What is trusted of MNIST is the SHA-256 of the decompressed files, so plain files and any gzip
container pass. Of Fashion-MNIST only digests of the published `.gz` containers are known; the
container's SHA-256 is what is trusted, and plain or recompressed files, which nothing could vouch
for, are turned away. Magic number, dimensions and label range are checked for both.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..._errors import CommandError
from . import idx
from .dataset import CLASSES
from .published import SOURCES, Source

DATA_DIR_VARIABLE = "JAXCNN_DATA_DIR"


def locate(source: Source, data_dir: str | os.PathLike[str] | None) -> dict[str, Path] | None:
    """The four files in the folder of the argument or the environment; None without either."""
    variable = os.environ.get(DATA_DIR_VARIABLE)
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        _require_folder(folder, "--data-dir")
        found = _find(folder, source)
        if found is None:
            raise CommandError(
                f"--data-dir {folder} does not hold {source.title}: none of"
                f" {', '.join(source.shapes)}, plain or .gz. Put them there, or leave --data-dir"
                " out to download them."
            )
        return found
    if variable:
        folder = Path(variable).expanduser()
        _require_folder(folder, DATA_DIR_VARIABLE)
        return _find(folder, source)
    return None


def _require_folder(folder: Path, given_by: str) -> None:
    if not folder.is_dir():
        raise CommandError(
            f"{given_by} {folder} is no folder: name one that holds the data, or leave it out"
            " to download it."
        )


def _find(folder: Path, source: Source) -> dict[str, Path] | None:
    """The four files under `folder`; None when not one of them is there."""
    for subfolder in source.folders:
        found, missing = {}, []
        for stem in source.shapes:
            candidates = [folder / subfolder / f"{stem}.gz", folder / subfolder / stem]
            path = next((path for path in candidates if path.is_file()), None)
            if path is None:
                missing.append(stem)
            else:
                found[stem] = path
        if found and missing:
            raise CommandError(
                f"{folder / subfolder} holds part of {source.title}: {', '.join(missing)} (plain or"
                " .gz) missing. Add it, or point to another folder."
            )
        if found and not _is_another(found, source):
            return found
    return None


def _is_another(found: Mapping[str, Path], source: Source) -> bool:
    """Whether these are the files of the other data set, whose files have the same names.

    The smallest file, the test labels, decides: it tells MNIST from Fashion-MNIST at no cost.
    """
    stem = min(found, key=lambda stem: np.prod(source.shapes[stem]))
    content = found[stem].read_bytes()
    return any(
        _digest(content, other) == other.digests[stem]
        for other in SOURCES.values()
        if other is not source and stem in other.digests
    )


def read(path: Path, stem: str, source: Source) -> np.ndarray:
    try:
        return decode(path.read_bytes(), stem, source)
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {error.strerror}. Make it readable, or point to another folder."
        ) from None
    except ValueError as error:
        raise CommandError(
            f"{path} is not {source.title}'s {stem}: {error}. Replace it, or point to a folder"
            " with the original, or to none to download it."
        ) from None


def decode(content: bytes, stem: str, source: Source) -> np.ndarray:
    """The array in a file's content, verified. Raises ValueError with the reason."""
    plain = idx.decompress(content)
    array = idx.parse(plain)
    if array.shape != source.shapes[stem]:
        raise ValueError(f"it holds {list(array.shape)}, not {list(source.shapes[stem])}")
    if array.ndim == 1 and array.size and array.max() >= CLASSES:
        raise ValueError(f"it holds the label {array.max()}, and labels go from 0 to {CLASSES - 1}")
    digest = _digest(content, source)
    if digest != source.digests[stem]:
        what = "" if source.trusts == "content" else ", as the published .gz file,"
        raise ValueError(
            f"its SHA-256{what} is {digest[:12]}..., not {source.digests[stem][:12]}..."
        )
    return array


def _digest(content: bytes, source: Source) -> str:
    if source.trusts == "content":
        try:
            content = idx.decompress(content)
        except ValueError:
            return ""
    return hashlib.sha256(content).hexdigest()
