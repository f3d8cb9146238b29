"""MNIST's four files, small: their bytes, and folders of them."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from jaxcnn.mnist.data.published import SOURCES

STEMS = tuple(SOURCES["mnist"].shapes)
IMAGES, LABELS = STEMS[0], STEMS[1]
TRAIN, TEST, VALIDATION = 60, 30, 20


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


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


def flip_last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])
