"""Data sets come whole and verified, or with one line that says what to do."""

import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn._errors import CommandError
from jaxcnn.mnist.data import idx, sources

STEMS = tuple(sources.SOURCES["mnist"].shapes)
TRAIN, TEST, VALIDATION = 60, 30, 20


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.fixture
def arrays(rng):
    shapes = ((TRAIN, 28, 28), (TRAIN,), (TEST, 28, 28), (TEST,))
    ends = (256, 10, 256, 10)
    return {
        stem: rng.integers(0, end, shape).astype(np.uint8)
        for stem, shape, end in zip(STEMS, shapes, ends, strict=True)
    }


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr("pooch.os_cache", lambda project: folder / project)
    monkeypatch.delenv(sources.DATA_DIR_VARIABLE, raising=False)
    return folder / "jaxcnn"


@pytest.fixture
def small(arrays, cache, monkeypatch):
    """Both sources with small files and nowhere to download from; returns the MNIST contents."""
    contents = {stem: idx_bytes(array) for stem, array in arrays.items()}
    monkeypatch.setattr(sources, "VALIDATION", VALIDATION)
    shapes = {stem: array.shape for stem, array in arrays.items()}
    nowhere = ("http://127.0.0.1:9/",)  # the discard port: refused at once
    for name, trusts, digests in (
        ("mnist", "content", {s: sha256(c) for s, c in contents.items()}),
        ("fashion_mnist", "container", {s: sha256(fashion(c)) for s, c in contents.items()}),
    ):
        source = sources.Source(
            title=sources.SOURCES[name].title,
            folders=sources.SOURCES[name].folders,
            mirrors=nowhere,
            trusts=trusts,
            digests=digests,
            shapes=shapes,
        )
        monkeypatch.setitem(sources.SOURCES, name, source)
    return contents


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fashion(content: bytes) -> bytes:
    """The published container of a Fashion-MNIST file: other pixels, and one certain gzip."""
    return gzip.compress(content[:16] + content[16:][::-1], 9, mtime=1)


