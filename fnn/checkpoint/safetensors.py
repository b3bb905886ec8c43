"""The safetensors format: a length, a header in JSON, and the bytes of the arrays.

    8 bytes         n, an unsigned integer, little-endian
    n bytes         {"__metadata__": {name: text, ...},
                     name: {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}, ...}
                    and spaces, up to a multiple of 8
    the rest        the arrays, without gaps, in C order, little-endian

Files of fnn have two digests in their metadata: one of the arrays, and one of length and
header. The second counts as 64 zeros in the header that it is the digest of. So no change
of a bit goes unnoticed.

Source: https://github.com/huggingface/safetensors, "Format".
"""

import hashlib
import itertools
import json
import math
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fnn.checkpoint.errors import CorruptedError
from fnn.types import NDArray, Shape

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
METADATA = "__metadata__"
HEADER_DIGEST, DATA_DIGEST = "fnn.header_sha256", "fnn.data_sha256"
ZEROS = "0" * 64
LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""
MOST_AXES = 64
"""NumPy's limit."""


class Entry(NamedTuple):
    """The header's entry of an array, and the range of its bytes after the header."""

    dtype: np.dtype[Any]
    shape: Shape
    begin: int
    end: int


def encode(
    arrays: Mapping[str, NDArray], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """Yield the parts of a file with these arrays under their names."""
    # The widest come first, so that all of them are aligned.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    buffers = [_bytes_of(_plain(arrays[name])) for name in names]
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    digests = {HEADER_DIGEST: ZEROS, DATA_DIGEST: digest.hexdigest()}
    header: dict[str, Any] = {METADATA: digests | dict(metadata)}
    ends = itertools.accumulate((buffer.nbytes for buffer in buffers), initial=0)
    for name, offsets in zip(names, itertools.pairwise(ends), strict=True):
        code, shape = CODES[arrays[name].dtype.name], arrays[name].shape
        header[name] = {"dtype": code, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    yield head.replace(ZEROS.encode(), hashlib.sha256(head).hexdigest().encode(), 1)
    yield from buffers


class Reader:
    """A file whose header has been read and checked."""

    def __init__(self, file: BufferedReader, path: Path, verify: bool) -> None:
        self.path = path
        self._file, self._verify = file, verify
        size = os.fstat(file.fileno()).st_size
        head = _read_head(file, size)
        header = _parse(head[8:])
        self.metadata = _metadata(header.pop(METADATA, {}))
        if verify:
            _verify_head(head, self.metadata)
        entries = {name: _entry(name, value) for name, value in header.items()}
        self.entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
        _check_offsets(self.entries, size - len(head))

    @contextmanager
    def reading(self, names: Collection[str]) -> Iterator[dict[str, NDArray]]:
        """Give the arrays of these names, once; they are verified when the context ends.

        A thread computes their digest meanwhile, which takes the longest.
        """
        digest, arrays = hashlib.sha256(), {}
        with ThreadPoolExecutor(1, "fnn-digest") as thread:
            for name, entry in self.entries.items():
                array = np.empty(entry.shape, entry.dtype)
                content = _bytes_of(array)
                if self._file.readinto(content) != content.nbytes:
                    raise CorruptedError(f"it ends within {name!r}")
                if self._verify:
                    thread.submit(digest.update, content)
                elif entry.dtype == bool and array.view(np.uint8).max(initial=0) > 1:
                    raise CorruptedError(f"{name!r} has booleans that are neither 0 nor 1")
                if name in names:
                    arrays[name] = array
            try:
                yield arrays
            finally:
                thread.shutdown()
                if self._verify and digest.hexdigest() != self.metadata.get(DATA_DIGEST):
                    raise CorruptedError("the arrays do not match the digest in the header")


@contextmanager
def open_reader(path: Path, *, verify: bool) -> Iterator[Reader]:
    """Open a file and check its header; errors name the file."""
    with path.open("rb") as file:
        try:
            yield Reader(file, path, verify)
        except CorruptedError as error:
            raise CorruptedError(f"{path} is corrupted: {error}") from error


def _plain(array: NDArray) -> NDArray:
    """Return the array in C order and the machine's byte order, little-endian."""
    return array.astype(np.dtype(array.dtype.name), order="C", copy=False)


def _bytes_of(array: NDArray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read_head(file: BufferedReader, size: int) -> bytes:
    """Return length and header; never read more than the file can hold."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > size - 8:
        raise CorruptedError(f"its {size} bytes end before its header does")
    if length > LONGEST_HEADER:
        raise CorruptedError(f"its header of {length} bytes is longer than the format's")
    return prefix + file.read(length)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CorruptedError(f"its header can't be parsed: {error}") from error
    if not isinstance(header, dict):
        raise CorruptedError("its header is not a JSON object")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise CorruptedError("its metadata must map names to strings")
    return value


def _verify_head(head: bytes, metadata: dict[str, str]) -> None:
    found = metadata.get(HEADER_DIGEST, "")
    if not found:
        raise CorruptedError(
            "it has no digest of itself; if another program wrote it, pass verify=False"
        )
    blank = head.replace(found.encode(), ZEROS.encode(), 1)
    if hashlib.sha256(blank).hexdigest() != found:
        raise CorruptedError("the header does not match its digest")


def _entry(name: str, value: Any) -> Entry:
    match value:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end]} if (
            code in DTYPES and all(map(_is_count, (*shape, begin, end))) and len(value) == 3
        ):
            dtype = np.dtype(DTYPES[code])
        case _:
            raise CorruptedError(f"its header has no valid entry for {name!r}")
    if len(shape) > MOST_AXES or math.prod(max(n, 1) for n in shape) > 2**59:
        raise CorruptedError(f"{name!r} has the impossible shape {shape}")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise CorruptedError(f"{name!r} has {end - begin} bytes, not those of its shape")
    return Entry(dtype, tuple(shape), begin, end)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _check_offsets(entries: dict[str, Entry], size: int) -> None:
    """Raise unless the arrays are contiguous and fill the rest of the file."""
    end = 0
    for name, entry in entries.items():
        if entry.begin != end:
            raise CorruptedError(f"{name!r} begins at {entry.begin} instead of {end}")
        end = entry.end
    if end != size:
        raise CorruptedError(f"its arrays take {end} bytes, but {size} follow the header")
