"""Descriptions of a caller's values, and of what to give instead."""

import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LONGEST = 300
"""Most characters of a description, for a tree, a list or a string of any size."""
LONGEST_LEAF = 60
LAZY = (
    "data that is read when needed must have shape and dtype, and be indexable by an "
    "array of integers: see fnn.data.Streamed"
)
TEXTS = "number the classes: classes, labels = numpy.unique(labels, return_inverse=True)"


def describe(tree: Any, longest: float = LONGEST) -> str:
    """Return dtype and shape of an array, or of each leaf of a tree, cut off if long.

    Example:
        >>> import numpy as np
        >>> describe({"a": np.zeros((3, 2), np.float32), "b": [1.0, None]})
        '{a: float32[3,2], b: [float 1.0, NoneType None]}'
    """
    text = ""
    for word in _words(tree):
        if len(text) + len(word) > longest:
            return f"{text}..."
        text += word
    return text


def _words(tree: Any) -> Iterator[str]:
    """Yield the parts of a description lazily, so parts beyond the limit are not made."""
    if isinstance(tree, dict):
        yield "{"
        for i, (name, value) in enumerate(tree.items()):
            yield f"{', ' if i else ''}{name}: "
            yield from _words(value)
        yield "}"
    elif isinstance(tree, tuple | list):
        opening, closing = "()" if isinstance(tree, tuple) else "[]"
        yield opening
        for i, value in enumerate(tree):
            yield ", " if i else ""
            yield from _words(value)
        yield closing
    elif _is_array(tree):
        yield f"{dtype_name(tree.dtype)}[{','.join(map(str, tree.shape))}]"
    else:
        # The repr of a table or a loader may take long, and says little.
        plain = isinstance(tree, bool | int | float | complex | str | bytes | None)
        text = repr(tree) if plain else getattr(tree, "__qualname__", "")
        cut = text if len(text) <= LONGEST_LEAF else f"{text[:LONGEST_LEAF]}..."
        yield f"{type(tree).__name__} {cut}".rstrip()


def _is_array(thing: Any) -> bool:
    """Return whether a thing has a shape and a dtype; a class of arrays does not count."""
    try:
        has_both = hasattr(thing, "shape") and hasattr(thing, "dtype")
    except RuntimeError:  # a PyTorch tensor whose rows differ in length
        return False
    return has_both and not isinstance(thing, type)


