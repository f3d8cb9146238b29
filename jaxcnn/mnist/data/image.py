"""A picture of a digit, from a file of anybody's making, as an image like MNIST's.

MNIST's digits are light on dark, scaled to a box of 20x20 with their proportions kept, and placed
in 28x28 with the centre of mass in the middle. A photograph or a drawing has none of that, and a
network trained on MNIST sees little in it until it has.
"""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from ..._errors import CommandError
from .placement import BOX, centre_by_mass, resize

FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 100_000_000
# Larger pictures are averaged down to about this many pixels a side before anything is looked at.
_WORKING_SIZE = 256
# Of the range from black to white: less than this between ink and paper is no digit, and less than
# that nothing at all.
_LEAST_CONTRAST, _BLANK = 0.08, 0.02
# Of the strongest ink: less than this is paper, noise or the ringing of JPEG around a stroke.
_LEAST_INK = 0.15
# In pixels of the 20x20 box: strokes much thinner are thickened to this.
_STROKE = 2.0
# Of the tallest part: a part beside it that is as high as this is another digit.
_DIGITS_HEIGHT = 0.6
# Of the largest connected stroke: anything smaller is a speck.
_LEAST_STROKE = 0.04


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """The digit in a PNG or JPEG file as a uint8 image `[28, 28]`, light on dark, as MNIST's are.

    Any size up to 100 million pixels and any mode: 1, 8 or 16 bits, grey, colour, palette,
    transparent; dark on light or light on dark, which the border decides. The camera's orientation
    is honoured and uneven light is levelled.

    Raises:
        CommandError: the file is missing, empty, no PNG or JPEG, damaged, larger than that, or
            holds no digit. The message names the file and the remedy.
    """
    return place(_luminance(_open(Path(path)), path), path)


def place(luminance: np.ndarray, name: object = "the picture") -> np.ndarray:
    """The uint8 image `[28, 28]` of a digit given as luminance `[H, W]`, 0 black to 1 white.

    Raises:
        CommandError: there is no contrast, so no digit.

    Examples:
        >>> drawing = np.ones((100, 60))
        >>> drawing[20:80, 25:35] = 0  # a dark stroke, 60 high and 10 wide
        >>> image = place(drawing)
        >>> image.shape, int(image.max()), int((image.max(axis=1) > 0).sum())
        ((28, 28), 255, 20)
    """
    shrink = max(luminance.shape) / _WORKING_SIZE
    if shrink > 1:
        height, width = (max(1, round(side / shrink)) for side in luminance.shape)
        luminance = resize(luminance, (height, width))
    ink = _ink(luminance)
    contrast = float(ink.max())
    # Half of the pixels of noisy paper deviate by less than 0.67 standard deviations, and its
    # strongest by about four.
    paper = ink <= contrast / 2
    noise = 4 * float(np.median(np.abs(ink[paper]))) / 0.67
    only_noise = noise > 0.7 * contrast and paper.mean() > 0.9
    if contrast < _LEAST_CONTRAST or only_noise:
        blank = contrast < _BLANK or only_noise
        why = "it is blank" if blank else f"it has too little contrast ({contrast:.1%} of the range"
        why += "" if blank else f" from black to white, {_LEAST_CONTRAST:.0%} is the least)"
        raise CommandError(
            f"{name} shows no digit: {why}. Give a picture of one digit on a plain ground."
        )
    clean = _without_specks(ink / contrast, min(max(_LEAST_INK, noise / contrast), 0.5))
    if (count := _side_by_side(clean)) > 1:
        raise CommandError(
            f"{name} shows {count} digits side by side: give a picture of one, cut out."
        )
    digit = _crop(clean)
    thin = max(digit.shape) / BOX * _STROKE - _stroke_width(digit)
    if thin >= 1:
        # A fine pen in a large picture: MNIST's strokes are a tenth of the digit wide.
        size = 1 + round(thin)
        digit = _crop(ndimage.grey_dilation(np.pad(digit, size), footprint=_disc(size)))
    scale = BOX / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    digit = resize(digit, (height, width))
    # Averaging a thin stroke down makes it faint; MNIST's strokes are bright at their core.
    return centre_by_mass(digit / digit.max())


