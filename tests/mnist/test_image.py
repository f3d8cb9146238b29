"""Pictures of digits, however they were made, arrive as MNIST's images; others get one line."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcnn._errors import CommandError
from jaxcnn.mnist.data import image, sources
from jaxcnn.mnist.data.placement import centre_by_mass, resize


@pytest.fixture(scope="module")
def digits():
    """The test digits with their labels, and twice as large, as a drawing program has them."""
    dataset = sources.load("digits")
    return dataset.test_images, dataset.test_labels


@pytest.fixture(scope="module")
def drawing(digits):
    """Ink `[H, W]`, 0 to 1, of a 5 in a larger picture, off its middle."""
    (five,) = digits[0][digits[1] == 5][:1]
    ink = np.zeros((180, 240), np.float32)
    larger = Image.fromarray(five).resize((112, 112), Image.Resampling.BICUBIC)
    ink[30:142, 100:212] = np.asarray(larger) / 255
    return ink


def placed_alike(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.94


def grey8(ink):
    return Image.fromarray(np.round(255 * ink).astype(np.uint8))


def transparent(ink, colour):
    alpha = grey8(ink)
    picture = Image.new("RGBA", alpha.size, colour)
    picture.putalpha(alpha)
    return picture


def sideways(ink):
    picture = grey8(1 - ink).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    picture.info["exif"] = exif.tobytes()
    return picture


def photograph(ink):
    rows, columns = np.indices(ink.shape) / np.max(ink.shape)
    paper = 0.85 - 0.3 * rows - 0.2 * columns
    noise = np.random.default_rng(0).normal(0, 0.02, ink.shape)
    return grey8(np.clip(paper * (1 - 0.7 * ink) + noise, 0, 1)).convert("RGB")


MODES = {
    "light on dark": grey8,
    "dark on light": lambda ink: grey8(1 - ink),
    "1 bit": lambda ink: grey8(1 - ink).convert("1", dither=Image.Dither.NONE),
    "16 bits": lambda ink: Image.fromarray(np.round(65535 * ink).astype(np.uint16)),
    "16 bits, faint": lambda ink: Image.fromarray(np.round(9000 * ink).astype(np.uint16)),
    "palette": lambda ink: grey8(1 - ink).convert("P", palette=Image.Palette.ADAPTIVE),
    "red on blue": lambda ink: Image.merge("RGB", [grey8(ink), grey8(0 * ink), grey8(1 - ink)]),
    "black ink, transparent": lambda ink: transparent(ink, "black"),
    "white ink, transparent": lambda ink: transparent(ink, "white"),
    "grey and alpha": lambda ink: transparent(ink, "black").convert("LA"),
    "opaque alpha": lambda ink: grey8(1 - ink).convert("RGBA"),
    "camera turned": sideways,
    "photograph": photograph,
}


@pytest.mark.parametrize("mode", MODES)
def test_any_mode_gives_the_same_image(mode, drawing, tmp_path):
    expected = image.place((drawing > 0.5).astype(np.float32) if mode == "1 bit" else drawing)
    picture = MODES[mode](drawing)
    picture.save(tmp_path / "5.png", exif=picture.info.get("exif", b""))
    got = image.read(tmp_path / "5.png")
    assert (got.shape, got.dtype) == ((28, 28), np.uint8)
    assert placed_alike(got, expected)


@pytest.mark.parametrize("mode", ["dark on light", "red on blue", "CMYK", "camera turned"])
def test_jpeg(mode, drawing, tmp_path):
    picture = grey8(1 - drawing).convert("CMYK") if mode == "CMYK" else MODES[mode](drawing)
    picture.save(tmp_path / "5.jpg", quality=60, exif=picture.info.get("exif", b""))
    assert placed_alike(image.read(tmp_path / "5.jpg"), image.place(drawing))


@pytest.mark.parametrize("shape", [(20, 20), (28, 28), (31, 90), (700, 300), (1500, 2000)])
def test_any_size_is_scaled_and_centred_as_mnist_is(shape, digits):
    (zero,) = digits[0][digits[1] == 0][:1]
    height, width = shape
    side = min(shape)
    picture = np.zeros(shape, np.float32)
    # At the lower right of the picture.
    picture[height - side :, width - side :] = resize(zero / np.float32(255), (side, side))
    got = image.place(1 - picture)
    rows, columns = np.nonzero(got.max(1))[0], np.nonzero(got.max(0))[0]
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=1)
    assert got.max() == 255
    mass = got.sum(dtype=float)
    assert (got.sum(1, dtype=float) * np.arange(28)).sum() / mass == pytest.approx(14, abs=0.51)
    assert (got.sum(0, dtype=float) * np.arange(28)).sum() / mass == pytest.approx(14, abs=0.51)
    assert placed_alike(got, image.place(zero / 255))


def test_what_is_in_place_stays_there(digits):
    for digit in digits[0][::10]:
        once = image.place(digit / 255)
        assert placed_alike(image.place(once / 255), once)


def test_digits_are_recognised_as_before(digits, tmp_path):
    from sklearn.neighbors import KNeighborsClassifier

    dataset = sources.load("digits")
    neighbours = KNeighborsClassifier(3)
    neighbours.fit(dataset.train_images.reshape(-1, 784) / 255, dataset.train_labels)
    images, labels = digits[0][:100], digits[1][:100]
    plain = neighbours.predict(images.reshape(-1, 784) / 255)
    assert (plain == labels).mean() > 0.9
    for size, dark_on_light, suffix in ((28, False, "png"), (60, True, "png"), (200, True, "jpg")):
        read = []
        for i, digit in enumerate(images):
            ink = resize(digit / np.float32(255), (size, size))
            path = tmp_path / f"{i}.{suffix}"
            grey8(1 - ink if dark_on_light else ink).save(path)
            read.append(image.read(path).ravel() / 255)
        assert (neighbours.predict(np.stack(read)) == plain).mean() >= 0.97


def test_specks_and_fine_pens_do_not_matter(drawing):
    expected = image.place(drawing)
    dusty = drawing.copy()
    dusty[5:8, 5:8] = 1
    dusty[170, 230] = 1
    assert placed_alike(image.place(1 - dusty), expected)

    fine = np.ones((400, 400), np.float32)
    fine[50:350, 198:201] = 0  # a 1 drawn with a pen of three pixels
    column = image.place(fine).max(0)
    assert (column > 100).sum() >= 2
    assert column.max() == 255


def test_centre_by_mass_stays_within_the_image():
    heavy = np.zeros((20, 20))
    heavy[:, 0] = 1  # its centre lies ten pixels from the middle of its box
    got = centre_by_mass(heavy)
    assert got.sum() == 20 * 255
    assert np.nonzero(got.max(0))[0].tolist() == [8]  # as far as the border lets it
    assert centre_by_mass(np.zeros((20, 20))).sum() == 0


def png(width: int, height: int) -> bytes:
    """A PNG file that announces a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + end


