"""MNIST, Fashion-MNIST and scikit-learn's digits, verified and split.

What is trusted of MNIST is the SHA-256 of the decompressed files, so plain files and any gzip
container pass. Of Fashion-MNIST only digests of the published `.gz` containers are known; the
container's SHA-256 is what is trusted, and plain or recompressed files, which nothing could vouch
for, are turned away. Magic number, dimensions and label range are checked for both.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..._errors import CommandError
from . import idx
from .download import NoMirrorError, fetch

DATA_DIR_VARIABLE = "JAXCNN_DATA_DIR"
NAMES = ("mnist", "fashion_mnist", "digits")
CLASSES = 10
VALIDATION = 10_000


@dataclass(frozen=True)
class Dataset:
    """Images uint8 `[N, 28, 28]` and labels uint8 `[N]`, split in three.

    Attributes:
        name: "mnist", "fashion_mnist" or "digits".
        digests: the SHA-256, in hexadecimal, of what was read, by file.
    """

    name: str
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    validation_images: np.ndarray = field(repr=False)
    validation_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    digests: Mapping[str, str] = field(repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each label means, in a word."""
        return class_names(self.name)


def class_names(name: str) -> tuple[str, ...]:
    """What each label of the named data set means.

    Examples:
        >>> class_names("mnist")[3], class_names("fashion_mnist")[3]
        ('3', 'dress')
    """
    if name == "fashion_mnist":
        return _FASHION_CLASSES
    return tuple(str(digit) for digit in range(CLASSES))


_FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@dataclass(frozen=True)
class Source:
    """The four IDX files of a data set, what vouches for them, and where they are served."""

    title: str
    # Folders, relative to a data folder, in which people keep it; torchvision's last.
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]
    trusts: str  # "content", the decompressed bytes, or "container", the .gz as published
    digests: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


_SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}

SOURCES = {
    "mnist": Source(
        title="MNIST",
        folders=("mnist", "MNIST/raw", "."),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        trusts="content",
        digests=dict(
            zip(
                _SHAPES,
                (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
                strict=True,
            )
        ),
        shapes=_SHAPES,
    ),
    "fashion_mnist": Source(
        title="Fashion-MNIST",
        folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "."),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        trusts="container",
        digests=dict(
            zip(
                _SHAPES,
                (
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
                strict=True,
            )
        ),
        shapes=_SHAPES,
    ),
}


def load(name: str | None = None, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set: from `data_dir`, else `$JAXCNN_DATA_DIR`, else the cache, else a mirror.

    MNIST's and Fashion-MNIST's 60,000 are split 50,000 for training and the last 10,000 for
    validation; scikit-learn's digits 1,200, 297 and 300.

    Args:
        name: "mnist", "fashion_mnist" or "digits". None takes MNIST if it can be had, else digits,
            and says so on the standard error stream.
        data_dir: a folder with the four IDX files, plain or gzipped. When given it must hold them.
            The folder of the environment is looked into first, and may lack them.

    Raises:
        CommandError: the folder or a file is missing, a file is cut short or altered, no mirror
            answers, or the cache cannot be written. The message names the file and the remedy.

    Examples:
        >>> load("digits").train_images.shape
        (1200, 28, 28)
    """
    if name is None:
        try:
            return load("mnist", data_dir)
        except NoMirrorError as error:
            print(
                f"Taking scikit-learn's 1,797 digits, since MNIST is not at hand: {error}",
                file=sys.stderr,
            )
            return load("digits")
    if name == "digits":
        if data_dir is not None:
            raise CommandError(
                f"--data-dir {data_dir} has no use with digits, which come with scikit-learn:"
                " leave it out, or choose the dataset mnist or fashion_mnist."
            )
        return _load_digits()
    if name not in SOURCES:
        raise CommandError(f"dataset {name!r} is none of {', '.join(NAMES)}.")

    source = SOURCES[name]
    found = _locate(source, data_dir)
    train_images, train_labels, test_images, test_labels = (
        _read(found[stem], stem, source) if found else _cached(name, stem, source)
        for stem in source.shapes
    )
    split = len(train_images) - VALIDATION
    return Dataset(
        name,
        train_images[:split],
        train_labels[:split],
        train_images[split:],
        train_labels[split:],
        test_images,
        test_labels,
        dict(source.digests),
    )


def load_again(
    name: str | None,
    place: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set from where it was before; where that is gone, or `data_dir` is given, as new.

    Args:
        name: as for `load`.
        place: what `place_of` said then.
        data_dir: as for `load`.
    """
    if place is not None and data_dir is None:
        try:
            return load(name, place)
        except CommandError:
            pass
    return load(name, data_dir)


def place_of(name: str, data_dir: str | os.PathLike[str] | None) -> str | None:
    """The folder in which `load` finds the data set, absolute; None where it is in the cache."""
    if name not in SOURCES or _locate(SOURCES[name], data_dir) is None:
        return None
    return str(Path(data_dir or os.environ[DATA_DIR_VARIABLE]).expanduser().absolute())


def _load_digits() -> Dataset:
    from .digits import TRAIN, VALIDATION, load_digits

    images, labels, digests = load_digits()
    held_out = TRAIN + VALIDATION
    return Dataset(
        "digits",
        images[:TRAIN],
        labels[:TRAIN],
        images[TRAIN:held_out],
        labels[TRAIN:held_out],
        images[held_out:],
        labels[held_out:],
        digests,
    )


def _locate(source: Source, data_dir: str | os.PathLike[str] | None) -> dict[str, Path] | None:
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


def _cached(name: str, stem: str, source: Source) -> np.ndarray:
    """The array of a file in the cache, downloaded when it is not there or not whole."""
    import pooch

    folder = Path(pooch.os_cache("jaxcnn")) / name
    path = folder / f"{stem}.gz"
    if path.is_file():
        try:
            return _decode(path.read_bytes(), stem, source)
        except ValueError:
            _remove(path)
    try:
        fetch(path.name, source.mirrors, folder, lambda content: _decode(content, stem, source))
    except NoMirrorError as error:
        looked = os.environ.get(DATA_DIR_VARIABLE)
        nor = f", and {DATA_DIR_VARIABLE} {looked} holds none of its files" if looked else ""
        raise NoMirrorError(
            f"{error}{nor}. Connect to the network, or put the four files of {source.title} into a"
            f" folder and pass it as --data-dir or in {DATA_DIR_VARIABLE}."
        ) from None
    return _read(path, stem, source)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise CommandError(
            f"{path} is damaged and cannot be removed: {error.strerror}. Remove it and run again."
        ) from None


def _read(path: Path, stem: str, source: Source) -> np.ndarray:
    try:
        return _decode(path.read_bytes(), stem, source)
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {error.strerror}. Make it readable, or point to another folder."
        ) from None
    except ValueError as error:
        raise CommandError(
            f"{path} is not {source.title}'s {stem}: {error}. Replace it, or point to a folder"
            " with the original, or to none to download it."
        ) from None


def _decode(content: bytes, stem: str, source: Source) -> np.ndarray:
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
