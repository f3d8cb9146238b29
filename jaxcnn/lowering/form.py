"""A form of a correlation, and what the forms of y and of dw are both chosen by."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax

from .correlation import Problem

# A tap more is a pass more over the whole array.
MOST_TAPS = 64
# A group more is a convolution more.
MOST_GROUPS = 16
# Beyond so many channels XLA:CPU calls a library that uses one core.
FEW_CHANNELS = 16
# oneDNN computes a vector of outputs at a time; of so few most of it lies idle. With three axes
# XLA's loop takes longer still.
FEW_OUTPUTS = 4
# And in groups of fewer channels it computes one at a time.
FEW_IN_A_GROUP = 4


class Form(NamedTuple):
    """A way of putting a correlation to XLA: its name, when it fits, and what it does."""

    name: str
    fits: Callable[[Problem], bool]
    run: Callable[..., jax.Array]


def ones(*parts: tuple[int, ...]) -> bool:
    """Whether all of these are 1."""
    return all(set(part) == {1} for part in parts)


def is_shifted(p: Problem) -> bool:
    """Whether a depthwise layer has few taps."""
    return p.depthwise and math.prod(p.k) <= MOST_TAPS


def always(p: Problem) -> bool:
    """What fits where nothing else does."""
    del p
    return True
