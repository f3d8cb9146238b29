"""All usual mistakes that a function leaves room for."""

import contextlib

import numpy as np

from .arguments import example_mistakes, fixed_mistakes
from .correlation import correlation_mistakes
from .elementwise import elementwise_mistakes
from .pooling import pooling_mistakes
from .product import broadcast_mistakes, product_mistakes
from .scene import Mistakes, Scene
from .softmax import cross_entropy_mistakes, softmax_mistakes

TOPICS = (
    correlation_mistakes,
    pooling_mistakes,
    product_mistakes,
    broadcast_mistakes,
    softmax_mistakes,
    cross_entropy_mistakes,
    elementwise_mistakes,
    example_mistakes,
    fixed_mistakes,
)

# What a function may raise where a mistake is planted in it: anything.
BROKEN: type[Exception] | tuple[()] = Exception


def usual_mistakes(scene: Scene) -> Mistakes:
    """Each by name, with the gradient that it would give the leaf.

    A topic ends where a mistake cannot be planted: a diagnosis less is better than no report.
    """
    for topic in TOPICS:
        with contextlib.suppress(BROKEN), np.errstate(all="ignore"):
            yield from topic(scene)
