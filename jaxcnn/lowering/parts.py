"""How many parts a batch is cut into, so that what is summed at a time stays in cache."""

import math

from .correlation import Shape

# What of x and g stays in a core's cache, in elements.
CACHED = 2**19


def parts_in_cache(x: Shape, g: Shape) -> int:
    """The least divisor of the batch whose parts stay in cache; 1 where the whole nearly does."""
    size = math.prod(x) + math.prod(g)
    if size < 2 * CACHED:
        return 1
    divisors = [d for d in range(1, x[0] + 1) if x[0] % d == 0]
    return next((d for d in divisors if size <= d * CACHED), x[0])
