"""Data sets come whole and verified, or with one line that says what to do."""

import gzip
import os

import numpy as np
import pytest
from PIL import Image

from jaxcnn._errors import CommandError
from jaxcnn.mnist.data import files, idx, sources
from tests.mnist.small_mnist import (
    IMAGES,
    LABELS,
    TRAIN,
    VALIDATION,
    fashion,
    flip_last_bit,
    gzipped,
    idx_bytes,
    sha256,
    write,
)


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
    monkeypatch.setenv(files.DATA_DIR_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match=r"JAXCNN_DATA_DIR .*nowhere is no folder"):
        sources.load("mnist")
    # A folder that was asked for is never passed over in silence.
    with pytest.raises(CommandError, match="is no folder"):
        sources.load(None, tmp_path / "nowhere")


def test_the_argument_goes_before_the_environment_and_that_before_the_cache(
    small, arrays, tmp_path, monkeypatch, cache
):
    monkeypatch.setenv(files.DATA_DIR_VARIABLE, str(write(tmp_path / "environment", small)))
    assert sources.load("mnist").name == "mnist"
    with pytest.raises(CommandError, match="does not hold"):
        sources.load("mnist", tmp_path)
    # An environment that holds other things leaves the cache to answer.
    monkeypatch.setenv(files.DATA_DIR_VARIABLE, str(tmp_path))
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
    monkeypatch.setenv(files.DATA_DIR_VARIABLE, str(mnist))
    with pytest.raises(CommandError, match="cannot download"):
        sources.load("fashion_mnist")


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


@pytest.mark.skipif(files.DATA_DIR_VARIABLE not in os.environ, reason="MNIST is not at hand")
def test_the_real_mnist():
    dataset = sources.load("mnist")
    assert dataset.train_images.shape == (50_000, 28, 28)
    assert dataset.validation_images.shape == (10_000, 28, 28)
    assert np.bincount(dataset.test_labels).tolist() == [
        *(980, 1135, 1032, 1010, 982),
        *(892, 958, 1028, 974, 1009),
    ]
