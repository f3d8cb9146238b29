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
        # One palette for all: a third of the bytes.
        width, height = frames[0].size
        strip = Image.new("RGB", (width, height * len(frames)))
        for number, frame in enumerate(frames):
            strip.paste(frame, (0, number * height))
        palette = strip.quantize(128)
        colours = np.reshape(palette.getpalette() or [], (-1, 3))
        colours[colours.min(axis=1) > 242] = 255  # the paper, which the quantizing greyed
        palette.putpalette(colours.ravel().tolist())
        whole, *rest = (
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
        )
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
