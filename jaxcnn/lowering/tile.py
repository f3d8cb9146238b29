"""How many neighbouring outputs one application of a tiled kernel computes."""

import itertools

from .._window import Window

# XLA:CPU stays with its own kernels on all cores up to this many output channels.
_MOST_OUTPUTS = 16
# While a patch is so small, gathering it is all the work.
_SMALL_PATCH = 64
# More places than are asked for, by at most this share.
_MOST_FILLED = 1.25


def tile(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> tuple[int, int]:
    """Rows and columns of outputs that one application of the tiled kernel computes.

    The largest tile, up to 2 x 4, whose outputs have at most 16 channels in all, where XLA stays
    with Eigen on all cores, or 32 while a patch is so small that gathering it is all the work.
    With more than 16 channels in, gathering is no longer what it spends its time on.
    """
    (kh, kw, c, o), m = w, window.output_shape(x[1:-1], w[:-2])

    def patch(s: int, t: int) -> int:
        return (kh + s - 1) * (kw + t - 1) * c

    def fits(s: int, t: int) -> bool:
        filled = all(-(-mi // step) * step <= 1.25 * mi for mi, step in zip(m, (s, t), strict=True))
        few = c <= 2 and patch(s, t) <= 64
        return filled and s * t * o <= (32 if few else 16)

    tiles = [st for st in itertools.product((1, 2), (1, 2, 4)) if fits(*st)]
    if kh * kw == 1 or c > 16 or not tiles:
        return 1, 1
    return max(tiles, key=lambda st: (st[0] * st[1], -patch(*st)))