def cut_short(tmp_path):
    path = tmp_path / "whole.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    return path.read_bytes()[:2000]


def blank(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("L", (50, 50), 200).save(path)
    return path.read_bytes()


def noise(tmp_path):
    path = tmp_path / "noise.png"
    grey = np.random.default_rng(0).normal(180, 12, (300, 300))
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path)
    return path.read_bytes()


def invisible(tmp_path):
    path = tmp_path / "invisible.png"
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: b"", "is empty"),
        (lambda folder: b"no image at all", "is no PNG or JPEG image"),
        (lambda folder: b"GIF89a" + bytes(100), "is no PNG or JPEG image"),
        (lambda folder: png(100_000, 100_000), "is too large"),
        (lambda folder: png(12_000, 9_000), r"is too large: 12,000 x 9,000 pixels, allowed"),
        (lambda folder: png(20, 20), "cannot read"),
        (cut_short, "cannot read .* cut short"),
        (blank, "shows no digit"),
        (noise, "shows no digit"),
        (invisible, "shows no digit: it is wholly transparent"),
    ],
)
def test_what_is_no_digit_is_named(make, reason, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(make(tmp_path))
    with pytest.raises(CommandError, match=reason) as raised:
        image.read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"nothing\.png does not exist"):
        image.read(tmp_path / "nothing.png")
    with pytest.raises(CommandError, match="is no file"):
        image.read(tmp_path)


def test_too_little_contrast_is_not_called_blank():
    faint = np.where(drawn(1.0) < 0.5, 0.5, 0.55)
    with pytest.raises(CommandError, match="too little contrast"):
        image.place(faint)
    with pytest.raises(CommandError, match="blank"):
        image.place(np.ones((50, 50)))


def test_several_digits_are_noticed():
    one = drawn(1.0)
    with pytest.raises(CommandError, match="3 digits side by side"):
        image.place(np.concatenate([one, one, one], axis=1))


def drawn(paper: float) -> np.ndarray:
    """A zero in ink on paper, as luminance."""
    y, x = np.indices((60, 50))
    ring = np.abs(np.hypot((y - 30) / 20, (x - 25) / 14) - 1) < 0.2
    return np.where(ring, 0.0, paper)