def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype of NumPy, JAX, PyTorch or TensorFlow.

    Example:
        >>> import numpy as np
        >>> dtype_name(np.dtype("float32")), dtype_name(np.dtype(">f4"))
        ('float32', '>f4')
    """
    plain = not isinstance(dtype, np.dtype) or (dtype.isnative and dtype.kind not in "US")
    return str(getattr(dtype, "name", dtype)) if plain else str(dtype)


def given(leaf: Any) -> str:
    """Describe a value given instead of an array; for lists, only their lengths."""
    if isinstance(leaf, list | tuple):
        inner = type(leaf[0]).__name__
        return f"a {type(leaf).__name__} of {len(leaf)}, its first {inner}"
    foreign = not isinstance(leaf, jax.Array) and type(leaf) is not np.ndarray
    kind = f"{type(leaf).__name__} " if foreign and _is_array(leaf) else ""
    return kind + describe(leaf)


def holds_no_array(node: Any) -> bool:
    """Return whether a node is a list that begins, at any depth, with a number or a string.

    A tuple counts if all its elements are numbers or strings; other tuples hold arrays.
    """
    if isinstance(node, tuple):
        return bool(node) and all(map(_is_scalar, node))
    if not isinstance(node, list):
        return False
    while isinstance(node, list | tuple) and node:
        node = node[0]
    return _is_scalar(node)


def _is_scalar(thing: Any) -> bool:
    plain = isinstance(thing, bool | int | float | complex | str | bytes | np.generic)
    return plain or (isinstance(thing, np.ndarray | jax.Array) and thing.shape == ())


def cure(leaf: Any, numbers: bool) -> str | None:
    """Return what to give instead of a leaf that is not an array, else None."""
    if isinstance(leaf, jax.Array | jax.core.Tracer):
        return None
    if isinstance(leaf, list | tuple):
        lengths = {len(row) for row in leaf if isinstance(row, list | tuple)}
        if len(lengths) > 1:
            least, most = min(lengths), max(lengths)
            return f"pad its rows, of {least} to {most} elements, to one length"
        return "give numpy.asarray(...) of it"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(leaf, torch.Tensor):
        return _cure_of_tensor(leaf)
    if isinstance(leaf, type):
        return "give an instance, not the class"
    if hasattr(leaf, "toarray") or hasattr(leaf, "todense"):
        return "a sparse matrix must be made dense: give its toarray()"
    if isinstance(leaf, np.ma.MaskedArray):
        return "its mask would be lost: give its filled(...)"
    if hasattr(leaf, "to_tensor"):
        return "its rows differ in length: give its to_tensor()"
    dtype = getattr(leaf, "dtype", None)
    if not hasattr(leaf, "__array__") and not _is_array(leaf):
        scalar = isinstance(leaf, bool | int | float | complex | str | bytes)
        lazy = not scalar and hasattr(leaf, "__getitem__")
        return LAZY if lazy else "give a NumPy or JAX array"
    return _cure_of_dtype(leaf) if numbers and dtype is not None else None


def _cure_of_tensor(tensor: Any) -> str | None:
    """Return how to make a PyTorch tensor readable for NumPy."""
    if tensor.is_nested:
        return "its rows differ in length: give its to_padded_tensor(0)"
    steps = []
    if getattr(tensor, "requires_grad", False):
        steps.append("detach()")
    if tensor.layout is not sys.modules["torch"].strided:
        steps.append("to_dense()")
    if tensor.device.type != "cpu":
        steps.append("cpu()")
    if tensor.is_conj():
        steps.append("resolve_conj()")
    if not hasattr(np, dtype_name(tensor.dtype).removeprefix("torch.")):
        steps.append("float()")
    return f"give its {'.'.join(steps)}" if steps else None


def _cure_of_dtype(leaf: Any) -> str | None:
    """Return how to convert an array to a dtype that JAX has."""
    if dtype_name(leaf.dtype) in ("string", "str", "category"):  # of TensorFlow, pandas
        return TEXTS
    dtype = getattr(leaf.dtype, "as_numpy_dtype", leaf.dtype)
    try:
        dtype = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    except TypeError:
        return None  # typed keys, and dtypes that JAX may know
    if dtype.kind in "mM":
        return "give numbers, such as its astype('int64'), in units of your choice"
    if dtype.fields is not None:
        return f"give its fields {', '.join(dtype.fields)} as arrays of their own"
    return _cure_of_kind(leaf, dtype)


def _cure_of_kind(leaf: Any, dtype: np.dtype[Any]) -> str | None:
    if dtype.kind == "O":
        return _cure_of_objects(leaf)
    if dtype.kind in "US":
        return TEXTS
    if not dtype.isnative:
        return f"give its astype({dtype.name!r}), in native byte order"
    if not (dtype.kind == "b" or jnp.issubdtype(dtype, np.number)):
        return "give numbers"
    wide = dtype.type in (np.longdouble, np.clongdouble) and dtype.itemsize > 8
    return "give its astype('float64')" if wide else None


def _cure_of_objects(leaf: Any) -> str:
    """Return how to convert an array of Python objects to numbers, judged by the first."""
    if not isinstance(leaf, np.ndarray) or leaf.size == 0:
        return "give numbers, such as its astype('float32')"
    first = leaf.flat[0]
    if isinstance(first, str | bytes):
        return TEXTS
    if not isinstance(first, np.ndarray | jax.Array | list | tuple):
        return "give its astype('float32')"
    shapes = {np.shape(each) for each in leaf.flat}
    if len(shapes) > 1:
        return "its elements differ in shape: pad them to one, and give numpy.stack(...)"
    return "give numpy.stack(...) of its elements"
