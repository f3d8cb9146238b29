"""Small data sets that stand for the published ones, and nowhere to download from."""

import numpy as np
import pytest

from jaxcnn.mnist.data import published, sources
from jaxcnn.mnist.data.files import DATA_DIR_VARIABLE
from tests.mnist.small_mnist import STEMS, TEST, TRAIN, VALIDATION, fashion, idx_bytes, sha256


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
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
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
        source = published.Source(
            title=published.SOURCES[name].title,
            folders=published.SOURCES[name].folders,
            mirrors=nowhere,
            trusts=trusts,
            digests=digests,
            shapes=shapes,
        )
        monkeypatch.setitem(published.SOURCES, name, source)
    return contents
