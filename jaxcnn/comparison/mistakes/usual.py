"""All usual mistakes that a function leaves room for."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from .arguments import example_mistakes, fixed_mistakes
from .correlation import correlation_mistakes
from .elementwise import elementwise_mistakes
from .pooling import pooling_mistakes
from .product import broadcast_mistakes, product_mistakes
from .scene import Mistakes, Scene
from .softmax import cross_entropy_mistakes, softmax_mistakes

# Those first that compile nothing, and last those with the most to compile.
TOPICS = (
    softmax_mistakes,
    cross_entropy_mistakes,
    broadcast_mistakes,
    example_mistakes,
    fixed_mistakes,
    elementwise_mistakes,
    product_mistakes,
    pooling_mistakes,
    correlation_mistakes,
)
# What a function may raise where a mistake is planted in it: anything.
BROKEN: tuple[type[Exception], ...] = (Exception,)


def usual_mistakes(scene: Scene) -> Iterator[Mistakes]:
    """For every topic its mistakes, each by name with the gradient that it would give the leaf."""
    for topic in TOPICS:
        yield _planted(topic, scene)


def _planted(topic: Callable[[Scene], Mistakes], scene: Scene) -> Mistakes:
    """A topic's mistakes, up to one that cannot be planted: better no name than no report."""
    with contextlib.suppress(*BROKEN), np.errstate(all="ignore"):
        yield from topic(scene)
