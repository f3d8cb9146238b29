"""How a pool is put to XLA: what a TPU's compiler fuses, what a CPU's does, what the others get.

Which way a platform gets, `pooling_primitives` says. A TPU's time is its traffic with memory, which
MEASURED.md lists as its compiler counts it.
"""

import functools
from collections.abc import Callable
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._taps import (
    Taps,
    better,
    gather,
    pad,
    reduced_maximum,
    scatter,
    scatter_equal,
    window_sum,
)
from .._window import span
from .phases import Phases

# More taps, or shifts of dx, one after the other take long to compile.
_CHAIN = 32
# On a CPU, channels fewer than a vector and taps few enough for one pass over x.
_NARROW, _SLICES = 8, 4
# Of channels between one vector and four reduce-window is as fast where dx only repeats.
_VECTOR = 16
# The columns of the product that keeps winners: no more than fill a cache, no fewer than a vector.
_BLOCK, _LEAST = 128, 8


def maximum(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The maximum over every window; on CPU reduce-window is fast in this direction."""
    dilated = set(taps.window.rhs_dilation) != {1}
    return (chained_maximum if dilated else reduced_maximum)(x, taps, least)


def maximum_on_cpu(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The same; of few channels the maximum of slices: reduce-window takes an element at a time."""
    narrow = x.shape[-1] <= _NARROW and len(taps) <= _SLICES
    return (sliced_maximum if narrow else maximum)(x, taps, least)


def sliced_maximum(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The maximum of all taps, each a slice of x."""
    return functools.reduce(jnp.maximum, gather(x, taps, least))


def maximum_on_tpu(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The same, of two axes in one pass with the winners; of one or three reduce-window is less."""
    chained = len(taps.k) == 2 and len(taps) <= _CHAIN
    return (chained_maximum if chained else maximum)(x, taps, least)


def chained_maximum(x: jax.Array, taps: Taps, least: float) -> jax.Array:
    """The maximum tap by tap, as the winners are found: on a TPU one pass makes both."""
    tapped = gather(x, taps, least)
    y = next(tapped)
    for tap in tapped:
        y = jnp.where(better(tap, y), tap, y)
    return y


def sum_on_cpu(x: jax.Array, taps: Taps) -> jax.Array:
    """The sum over every window: of slices, since reduce-window takes an element at a time.

    Taps that lie in x at the same outputs are added up there, and the padding is that of their sum:
    a padded x would be a copy.
    """
    if len(taps) > _CHAIN:
        return window_sum(x, taps)
    sums: dict[tuple[tuple[int, int], ...], jax.Array] = {}
    for place in taps.places():
        axes = [_inside(taps, axis, a) for axis, a in enumerate(place)]
        if any(last < first for first, last, _ in axes):
            continue
        slices = [
            slice(start, start + span(last - first + 1, s), s)
            for (first, last, start), s in zip(axes, taps.window.strides, strict=True)
        ]
        tap = x[(..., *slices, slice(None))]
        outside = tuple(
            (first, m - 1 - last) for (first, last, _), m in zip(axes, taps.m, strict=True)
        )
        sums[outside] = sums[outside] + tap if outside in sums else tap
    return functools.reduce(add, [pad(total, outside, 0) for outside, total in sums.items()])


def _inside(taps: Taps, axis: int, a: int) -> tuple[int, int, int]:
    """Along an axis the first and last output whose tap a lies in x, and where the first's does."""
    window, n = taps.window, taps.n[axis]
    s, at = window.strides[axis], a * window.rhs_dilation[axis] - window.padding[axis][0]
    first = max(0, -(at // s))
    return first, min(taps.m[axis] - 1, (n - 1 - at) // s), first * s + at


def shared_on_cpu(share: jax.Array, taps: Taps) -> jax.Array:
    """The transpose of the sum over every window, in one loop over all phases of dx."""
    phases = Phases(taps.window.of_dx(taps.n, taps.k), taps.k, taps.m)
    few = phases.count == 1 and len(taps) <= _SLICES
    if phases.count > _CHAIN or (few and _VECTOR < share.shape[-1] < 4 * _VECTOR):
        return scatter_equal(share, taps)
    lead = share.shape[: share.ndim - 1 - len(taps.k)]
    shares = [
        jnp.where(mask, shifted, 0)
        for _, shifted, mask in phases.shifts(share.reshape(-1, *taps.m, share.shape[-1]))
    ]
    return phases.joined(functools.reduce(add, shares)).reshape(*lead, *taps.n, share.shape[-1])


def by_product(numbers: jax.Array) -> jax.Array:
    """Whole numbers in float32, times the identity matrix: exact, and not fused.

    XLA:CPU would fuse what they are computed from into the loop that writes dx, once for every tap.
    That loop would read windows of the input; and where it ends in an operation on the input under
    another shape, as the mask of a relu before a reshape is, XLA writes dx over the input while
    some are still to be read.
    """
    *lead, c = numbers.shape
    block = max(d for d in range(1, min(c, _BLOCK) + 1) if c % d == 0)
    if block < _LEAST:  # a product with few columns XLA turns into what it fuses
        block = min(_BLOCK, -(-c // _LEAST) * _LEAST)
    blocks = jnp.pad(numbers, [*[(0, 0)] * len(lead), (0, -c % block)])
    # Exact whatever precision the user has set for products.
    one = np.eye(block, dtype=np.float32)
    blocks = jnp.matmul(blocks.reshape(*lead, -1, block), one, precision=lax.Precision.HIGHEST)
    return blocks.reshape(*lead, -1)[..., :c]


def by_taps(winner: jax.Array, g: jax.Array, taps: Taps) -> jax.Array:
    """The masked g of every tap, scattered."""
    return scatter([jnp.where(winner == number, g, 0) for number in range(len(taps))], taps)


def by_blocks(winner: jax.Array, g: jax.Array, taps: Taps) -> jax.Array:
    """Block by block of the input, as many places as a stride: which of the windows near it won it.

    Where windows do not overlap, each block has one window, and dx is a single pass that reads
    winner and g once. Else a first pass sums, at the size of g, what each place of a block gets
    from the windows near it, and a second one puts the places side by side: XLA does not fuse a
    pad below a broadcast, and in one pass it would write a shifted copy of winner and g for every
    distance of window and block.
    """
    strides, first = taps.window.strides, g.ndim - 1 - len(taps.k)
    rows = [-(-n // s) for n, s in zip(taps.n, strides, strict=True)]
    blocks = [size for pair in zip(rows, strides, strict=True) for size in pair]
    beside = [first + 1 + 2 * axis for axis in range(len(rows))]
    numbers = _numbers(taps)

    def near(a: jax.Array, distance: tuple[int, ...], fill: float) -> jax.Array:
        return pad(
            a, [(q, r - m - q) for q, r, m in zip(distance, rows, taps.m, strict=True)], fill
        )

    def over_places(static: np.ndarray) -> np.ndarray:
        within = np.expand_dims(static, [2 * axis for axis in range(len(rows))])[..., None]
        return within.reshape((1,) * first + within.shape)

    def won(
        distance: tuple[int, ...],
        number: np.ndarray,
        expand: Callable[[jax.Array], jax.Array] = lambda a: a,
    ) -> jax.Array:
        wins = expand(near(winner, distance, -1)) == number
        return jnp.where(wins, expand(near(g, distance, 0)), 0)

    def spread(a: jax.Array) -> jax.Array:
        return jnp.expand_dims(a, beside)

    if len(numbers) == 1:
        ((distance, expected),) = numbers.items()
        dx = won(distance, over_places(expected).astype(winner.dtype), spread)
    else:
        dx = jnp.zeros((*g.shape[:first], *blocks, g.shape[-1]), g.dtype)
        for place in np.ndindex(*strides):
            shares = [
                won(distance, expected[place].astype(winner.dtype))
                for distance, expected in numbers.items()
                if expected[place] >= 0
            ]
            if shares:
                here = np.zeros(strides, bool)
                here[place] = True
                dx = jnp.where(over_places(here), spread(functools.reduce(add, shares)), dx)
    # Else XLA moves the reshape above the sum, and writes every operand of it to memory.
    dx = lax.optimization_barrier(dx)
    dx = dx.reshape(
        *g.shape[:first], *(r * s for r, s in zip(rows, strides, strict=True)), g.shape[-1]
    )
    return pad(dx, [(0, n - r * s) for n, r, s in zip(taps.n, rows, strides, strict=True)], 0)


def _numbers(taps: Taps) -> dict[tuple[int, ...], np.ndarray]:
    """By distance, in blocks, of a window's first place and a block: the tap at each of its places.

    -2 where there is none; no winner has that number.
    """
    found: dict[tuple[int, ...], np.ndarray] = {}
    window = taps.window
    for number, place in enumerate(taps.places()):
        offsets = zip(place, window.rhs_dilation, window.strides, window.padding, strict=True)
        steps = [divmod(a * d - low, s) for a, d, s, (low, _) in offsets]
        distance, at = (tuple(parts) for parts in zip(*steps, strict=True))
        found.setdefault(distance, np.full(window.strides, -2))[at] = number
    return found
