"""A picture whose parts light up one after the other."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image


class Moving:
    """A picture that shows its parts one after the other, twice, and then rests as a whole.

    It is an animated PNG, whose first picture is the whole: what does not move shows that.
    """

    def __init__(self, figure: Figure, parts: Mapping[int, Sequence[tuple[float, ...]]]):
        self.figure, self.parts = figure, parts

    def _repr_png_(self) -> bytes:
        boxes = [
            [box for other in self.parts if other != part for box in self.parts[other]]
            for part in sorted(self.parts)
        ]
        frames = [self._picture(veiled) for veiled in ([], *boxes, [])]
        whole, *rest = _of_one_palette(frames)
        file = io.BytesIO()
        times = [2500, *[1200] * len(boxes), 2500]
        whole.save(file, "PNG", save_all=True, append_images=rest, duration=times, loop=2)
        return file.getvalue()

    def _picture(self, veiled: Sequence[tuple[float, ...]]) -> Image.Image:
        axes = self.figure.axes[0]
        veils = [
            axes.add_patch(
                Rectangle((left, top), width, height, color="white", alpha=0.8, lw=0, zorder=9)
            )
            for top, left, height, width in veiled
        ]
        file = io.BytesIO()
        self.figure.savefig(file, format="png")
        for veil in veils:
            veil.remove()
        return Image.open(file).convert("RGB")


def _of_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The frames in the 256 colours that most of their pixels have: a third of the bytes.

    The large flat areas, which are what one sees, keep their colour to the bit.
    """
    pixels = np.stack([np.asarray(frame, np.int32) for frame in frames])
    numbers = pixels @ np.array([1 << 16, 1 << 8, 1])
    found, back, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=-1)
    palette = colours[np.argsort(-counts, kind="stable")[:256]]
    nearest = [np.square(palette - colour).sum(axis=-1).argmin() for colour in colours]
    indices = np.array(nearest, np.uint8)[back].reshape(numbers.shape)
    images = [Image.fromarray(frame) for frame in indices]
    for image in images:
        image.putpalette(palette.astype(np.uint8).tobytes())
    return images
