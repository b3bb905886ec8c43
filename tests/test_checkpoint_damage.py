"""Damaged files: the documented error and nothing else, never a wrong number."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn import checkpoint

VALUES = {
    "a": np.arange(3, dtype=np.float32),
    "b": np.array([True, False]),
    "c": np.ones(()),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damage") / "file.safetensors"


@pytest.fixture(scope="module")
def content(path):
    checkpoint.save(path, VALUES, metadata={"epoch": 3, "model": "fnn.Dense(3)"})
    return path.read_bytes()


def is_refused(path, content, **options):
    """Return whether the documented error rejects the content as a checkpoint."""
    path.write_bytes(content)
    try:
        checkpoint.load(path, **options)
    except checkpoint.CorruptedError:
        return True
    return False


def test_truncation_at_every_length_is_refused(path, content):
    for length in range(len(content)):
        assert is_refused(path, content[:length])
        assert is_refused(path, content[:length], verify=False)
    assert is_refused(path, content + b"\0", verify=False)


def test_a_flip_in_any_byte_is_refused(path, content):
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= 1 << i % 8
        assert is_refused(path, damaged), f"bit {i % 8} of byte {i}"


def test_a_flip_in_the_header_is_seen_without_the_arrays(path, content):
    length = 8 + int.from_bytes(content[:8], "little")
    for i in range(length):
        damaged = bytearray(content)
        damaged[i] ^= 0x20  # which makes a small letter of a capital one
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.CorruptedError):
            checkpoint.metadata(path)


def test_without_verification_no_byte_has_another_error(path, content):
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] = b"\x00\x01{9[\xff"[i % 6]
        is_refused(path, damaged, verify=False)


@given(data=st.data())
def test_noise_and_cuts_have_no_other_error(path, content, data):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 8))):
        i = data.draw(st.integers(0, len(damaged) - 1))
        j = data.draw(st.integers(i, min(i + 16, len(damaged))))
        damaged[i:j] = data.draw(st.binary(max_size=16))
    assert is_refused(path, damaged) or damaged == content
    is_refused(path, damaged, verify=False)


def file_of(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)} | more


BOMBS = {
    "length beyond the file": file_of({}, length=2**63),
    "length of terabytes": file_of({}, length=2**42),
    "length negative if signed": file_of({}, length=2**64 - 1),
    "nothing": b"",
    "no header": file_of(b""),
    "no object": file_of([1]),
    "no UTF-8": file_of(b'{"\xff": 1}'),
    "another encoding": file_of('{"a": 1}'.encode("utf-16")),
    "deep lists": file_of(b"[" * 100_000),
    "deep objects": file_of(b'{"a":' * 100_000),
    "endless number": file_of(b'{"a": ' + b"9" * 10_000 + b"}"),
    "name twice": file_of(b'{"a": 1, "a": 1}'),
    "negative shape": file_of({"a": entry(shape=(-1, -1))}, b"1234"),
    "fractional shape": file_of({"a": entry(shape=(1.0,))}, b"1234"),
    "boolean shape": file_of({"a": entry(shape=(True,))}, b"1234"),
    "huge shape": file_of({"a": entry(shape=(2**40, 2**40))}, b"1234"),
    "huge empty shape": file_of({"a": entry(shape=(0, 2**62), offsets=(0, 0))}),
    "endless axes": file_of({"a": entry(shape=(1,) * 65)}, b"1234"),
    "beyond the data": file_of({"a": entry(shape=(2**30,), offsets=(0, 2**32))}, b"1234"),
    "negative offset": file_of({"a": entry(offsets=(-4, 0))}, b"1234"),
    "offsets in reverse": file_of({"a": entry(offsets=(4, 0))}, b"1234"),
    "overlap": file_of({"a": entry(), "b": entry()}, b"1234"),
    "gap": file_of({"a": entry(), "b": entry(offsets=(8, 12))}, b"1234" * 3),
    "data left over": file_of({"a": entry()}, b"1234" * 2),
    "unknown dtype": file_of({"a": entry(dtype="F4")}, b"1234"),
    "no offsets": file_of({"a": {"dtype": "F32", "shape": [1]}}, b"1234"),
    "three offsets": file_of({"a": entry(offsets=(0, 4, 4))}, b"1234"),
    "more than an entry has": file_of({"a": entry(more=1)}, b"1234"),
    "metadata no texts": file_of({"__metadata__": {"a": 1}}),
    "metadata a list": file_of({"__metadata__": []}),
    "boolean of 2": file_of({"a": entry("BOOL", (4,))}, b"\0\1\2\0"),
    "generators a list": file_of({"__metadata__": {"fnn.generators": "[]"}}),
    "generators no JSON": file_of({"__metadata__": {"fnn.generators": "{"}}),
    "generator unknown": file_of(
        {"__metadata__": {"fnn.generators": '{"a": "dice"}'}, "a": entry("U32")}, b"1234"
    ),
    "key of another shape": file_of(
        {"__metadata__": {"fnn.generators": '{"a": "rbg"}'}, "a": entry("U32")}, b"1234"
    ),
    "key of floats": file_of(
        {"__metadata__": {"fnn.generators": '{"a": "rbg"}'}, "a": entry()}, b"1234"
    ),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_is_refused_without_a_large_allocation(content, path):
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for options in ({"verify": False}, {}, {"template": VALUES, "verify": False}):
            error = (checkpoint.CorruptedError, ValueError)["template" in options]
            with pytest.raises(error):
                checkpoint.load(path, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # of which JAX, when it starts, has its part
