"""A gradient that is the right one times a factor, and where that factor may come from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .suspect import FEWEST, Suspect

# A constant of the formula as easily as a length of some array.
_SMALL = 4
# So many explanations are named.
_NAMED = 3


@dataclass(frozen=True)
class Lengths:
    """What a factor may be: the sizes of windows, and failing those of arrays, in words."""

    windows: dict[int, list[str]]
    arrays: dict[int, list[str]]

    @classmethod
    def of(
        cls,
        shapes: Sequence[tuple[str, tuple[int, ...]]],
        windows: Sequence[tuple[int, ...]] = (),
    ) -> "Lengths":
        """Those of the arrays with these names and shapes, and of these windows."""
        by_window: dict[int, list[str]] = {}
        for window in dict.fromkeys(windows):
            words = f"the elements of the {'x'.join(map(str, window))} window"
            by_window.setdefault(math.prod(window), []).append(words)
        by_array: dict[int, list[str]] = {}
        named: set[tuple[int, int]] = set()
        for path, shape in shapes:
            for axis, n in enumerate(shape):
                # The same axis of another array is most likely the same length.
                if (axis, n) not in named:
                    by_array.setdefault(n, []).append(f"the size of axis {axis} of {path}")
                named.add((axis, n))
        for path, shape in shapes:
            products = [(shape, f"the number of elements of {path}")]
            if len(shape) > 2:
                products.append((shape[1:-1], f"the product of the middle axes of {path}"))
                products.append((shape[:-1], f"the product of all axes but the last of {path}"))
            for axes, words in products:
                by_array.setdefault(math.prod(axes), [words])
        return cls(by_window, by_array)

    def explain(self, m: int) -> str:
        """What the number m may be, in words; empty where nothing has that length."""
        windows, arrays = self.windows.get(m, []), self.arrays.get(m, [])
        found = windows or arrays
        if not found:
            return ""
        certain = len(found) == 1 and (bool(windows) or m > _SMALL)
        return f"{m} {'' if certain else 'perhaps '}being {' or '.join(found[:_NAMED])}"

    def words(self, c: float) -> str | None:
        """A factor in words: what it is likely to be; None for one that nothing explains."""
        if abs(c - 1) < 1e-3:
            return ""
        if abs(c + 1) < 1e-3:
            return "the wrong sign"
        sign = "the wrong sign and " if c < 0 else ""
        for whole, one_over in ((abs(c), False), (1 / abs(c), True)):
            m = round(whole)
            if m >= 2 and abs(whole - m) < 1e-3 * m:
                why = self.explain(m)
                if why or m <= _SMALL:
                    text = f"1/{m}" if one_over else f"{m}"
                    return f"{sign}off by a factor {text}" + (why and f", {why}")
        return None


def factor(s: Suspect, right: np.ndarray, lengths: Lengths) -> str:
    """The factor between the gradient and the right one, where there is one."""
    power = float(np.sum(right * right))
    c = float(np.sum(s.gradient * right)) / power if power else 0.0
    if not c or not np.isfinite(c) or not s.is_close(s.gradient / c, right):
        return ""
    words = lengths.words(c)
    # One number is always a multiple of another: only a factor with a reason counts.
    if words or np.count_nonzero(right) < FEWEST:
        return words or ""
    return f"off by a factor {c:.6g}" if abs(c - 1) > 1e-3 else ""
