"""A form of a correlation, and what the forms of y and of dw are both chosen by."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
# What each tap of so few sees is soon written, side by side, by one core.
FEW_TAPS = 9


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


def flops(p: Problem) -> float:
    """Multiplications and additions, but for those with the zeros between a dilated input's."""
    places = math.prod(p.m) / math.prod(p.window.lhs_dilation)
    return 2 * places * math.prod((*p.k, p.x[0], p.x[-1] // p.groups, p.w[-1]))


def patches(p: Problem) -> float:
    """How many elements all taps see, or infinity where they are not to be written down."""
    few = 1 < math.prod(p.k) <= FEW_TAPS and len(p.k) <= 2
    dense = p.groups == 1 and p.dtype == jnp.float32 and ones(p.window.lhs_dilation)
    return math.prod((p.x[0], *p.m, *p.k, p.x[-1])) if few and dense else math.inf


def always(p: Problem) -> bool:
    """What fits where nothing else does."""
    del p
    return True
