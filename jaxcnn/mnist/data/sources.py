"""MNIST, Fashion-MNIST and scikit-learn's digits, verified and split."""

import os
import sys
from pathlib import Path

import numpy as np

from ..._errors import CommandError
from .dataset import Dataset as Dataset
from .dataset import class_names as class_names
from .download import NoMirrorError, fetch
from .files import DATA_DIR_VARIABLE, decode, locate, read
from .published import SOURCES, Source

NAMES = ("mnist", "fashion_mnist", "digits")
VALIDATION = 10_000


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
    found = locate(source, data_dir)
    train_images, train_labels, test_images, test_labels = (
        read(found[stem], stem, source) if found else _cached(name, stem, source)
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
    if name not in SOURCES or locate(SOURCES[name], data_dir) is None:
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


def _cached(name: str, stem: str, source: Source) -> np.ndarray:
    """The array of a file in the cache, downloaded when it is not there or not whole."""
    import pooch

    folder = Path(pooch.os_cache("jaxcnn")) / name
    path = folder / f"{stem}.gz"
    if path.is_file():
        try:
            return decode(path.read_bytes(), stem, source)
        except ValueError:
            _remove(path)
    try:
        fetch(path.name, source.mirrors, folder, lambda content: decode(content, stem, source))
    except NoMirrorError as error:
        looked = os.environ.get(DATA_DIR_VARIABLE)
        nor = f", and {DATA_DIR_VARIABLE} {looked} holds none of its files" if looked else ""
        raise NoMirrorError(
            f"{error}{nor}. Connect to the network, or put the four files of {source.title} into a"
            f" folder and pass it as --data-dir or in {DATA_DIR_VARIABLE}."
        ) from None
    return read(path, stem, source)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise CommandError(
            f"{path} is damaged and cannot be removed: {error.strerror}. Remove it and run again."
        ) from None
