"""The IDX format in which MNIST and its kin are kept: a big-endian header, then bytes."""

import gzip
import math
import struct
import zlib

import numpy as np

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def decompress(content: bytes) -> bytes:
    """Undo gzip where there is any; plain content passes as it is.

    Raises:
        ValueError: the gzip container is cut short or fails its own checksum.

    Examples:
        >>> decompress(gzip.compress(b"abc")), decompress(b"abc")
        (b'abc', b'abc')
    """
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except EOFError:
        raise ValueError("it is cut short: the gzip stream has no end") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"it is damaged: {error}") from None


def parse(content: bytes) -> np.ndarray:
    r"""The array of unsigned bytes that decompressed IDX content holds.

    Two zero bytes, the type (0x08, unsigned byte), the number of axes, the size of each axis as a
    big-endian 32-bit integer, then the elements, the last axis fastest.

    Raises:
        ValueError: the magic number is another one, or the sizes do not match the length.

    Examples:
        >>> parse(b"\0\0\x08\x01" + b"\0\0\0\x03" + bytes([5, 0, 4]))
        array([5, 0, 4], dtype=uint8)
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(
            f"it is no IDX file of unsigned bytes: it begins with {content[:4].hex() or 'nothing'},"
            " not 000008"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError("it is cut short within its header")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"its header says {list(shape)}, so {expected:,} bytes, but it has {len(content):,}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
