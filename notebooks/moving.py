"""A picture whose parts light up one after the other."""

import io
from collections.abc import Mapping, Sequence

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
        whole = self._picture([])
        steps = [
            self._picture(
                [box for other in self.parts if other != part for box in self.parts[other]]
            )
            for part in sorted(self.parts)
        ]
        file = io.BytesIO()
        times = [2500, *[1200] * len(steps), 2500]
        whole.save(
            file, "PNG", save_all=True, append_images=[*steps, whole], duration=times, loop=2
        )
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
