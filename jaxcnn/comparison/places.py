"""Places in an array as tuples of ints, as messages show them."""

from typing import Any

import numpy as np

Index = tuple[int, ...]


def place(flat: Any, shape: tuple[int, ...]) -> Index:
    """The index of the element with that number in row-major order."""
    return tuple(int(i) for i in np.unravel_index(int(flat), shape))


def largest(a: np.ndarray) -> Index:
    """Where the largest element is, the first of several."""
    return place(np.argmax(a), a.shape)


def first(mask: np.ndarray) -> Index:
    """Where a mask is first true."""
    return tuple(int(i) for i in np.argwhere(mask)[0])