def _crop(ink: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(ink.max(axis=1))[0], np.nonzero(ink.max(axis=0))[0]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _stroke_width(ink: np.ndarray) -> float:
    """The mean width of the strokes in pixels.

    Across a stroke of width v the distance to the paper rises from 0 to v/2 and falls again: its
    mean is v/4.
    """
    stroke = np.pad(ink, 1) > 0.5
    distance = np.asarray(ndimage.distance_transform_edt(stroke))
    # Distances are counted from the centre of the next paper pixel, half a pixel off its edge.
    return 4 * float(distance[stroke].mean() - 0.5)


def _disc(size: int) -> np.ndarray:
    offset = np.arange(size) - (size - 1) / 2
    return np.hypot(offset[:, None], offset) <= size / 2


def _open(path: Path) -> Image.Image:
    if not path.exists():
        raise CommandError(f"{path} does not exist: give the path of a PNG or JPEG file.")
    if not path.is_file():
        raise CommandError(f"{path} is no file: give the path of a PNG or JPEG file.")
    try:
        if path.stat().st_size == 0:
            raise CommandError(f"{path} is empty: save the picture again.")
        with warnings.catch_warnings():
            # The limit below is stated and checked before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with path.open("rb") as file:
                image = Image.open(file, formats=FORMATS)
                _require_size(image.size, path)
                image.load()
        return image
    except Image.DecompressionBombError:
        raise CommandError(_too_large(path, "too many")) from None
    except UnidentifiedImageError:
        raise CommandError(f"{path} is no PNG or JPEG image: save it as one of these.") from None
    except (OSError, SyntaxError, ValueError) as error:
        # The system says why; what Pillow says of damaged pixels is for its developers.
        reason = getattr(error, "strerror", None) or f"damaged or cut short ({error})"
        raise CommandError(f"cannot read {path}: {reason}. Save it again.") from None


def _require_size(size: tuple[int, int], path: Path) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise CommandError(_too_large(path, f"{width:,} x {height:,}"))


def _too_large(path: Path, count: str) -> str:
    return f"{path} is too large: {count} pixels, allowed are {MAX_PIXELS:,}. Scale it down."


def _luminance(image: Image.Image, name: object) -> np.ndarray:
    """Luminance `[H, W]`, 0 black to 1 white; a transparent picture on a contrasting ground."""
    image = ImageOps.exif_transpose(image)
    wide = image.mode.startswith("I") or image.mode == "F"
    transparent = "A" in image.getbands() or "transparency" in image.info
    image = image.convert("F" if wide else "RGBA" if transparent else "L")
    # Shrink large pictures before they become floats, four times their size.
    factor = max(image.size) // (2 * _WORKING_SIZE)
    if factor > 1:
        image = image.reduce(factor)
    if wide or not transparent:
        return np.asarray(image, np.float32) / (65535 if wide else 255)
    grey = np.asarray(image.convert("RGB").convert("L"), np.float32) / 255
    alpha = np.asarray(image.getchannel("A"), np.float32) / 255
    if alpha.max() == 0:
        raise CommandError(f"{name} shows no digit: it is wholly transparent.")
    drawn = float((grey * alpha).sum() / alpha.sum())
    ground = 0.0 if drawn > 0.5 else 1.0
    return alpha * grey + (1 - alpha) * ground


def _ink(luminance: np.ndarray) -> np.ndarray:
    """How far each pixel stands out from the paper around it, whichever of the two is darker."""
    height, width = luminance.shape
    rows, columns = np.indices(luminance.shape)
    border = (rows == 0) | (rows == height - 1) | (columns == 0) | (columns == width - 1)
    # Light that falls from one side makes a plane of the paper, as the border shows.
    plane = np.stack([np.ones(luminance.shape), rows / height, columns / width], axis=-1)
    weights, *_ = np.linalg.lstsq(plane[border], luminance[border])
    luminance = luminance - plane @ weights
    luminance = luminance - np.median(luminance[border])
    if luminance.max() > -luminance.min():
        luminance = -luminance
    # A closing fills every stroke narrower than the window: what is left is the paper, shadows
    # and all. A window of half the picture is wider than any stroke of a digit.
    ground = ndimage.grey_closing(luminance, size=max(3, max(luminance.shape) // 2))
    ink = ground - luminance
    # On noisy paper the closing follows the peaks of the noise: level by its middle instead.
    return ink - np.median(ink[ink <= ink.max() / 2])


def _without_specks(ink: np.ndarray, least: float) -> np.ndarray:
    """Ink, at most 1, without what is faint and what is small."""
    ink = np.where(ink < least, 0, ink)
    parts = np.empty(ink.shape, np.int32)
    ndimage.label(ink, structure=np.ones((3, 3)), output=parts)
    masses = np.bincount(parts.ravel(), weights=ink.ravel())
    return np.where(masses[parts] < _LEAST_STROKE * masses.max(), 0, ink)


def _side_by_side(ink: np.ndarray) -> int:
    """How many parts of a digit's size stand beside each other, none above the columns of another.

    The parts of one digit, a 5 and its bar say, share columns, or one is far smaller.
    """
    parts, count = np.asarray(ndimage.label(ink, structure=np.ones((3, 3)))[0]), 0
    boxes = [box for box in ndimage.find_objects(parts) if box is not None]
    tallest = max((rows.stop - rows.start for rows, _ in boxes), default=0)
    end = -1
    for rows, columns in sorted(boxes, key=lambda box: box[1].start):
        if rows.stop - rows.start >= _DIGITS_HEIGHT * tallest and columns.start > end:
            count += 1
        end = max(end, columns.stop)
    return count
