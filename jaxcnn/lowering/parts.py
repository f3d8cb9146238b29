"""How many parts a batch is cut into, so that what is summed at a time stays in cache."""

import math

from .correlation import Shape

# What of x and g stays in a core's cache, in elements.
CACHED = 2**19


def parts_in_cache(x: Shape, g: Shape) -> int:
    """The least divisor of the batch whose parts stay in cache; 1 where the whole nearly does."""
    return parts_of(x, g, CACHED)


def parts_of(x: Shape, g: Shape, most: int) -> int:
    """The least divisor of the batch whose parts have so many elements at most, or nearly so."""
    size = math.prod(x) + math.prod(g)
    if size < 2 * most:
        return 1
    divisors = [d for d in range(1, x[0] + 1) if x[0] % d == 0]
    return next((d for d in divisors if size <= d * most), x[0])
