"""The IDX file format, in which MNIST is published."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fnn.types import NDArray

DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path) -> NDArray:
    """Read an array from an IDX file, compressed by gzip or not.

    The file begins with two zero bytes, a byte for the type and one for the number of
    axes. The lengths of the axes follow, four bytes each, and then the numbers. All of them
    are big-endian.

    Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".

    Args:
        path: The file; its content tells whether it is compressed.

    Returns:
        The array, in the machine's byte order.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not an IDX file, is damaged, or is shorter or longer than its
            header says.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
        ...     fnn.data.read_idx(path)
        array([7, 8, 9], dtype=uint8)
    """
    content = Path(path).read_bytes()
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: gzip says {error}") from error
    if len(content) < 4:
        raise ValueError(f"{path} is not an IDX file: it has {len(content)} bytes")
    zeros, code, ndim = struct.unpack(">HBB", content[:4])
    if zeros != 0 or code not in DTYPES:
        raise ValueError(
            f"{path} is not an IDX file: it begins with 0x{content[:4].hex()}, where an "
            f"IDX file has two zero bytes and a type from {sorted(map(hex, DTYPES))}"
        )
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError(f"{path} is truncated: it ends inside its header")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    dtype = DTYPES[code]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        state = "truncated" if len(content) - start < expected else "too long"
        raise ValueError(
            f"{path} is {state}: an array of shape {shape} takes {expected} bytes, "
            f"but {len(content) - start} follow the header"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))
