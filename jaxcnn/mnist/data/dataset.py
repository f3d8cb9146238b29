"""What every source gives: images and labels, split in three."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

CLASSES = 10


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
