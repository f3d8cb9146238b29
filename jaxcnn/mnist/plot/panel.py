"""What the pictures are composed of: maps side by side, scaled around zero or up from it."""

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.image import AxesImage

# Between two maps: a grey that is neither end of a scale nor its middle.
PAPER = "0.72"


def montage(maps: np.ndarray, columns: int) -> np.ndarray:
    """Maps `[H, W, C]` as one image, `columns` to a line, a line of NaN between them.

    Examples:
        >>> montage(np.arange(4.0).reshape(1, 1, 4), 2)
        array([[ 0., nan,  1.],
               [nan, nan, nan],
               [ 2., nan,  3.]])
    """
    height, width, count = maps.shape
    rows = math.ceil(count / columns)
    # An odd one out at the end, which no map fills, stays empty.
    canvas = np.full((rows, height + 1, columns, width + 1), np.nan)
    for i in range(count):
        canvas[i // columns, :height, i % columns, :width] = maps[:, :, i]
    return canvas.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def columns_for(count: int, aspect: float) -> int:
    """How many square maps to a line make them largest in a panel of width = aspect * height."""

    def side(columns: int) -> float:
        return min(aspect / columns, 1 / math.ceil(count / columns))

    return max((n for n in range(1, count + 1) if count % n == 0), key=side)


def show(axes: Axes, values: np.ndarray, *, signed: bool, limit: float | None = None) -> AxesImage:
    """Draw values `[H, W]`: red above zero and blue below it, or, unsigned, from black up to white.

    Args:
        axes: where to draw.
        values: NaN leaves the paper.
        signed: whether the scale is centred on zero.
        limit: the end of the scale; the largest magnitude if None.
    """
    if limit is None:
        limit = largest(values)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(PAPER)
    axes.set_anchor("W")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(
        values,
        cmap=colours(signed),
        vmin=-limit if signed else 0.0,
        vmax=limit,
        interpolation="nearest",
    )


def scale_beside(axes: Axes, image: AxesImage, *, signed: bool) -> None:
    """Put the colour scale of `image` at its right, as high as the image is."""
    place = axes.inset_axes((1.02, 0, 0.03, 1))
    low, high = image.get_clim()
    ticks = [low, 0, high] if signed else [low, high]
    bar = axes.figure.colorbar(image, cax=place, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(labelsize=8, length=2)


def colours(signed: bool) -> Colormap:
    """The scale for signed values (white at zero), or for values from zero up."""
    return matplotlib.colormaps["RdBu_r" if signed else "gray"]


def largest(values: np.ndarray) -> float:
    """The largest finite magnitude; 1 where there is none, so that a scale has two ends."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0
