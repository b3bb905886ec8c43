"""One tree in one file."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnn import checks
from fnn.checkpoint.atomic import write_atomically
from fnn.checkpoint.errors import CorruptedError
from fnn.checkpoint.leaves import (
    Snapshot,
    by_path,
    check_fit,
    describe_leaf,
    name_in_file,
    restore_leaf,
    take_snapshot,
    wrap,
)
from fnn.checkpoint.safetensors import HEADER_DIGEST, Entry, Reader, encode, open_reader
from fnn.tree import Pattern, flatten, map_with_path, match
from fnn.types import PyTree
from fnn.values import reads_the_same

RESERVED = "fnn."
GENERATORS = f"{RESERVED}generators"


def save(
    path: str | PathLike[str], tree: PyTree, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a tree of arrays to one file in the safetensors format.

    Every leaf is stored under its path, such as `params/dense_0/kernel`. Typed keys are
    stored as their data, and the metadata name their generator. Any program that reads
    safetensors can read the file; it also has a SHA-256 digest, which `load` verifies.

    The file exists whole or not at all: it is written under another name, brought to the
    disk, and then renamed. An existing file is replaced; it is unchanged if writing fails
    or is killed.

    Args:
        path: The file's path, in an existing folder.
        tree: A pytree of JAX and NumPy arrays and typed keys. An array on several
            devices is written whole.
        metadata: Anything else that JSON can express, by name.

    Raises:
        TypeError: If a leaf is not an array, such as a Python number, or has a dtype that
            the format lacks, or if metadata can't be expressed in JSON.
        ValueError: If two leaves have one path, a name is reserved, or an array is spread
            over several processes.
        OSError: If the file can't be written: the folder does not exist, the disk is full.

    Example:
        >>> import pathlib, tempfile
        >>> params = {"dense_0": {"bias": jax.numpy.zeros(2)}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "weights.safetensors")
        ...     fnn.checkpoint.save(path, params, metadata={"epoch": 3})
        ...     fnn.checkpoint.load(path, params)
        ...     fnn.checkpoint.metadata(path)
        {'dense_0': {'bias': Array([0., 0.], dtype=float32)}}
        {'epoch': 3}
    """
    path = _checked(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first")
    texts = encode_metadata(metadata or {})
    write(path, take_snapshot(tree, copy=False), texts)


def load(
    path: str | PathLike[str],
    template: PyTree = None,
    *,
    partial: Pattern | None = None,
    expected: Mapping[str, Any] | None = None,
    verify: bool = True,
) -> PyTree:
    """Read a tree of arrays from a file in the safetensors format.

    Args:
        path: The file's path.
        template: A pytree of the expected structure, shapes and dtypes, made of arrays,
            `jax.ShapeDtypeStruct`, or both. A NumPy array is replaced by a NumPy array,
            any other leaf by a JAX array on the devices of that leaf. A NumPy scalar may
            have a wider dtype than the file. Without a template, NumPy arrays and typed
            keys are returned in nested dicts, whose names are the parts of the stored names
            between slashes.
        partial: A glob, or a tuple of them, on the paths of the template: only
            matching leaves are read, the others stay the template's, and the file may
            have more leaves than the template.
        expected: Required entries of the metadata, such as the `repr` of a model.
        verify: Whether to require a digest and verify it. Use `verify=False` for files of
            other programs, which have none.

    Raises:
        CorruptedError: If the file is truncated, damaged, or not in the format.
        ValueError: If it lacks a leaf of the template, has another, or one of another
            shape or dtype (all are listed, by path); if the metadata are not as
            expected; or if a glob matches no leaf.
        OSError: If the file can't be read.

    Example:
        >>> import pathlib, tempfile
        >>> params = {"body": jax.numpy.full(2, 7.0), "head": jax.numpy.zeros(1)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "weights.safetensors")
        ...     fnn.checkpoint.save(path, params)
        ...     new = {"body": jax.numpy.zeros(2), "head": jax.numpy.ones(3)}
        ...     fnn.checkpoint.load(path, new, partial="body")
        {'body': Array([7., 7.], dtype=float32), 'head': Array([1., 1., 1.], dtype=float32)}
    """
    if template is None and partial is not None:
        raise ValueError(f"partial={partial!r} needs a template, whose leaves it chooses")
    with open_reader(_checked(path), verify=verify) as reader:
        return read(reader, template, partial=partial, expected=expected or {})


def metadata(path: str | PathLike[str], *, verify: bool = True) -> dict[str, Any]:
    """Return the metadata of a file; only the header is read.

    Args:
        path: The file's path.
        verify: As in `load`. In a file of another program the values are strings.

    Raises:
        CorruptedError: If the header is damaged, or not in the format.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "weights.safetensors")
        ...     fnn.checkpoint.save(path, {}, metadata={"losses": [2.5, 0.5]})
        ...     fnn.checkpoint.metadata(path)
        {'losses': [2.5, 0.5]}
    """
    with open_reader(_checked(path), verify=verify) as reader:
        return decode_metadata(reader)


def _checked(path: Any) -> Path:
    if not isinstance(path, str | PathLike):
        raise TypeError(f"path must be the path of a file, got {checks.describe(path)}")
    return Path(path)


def write(path: Path, snapshot: Snapshot, texts: Mapping[str, str]) -> None:
    """Write arrays of the host."""
    generators = {GENERATORS: json.dumps(snapshot.generators)}
    write_atomically(path, encode(snapshot.arrays, generators | dict(texts)))


def read(
    reader: Reader,
    template: PyTree,
    *,
    partial: Pattern | None = None,
    expected: Mapping[str, Any],
) -> PyTree:
    """Return the tree in a file."""
    _check_expected(reader, expected)
    generators = _generators(reader)
    if template is None:
        with reader.reading(reader.entries) as arrays:
            return _nest({n: wrap(array, generators.get(n)) for n, array in arrays.items()})
    leaves = by_path(template)
    wanted = {path: describe_leaf(path, leaf) for path, leaf in leaves.items()}
    if partial is not None:
        chosen = flatten(match(template, partial))
        wanted = {path: text for path, text in wanted.items() if chosen[path]}
    stored = {p: _stored(entry, generators.get(p)) for p, entry in reader.entries.items()}
    stored |= {
        path: wanted[path]
        for path in wanted.keys() & reader.entries.keys()
        if _widens(reader.entries[path], leaves[path])
    }
    names = {path: name_in_file(path, stored, wanted) for path in wanted}
    paths = {name: path for path, name in names.items()}
    stored = {paths.get(name, name): text for name, text in stored.items()}
    check_fit(reader.path, stored, wanted, exactly=partial is None)

    def restored(path: str, leaf: Any) -> Any:
        if path not in wanted:
            return leaf
        name = names[path]
        return restore_leaf(leaf, arrays[name], generators.get(name))

    with reader.reading(paths) as arrays:
        return map_with_path(restored, template)


def encode_metadata(metadata: Mapping[Any, Any]) -> dict[str, str]:
    """Return metadata as strings, which the format requires, or raise."""
    texts = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or name.startswith(RESERVED):
            raise ValueError(
                f"a name in the metadata must be a string that does not begin with "
                f"{RESERVED!r}, got {name!r}"
            )
        try:
            texts[name] = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name!r} in the metadata must be a value that JSON can express, "
                f"got {checks.describe(value)}"
            ) from error
    return texts


