"""How MNIST places a digit: a 20x20 box of ink in a 28x28 image, its centre of mass in the middle.

Ink is a float image, 0 for paper and 1 for full ink.
"""

import math

import numpy as np
from PIL import Image

BOX = 20
SIZE = 28


def resize(ink: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Ink scaled to `shape` (height, width): averaged where it shrinks, smooth where it grows."""
    height, width = shape
    image = Image.fromarray(np.asarray(ink, np.float32))
    # Both widen their support when they shrink an image, so no stroke falls between two samples.
    # Lanczos is the sharper; growing, it would ring into the paper, which has to stay black.
    shrinks = height < ink.shape[0]
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.HAMMING
    scaled = image.resize((width, height), method)
    return np.clip(np.asarray(scaled), 0.0, 1.0)


def centre_by_mass(ink: np.ndarray) -> np.ndarray:
    """A uint8 image `[28, 28]` with the ink's centre of mass at its centre, to the pixel.

    Ink no larger than 20x20 that lies to one side is moved as far as the border lets it.
    """
    height, width = ink.shape
    mass = ink.sum()
    rows, columns = np.indices(ink.shape)
    if mass > 0:
        centre = (float((rows * ink).sum() / mass), float((columns * ink).sum() / mass))
    else:
        centre = ((height - 1) / 2, (width - 1) / 2)
    # Over MNIST the centre of mass lies within [13.5, 14.5) of every image, counting from 0.
    top = min(max(math.ceil(SIZE / 2 - 0.5 - centre[0]), 0), SIZE - height)
    left = min(max(math.ceil(SIZE / 2 - 0.5 - centre[1]), 0), SIZE - width)
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[top : top + height, left : left + width] = np.round(ink * 255).astype(np.uint8)
    return image
