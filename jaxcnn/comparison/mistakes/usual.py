"""All usual mistakes that a function leaves room for."""

from .arguments import example_mistakes, fixed_mistakes
from .correlation import correlation_mistakes
from .elementwise import elementwise_mistakes
from .pooling import pooling_mistakes
from .product import broadcast_mistakes, product_mistakes
from .scene import Mistakes, Scene
from .softmax import cross_entropy_mistakes, softmax_mistakes

_TOPICS = (
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


def usual_mistakes(scene: Scene) -> Mistakes:
    """Each by name, with the gradient that it would give the leaf."""
    for topic in _TOPICS:
        yield from topic(scene)