def decode_metadata(reader: Reader) -> dict[str, Any]:
    """Return the metadata without fnn's own entries; other programs write strings."""
    ours = HEADER_DIGEST in reader.metadata
    texts = reader.metadata.items()
    return {
        name: _from_json(text) if ours else text
        for name, text in texts
        if not name.startswith(RESERVED)
    }


def _generators(reader: Reader) -> dict[str, str]:
    generators = _from_json(reader.metadata.get(GENERATORS, "{}"))
    if not isinstance(generators, dict):
        raise CorruptedError(f"its generators are not given by path: {generators!r}")
    return generators


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptedError(f"its metadata can't be parsed: {error}") from error


def _check_expected(reader: Reader, expected: Mapping[str, Any]) -> None:
    found = decode_metadata(reader)
    for name, value in expected.items():
        if name not in found:
            raise ValueError(f"{reader.path} says nothing of {name!r}, expected {value!r}")
        if not reads_the_same(found[name], value):
            raise ValueError(
                f"{reader.path} was made with another {name!r}:\n{found[name]}\n"
                f"expected:\n{value}"
            )


def _stored(entry: Entry, generator: str | None) -> str:
    """Describe the array or key that `read` returns for an entry."""
    struct = jax.ShapeDtypeStruct(entry.shape, entry.dtype)
    if generator is None:
        return checks.describe(struct)
    return checks.describe(jax.eval_shape(lambda data: wrap(data, generator), struct))


def _widens(entry: Entry, leaf: Any) -> bool:
    """Return whether a leaf is a NumPy scalar whose dtype holds the entry's values."""
    scalar = isinstance(leaf, np.generic) and entry.shape == ()
    return scalar and np.can_cast(entry.dtype, leaf.dtype, "safe")


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts, whose names are the parts of the flat ones between slashes."""
    nested: dict[str, Any] = {}
    for path, leaf in sorted(flat.items()):
        *folders, name = path.split("/")
        inner: Any = nested
        for i, folder in enumerate(folders):
            inner = inner.setdefault(folder, {})
            if not isinstance(inner, dict):
                shorter = "/".join(folders[: i + 1])
                raise ValueError(
                    f"{shorter!r} and {path!r} don't go together in nested dicts; give a "
                    f"template"
                )
        inner[name] = leaf
    return nested