def write(folder: Path, contents: dict[str, bytes], suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, content in contents.items():
        (folder / (stem + suffix)).write_bytes(content)
    return folder


def gzipped(contents: dict[str, bytes], level: int = 6) -> dict[str, bytes]:
    return {stem: gzip.compress(content, level) for stem, content in contents.items()}


@pytest.mark.parametrize("container", ["plain", "gzip, fast", "gzip, best", "in a subfolder"])
def test_any_container_of_the_same_bytes_is_split_in_three(container, small, arrays, tmp_path):
    folder = tmp_path / "data"
    if container == "plain":
        write(folder, small)
    elif container == "in a subfolder":
        write(folder / "MNIST" / "raw", small)
    else:
        write(folder, gzipped(small, 1 if "fast" in container else 9), ".gz")

    dataset = sources.load("mnist", folder)

    split = TRAIN - VALIDATION
    train_images, train_labels, test_images, test_labels = arrays.values()
    np.testing.assert_array_equal(dataset.train_images, train_images[:split])
    np.testing.assert_array_equal(dataset.train_labels, train_labels[:split])
    np.testing.assert_array_equal(dataset.validation_images, train_images[split:])
    np.testing.assert_array_equal(dataset.validation_labels, train_labels[split:])
    np.testing.assert_array_equal(dataset.test_images, test_images)
    np.testing.assert_array_equal(dataset.test_labels, test_labels)
    assert dataset.digests == {stem: sha256(content) for stem, content in small.items()}


IMAGES, LABELS = STEMS[0], STEMS[1]


def flip_last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("stem", "suffix", "spoil", "reason"),
    [
        (IMAGES, ".gz", lambda c: gzip.compress(c)[:-9], "cut short"),
        (IMAGES, ".gz", lambda c: gzip.compress(c)[:200] + b"xx" + gzip.compress(c)[202:], "dam"),
        (IMAGES, "", lambda c: c[:-5], "but it has"),
        (IMAGES, "", lambda c: c[:10], "cut short within its header"),
        (IMAGES, "", lambda c: b"", "begins with nothing"),
        (IMAGES, "", lambda c: b"<html>not found</html>", "begins with 3c68746d"),
        (IMAGES, "", flip_last_bit, "its SHA-256"),
        (IMAGES, ".gz", lambda c: gzip.compress(flip_last_bit(c)), "its SHA-256"),
        (IMAGES, "", lambda c: idx_bytes(np.zeros((TRAIN, 14, 56), np.uint8)), r"\[60, 14, 56\]"),
        (LABELS, "", lambda c: c[:-1] + b"\x0a", "the label 10"),
    ],
)
def test_a_spoilt_file_is_named_with_the_reason(stem, suffix, spoil, reason, small, tmp_path):
    others = {s: content for s, content in small.items() if s != stem}
    write(tmp_path / "data", others)
    write(tmp_path / "data", {stem: spoil(small[stem])}, suffix)
    with pytest.raises(CommandError, match=reason) as raised:
        sources.load("mnist", tmp_path / "data")
    assert str(tmp_path / "data" / (stem + suffix)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_folder_or_file_is_named(small, tmp_path, monkeypatch):
    with pytest.raises(CommandError, match=r"--data-dir .*nowhere is no folder"):
        sources.load("mnist", tmp_path / "nowhere")
    with pytest.raises(CommandError, match="does not hold MNIST"):
        sources.load("mnist", tmp_path)
    del small[LABELS]
    with pytest.raises(CommandError, match=f"{LABELS}.*missing"):
        sources.load("mnist", write(tmp_path / "part", small))
    monkeypatch.setenv(sources.DATA_DIR_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match=r"JAXCNN_DATA_DIR .*nowhere is no folder"):
        sources.load("mnist")
    # A folder that was asked for is never passed over in silence.
    with pytest.raises(CommandError, match="is no folder"):
        sources.load(None, tmp_path / "nowhere")


def test_the_argument_goes_before_the_environment_and_that_before_the_cache(
    small, arrays, tmp_path, monkeypatch, cache
):
    monkeypatch.setenv(sources.DATA_DIR_VARIABLE, str(write(tmp_path / "environment", small)))
    assert sources.load("mnist").name == "mnist"
    with pytest.raises(CommandError, match="does not hold"):
        sources.load("mnist", tmp_path)
    # An environment that holds other things leaves the cache to answer.
    monkeypatch.setenv(sources.DATA_DIR_VARIABLE, str(tmp_path))
    write(cache / "mnist", gzipped(small), ".gz")
    assert sources.load("mnist").name == "mnist"


def test_fashion_mnist_is_trusted_as_published_alone(small, tmp_path):
    published = {stem: fashion(content) for stem, content in small.items()}
    dataset = sources.load("fashion_mnist", write(tmp_path / "published", published, ".gz"))
    assert dataset.name == "fashion_mnist"
    assert dataset.class_names[9] == "ankle boot"

    plain = {stem: gzip.decompress(content) for stem, content in published.items()}
    with pytest.raises(CommandError, match=r"as the published \.gz file"):
        sources.load("fashion_mnist", write(tmp_path / "plain", plain))


def test_files_of_the_other_set_with_the_same_names_are_told_apart(small, tmp_path, monkeypatch):
    mnist = write(tmp_path / "data", gzipped(small), ".gz")
    with pytest.raises(CommandError, match="does not hold Fashion-MNIST"):
        sources.load("fashion_mnist", mnist)
    monkeypatch.setenv(sources.DATA_DIR_VARIABLE, str(mnist))
    with pytest.raises(CommandError, match="cannot download"):
        sources.load("fashion_mnist")


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves a dictionary of files; `short` announces more than it sends."""

    def __init__(self, files, short, *args):
        self.files, self.short = files, short
        super().__init__(*args)

    def do_GET(self):
        content = self.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + 100 * self.short))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def mirror():
    """Start a server on this machine: `mirror(files) -> its address`."""
    servers = []

    def start(files, short=False):
        handler = functools.partial(Mirror, files, short)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def use_mirrors(monkeypatch, *mirrors):
    source = sources.SOURCES["mnist"]
    changed = {**vars(source), "mirrors": mirrors}
    monkeypatch.setitem(sources.SOURCES, "mnist", sources.Source(**changed))


def served(contents):
    return {f"{stem}.gz": content for stem, content in gzipped(contents).items()}


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_download_fills_the_cache_once(small, arrays, mirror, monkeypatch, cache):
    files = served(small)
    use_mirrors(monkeypatch, mirror(files))
    first = sources.load("mnist")
    np.testing.assert_array_equal(first.test_images, arrays[STEMS[2]])
    assert files_below(cache) == sorted(files)
    files.clear()
    np.testing.assert_array_equal(sources.load("mnist").test_images, first.test_images)


def bad_mirror(kind, contents):
    files = served(contents)
    if kind == "altered":
        return {name: gzip.compress(flip_last_bit(gzip.decompress(f))) for name, f in files.items()}
    if kind == "a page instead":
        return dict.fromkeys(files, b"<html>log in to the network</html>")
    return {} if kind == "missing" else files


@pytest.mark.parametrize("kind", ["missing", "altered", "a page instead", "broken off"])
def test_a_bad_mirror_gives_way_to_the_next(kind, small, arrays, mirror, monkeypatch, cache):
    bad = mirror(bad_mirror(kind, small), kind == "broken off")
    use_mirrors(monkeypatch, bad, mirror(served(small)))
    np.testing.assert_array_equal(sources.load("mnist").test_images, arrays[STEMS[2]])

    use_mirrors(monkeypatch, bad)
    for path in (cache / "mnist").iterdir():
        path.unlink()
    with pytest.raises(CommandError, match=f"cannot download {IMAGES}") as raised:
        sources.load("mnist")
    assert files_below(cache) == []
    assert "--data-dir" in str(raised.value)
    # A folder that was named, and is empty, is not passed over in silence.
    (cache / "empty").mkdir()
    monkeypatch.setenv("JAXCNN_DATA_DIR", str(cache / "empty"))
    with pytest.raises(CommandError, match="empty holds none of its files"):
        sources.load("mnist")
    assert "\n" not in str(raised.value)


def test_a_damaged_file_in_the_cache_is_fetched_again(small, mirror, monkeypatch, cache):
    write(cache / "mnist", gzipped(small), ".gz")
    damaged = cache / "mnist" / f"{LABELS}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-12])
    with pytest.raises(CommandError, match=f"cannot download {LABELS}"):
        sources.load("mnist")
    assert not damaged.exists()
    use_mirrors(monkeypatch, mirror(served(small)))
    assert sources.load("mnist").name == "mnist"


def test_a_cache_that_cannot_be_written_is_named(small, mirror, monkeypatch, cache):
    use_mirrors(monkeypatch, mirror(served(small)))
    cache.parent.write_text("a file where the cache's folder should be")
    with pytest.raises(CommandError, match=f"cannot write {IMAGES}.gz into the cache .*--data-dir"):
        sources.load("mnist")


def test_without_a_name_mnist_or_else_digits_with_one_line(small, tmp_path, capsys):
    assert sources.load(None, write(tmp_path / "data", small)).name == "mnist"
    assert capsys.readouterr().err == ""
    assert sources.load().name == "digits"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "MNIST is not at hand" in said
    assert "--data-dir" in said


def test_digits_look_like_mnist():
    from sklearn.datasets import load_digits

    originals, targets = (np.asarray(a) for a in load_digits(return_X_y=True))
    dataset = sources.load("digits")
    sizes = [len(labels) for labels in (dataset.train_labels, dataset.validation_labels)]
    assert [*sizes, len(dataset.test_labels)] == [1200, 297, 300]
    images = np.concatenate([dataset.train_images, dataset.validation_images, dataset.test_images])
    labels = np.concatenate([dataset.train_labels, dataset.validation_labels, dataset.test_labels])
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, targets)

    mass = images.sum((1, 2), dtype=float)
    rows = (images.sum(2, dtype=float) * np.arange(28)).sum(1) / mass
    columns = (images.sum(1, dtype=float) * np.arange(28)).sum(1) / mass
    assert np.abs(rows - 14).max() < 0.51
    assert np.abs(columns - 14).max() < 0.51
    for image in images[::100]:
        inked = np.nonzero(image)
        assert max(np.ptp(inked[0]), np.ptp(inked[1])) < 20
    for image, small in zip(images[::100], originals[::100], strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (20, 20)).reshape(-1, 20, 20)
        # Averaged back to 8x8, from wherever the mass has put it, it is what scikit-learn has.
        back = [Image.fromarray(w).resize((8, 8), Image.Resampling.BOX) for w in windows]
        assert max(np.corrcoef(np.asarray(b).ravel(), small.ravel())[0, 1] for b in back) > 0.97


def test_names_and_options_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(CommandError, match=r"'cifar' is none of mnist, fashion_mnist, digits"):
        sources.load("cifar")
    with pytest.raises(CommandError, match=r"--data-dir .* no use with digits"):
        sources.load("digits", tmp_path)


def test_idx_of_other_element_types_is_refused():
    with pytest.raises(ValueError, match="begins with 00000d01"):
        idx.parse(b"\0\0\x0d\x01" + bytes(8))


@pytest.mark.skipif(sources.DATA_DIR_VARIABLE not in os.environ, reason="MNIST is not at hand")
def test_the_real_mnist():
    dataset = sources.load("mnist")
    assert dataset.train_images.shape == (50_000, 28, 28)
    assert dataset.validation_images.shape == (10_000, 28, 28)
    assert np.bincount(dataset.test_labels).tolist() == [
        *(980, 1135, 1032, 1010, 982),
        *(892, 958, 1028, 974, 1009),
    ]
