"""Leaves of a tree as NumPy arrays by path, and back to the form of a template."""

import collections
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from fnn import checks, tree
from fnn.checkpoint.errors import CorruptedError
from fnn.checkpoint.safetensors import CODES, METADATA
from fnn.platforms import place
from fnn.types import NDArray, PyTree

SHOWN = 20
"""Number of unfit leaves that an error lists."""

OLD_STACK = "layer"
"""The former name of `fnn.tree.STACK`, which did not speak of a stack."""


class Snapshot(NamedTuple):
    """Arrays by path, and the generators of typed keys, whose data are among them."""

    arrays: dict[str, NDArray]
    generators: dict[str, str]


def take_snapshot(values: PyTree, *, copy: bool) -> Snapshot:
    """Bring the leaves of a tree to the host.

    With `copy` they share no memory with the leaves, which the caller may then donate.
    Without, they may be views of arrays on the CPU; while a view lives, JAX copies its
    array instead of donating it.
    """
    leaves = by_path(values)
    for path, leaf in leaves.items():
        _check_leaf(path, leaf)
    generators, plain = generators_of(leaves), data_of(leaves)
    for leaf in plain.values():
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    to_host = np.array if copy else np.asarray
    return Snapshot({path: to_host(leaf) for path, leaf in plain.items()}, generators)


def by_path(values: PyTree) -> dict[str, Any]:
    """Return the leaves by path, or raise if two have one path."""
    leaves = tree.flatten(values)
    if len(leaves) < len(jax.tree.leaves(values)):
        paths = jax.tree.leaves(tree.map_with_path(lambda path, _: path, values))
        path, count = collections.Counter(paths).most_common(1)[0]
        raise ValueError(f"{count} leaves have the path {path!r}; rename one of them")
    return leaves


def generators_of(values: PyTree) -> dict[str, str]:
    """Return by path the names of the generators of the typed keys in a tree."""
    leaves = by_path(values).items()
    return {p: str(jax.random.key_impl(x)) for p, x in leaves if checks.is_key(x)}


def data_of(values: PyTree) -> PyTree:
    """Return a tree with the data of typed keys in their place."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if checks.is_key(x) else x, values)


def restore_leaf(leaf: Any, array: NDArray, generator: str | None) -> Any:
    """Return stored values in the form of a template's leaf: NumPy, or on its devices."""
    if isinstance(leaf, np.generic):
        return array.astype(leaf.dtype)
    if isinstance(leaf, np.ndarray):
        return array
    value = wrap(jax.device_put(array), generator)
    sharding = getattr(leaf, "sharding", None)
    # Keep an uncommitted array uncommitted, so it can mix with arrays on any device.
    floating = isinstance(leaf, jax.Array) and not leaf.committed
    return value if sharding is None or floating else place(value, sharding)


def wrap(data: Any, generator: str | None) -> Any:
    """Return the typed keys with this data, or without a generator the data itself."""
    if generator is None:
        return data
    try:
        return jax.random.wrap_key_data(jnp.asarray(data), impl=generator)
    except (TypeError, ValueError) as error:
        raise CorruptedError(f"it holds no keys of {generator!r}: {error}") from error


def check_fit(
    file: Path, stored: dict[str, str], wanted: dict[str, str], *, exactly: bool
) -> None:
    """Raise unless the stored arrays fit the wanted ones; both are described by path.

    Args:
        file: The file that holds the arrays.
        stored: Dtype and shape of each array of the file.
        wanted: Dtype and shape of each leaf of the template.
        exactly: Whether the file may have no other arrays.
    """
    missing = [f"{path!r} is missing" for path in wanted if path not in stored]
    extra = [f"{path!r} is not in the template" for path in stored if path not in wanted]
    different = [
        f"{path!r} is {stored[path]} in the file, but {wanted[path]} in the template"
        for path in wanted
        if path in stored and stored[path] != wanted[path]
    ]
    lines = missing + different + (extra if exactly else [])
    if lines:
        shown = "".join(f"\n  {line}" for line in lines[:SHOWN])
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise ValueError(f"{file} does not fit the template:{shown}{more}")


def name_in_file(path: str, stored: Collection[str], wanted: Collection[str]) -> str:
    """Return the name by which a file may hold the leaf of a template.

    It is the leaf's path. If the file has only the path with `layer` for `stack`, it is
    that
    one: fnn 0.1.0 named the parameters of `fnn.Repeat` so.
    """
    names = path.split("/")
    old = "/".join(OLD_STACK if name == tree.STACK else name for name in names)
    return old if path not in stored and old in stored and old not in wanted else path


def describe_leaf(path: str, leaf: Any) -> str:
    """Return dtype and shape of a template's leaf, or raise if it is not an array."""
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise TypeError(
            f"{path!r} in the template must be an array or a jax.ShapeDtypeStruct, "
            f"got {checks.describe(leaf)}"
        )
    in_numpy = isinstance(leaf, np.ndarray | np.generic)
    exempt = in_numpy or checks.is_key(leaf)
    if not exempt and canonicalize_dtype(leaf.dtype) != leaf.dtype:
        raise ValueError(
            f"{path!r} in the template is {checks.describe(leaf)}, which JAX has only with "
            f"jax.config.update('jax_enable_x64', True); a NumPy array does not need it"
        )
    if in_numpy:  # a file has one byte order
        leaf = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype.newbyteorder("="))
    return checks.describe(leaf)


def _check_leaf(path: str, leaf: Any) -> None:
    if path == METADATA:
        raise ValueError(f"no leaf can be called {METADATA!r}: the format reserves it")
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError(f"{path!r} has no value yet: save outside of jax.jit")
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise TypeError(
            f"{path!r} must be an array, got {checks.describe(leaf)}; make it one, or put "
            f"it into the metadata"
        )
    if isinstance(leaf, jax.Array):
        _check_addressable(path, leaf)
    elif not isinstance(leaf, np.ndarray | np.generic):
        checks.arrays(leaf, repr(path), numbers=False)
        raise TypeError(
            f"{path!r} must be a JAX or NumPy array, got {checks.describe(leaf)}; "
            f"numpy.asarray(...) makes it one"
        )
    if not checks.is_key(leaf) and leaf.dtype.name not in CODES:
        raise TypeError(
            f"{path!r} is {checks.describe(leaf)}; the safetensors format has no dtypes "
            f"but {', '.join(CODES)}"
        )


def _check_addressable(path: str, leaf: jax.Array) -> None:
    if not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        raise ValueError(
            f"{path!r} is spread over devices of several processes, and no process has "
            f"all of it; use fnn.checkpoint.OrbaxCheckpointer"
        )
