"""Checks of arguments, made before any work."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import descriptions
from fnn.descriptions import cure, given, holds_no_array
from fnn.types import Array, Key, NDArray, PyTree

describe = descriptions.describe


def positive_integer(name: str, value: Any) -> int:
    """Return `value` as an `int`, or raise unless it is an integer above zero."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def between(name: str, value: Any, low: float, high: float) -> None:
    """Raise unless low <= value <= high; arrays and tracers are not checked."""
    if any(isinstance(number, jax.Array) for number in (value, low, high)):
        return
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {value!r}")


def above_zero(name: str, value: Any, *, finite: bool = True) -> None:
    """Raise unless value > 0, and by default finite.

    Traced values and arrays of several numbers are not checked.

    Example:
        >>> above_zero("rate", 0.0)
        Traceback (most recent call last):
        ...
        ValueError: rate must be above 0 and finite, got 0.0
    """
    number = value
    if isinstance(value, jax.Array):
        if isinstance(value, jax.core.Tracer) or value.ndim:
            return
        number = float(np.asarray(value))
    real = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    if not real or not number > 0 or (finite and number == math.inf):
        raise ValueError(f"{name} must be above 0{' and finite' * finite}, got {value!r}")


def is_true(flag: Any) -> bool:
    """Return whether a flag is the True of Python, NumPy or JAX, and nothing else.

    Example:
        >>> import numpy as np
        >>> is_true(np.bool_(True)), is_true(1), is_true(None)
        (True, False, False)
    """
    if isinstance(flag, np.bool_ | np.ndarray | jax.Array):
        return flag.shape == () and flag.dtype == bool and bool(flag)
    return flag is True


def is_key(x: Any) -> bool:
    """Return whether x is an array of typed keys, or the spec of one.

    Example:
        >>> is_key(jax.random.key(0)), is_key(jax.random.PRNGKey(0)), is_key(None)
        (True, False, False)
    """
    dtype = getattr(x, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


def typed_key(key: Any, needed_by: str) -> Key:
    """Return `key`, or raise unless it is one typed key."""
    if key is None:
        raise ValueError(f"{needed_by} needs a key: pass key=jax.random.key(seed)")
    if not is_key(key):
        raise TypeError(
            f"{needed_by} needs a typed key, made by jax.random.key(seed); "
            f"got {describe(key)}"
        )
    if key.shape != ():
        raise ValueError(f"{needed_by} needs one key, got keys of shape {key.shape}")
    return key


def floating(owner: str, x: Any) -> np.dtype[Any]:
    """Return the floating dtype that JAX gives to `x`, or raise without one."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        raise TypeError(
            f"{owner} takes an array or a jax.ShapeDtypeStruct, got {describe(x)}"
        )
    try:
        numbers = jnp.issubdtype(dtype, jnp.floating)
    except TypeError:  # a dtype that is not NumPy's
        instead = cure(x, numbers=True) or "give numpy.asarray(...) of it"
        raise TypeError(
            f"{owner} takes an array of NumPy or JAX, got {given(x)}; {instead}"
        ) from None
    if not numbers:
        raise TypeError(
            f"{owner} takes floating-point numbers, got {describe(x)}; convert first, "
            f"for example images.astype('float32') / 255"
        )
    return jax.dtypes.canonicalize_dtype(dtype)


def values_between(
    values: Any, low: float, high: float, what: str, slack: float = 0.0
) -> None:
    """Raise unless the values, if they are concrete, are from low to high."""
    if isinstance(values, jax.core.Tracer):
        return
    seen = np.asarray(values)
    inside = (seen >= low - slack) & (seen <= high + slack)
    if not inside.all():
        bound = f"from {low} to {high}" if np.isfinite(high) else f"at least {low}"
        raise ValueError(f"{what} must be {bound}, got {span(seen)}")


def classes_of(values: Any, classes: int, what: str) -> tuple[Array, Array]:
    """Return integer classes as int32, and whether each is from 0 to classes - 1.

    If the values are concrete, an invalid class raises.
    """
    dtype = dtype_of(values)
    if not jnp.issubdtype(dtype, jnp.integer):
        integers = "; convert them by labels.astype('int32')" if dtype.kind == "b" else ""
        shown = describe(jnp.asarray(values))
        raise TypeError(f"{what} must be integer classes, got {shown}{integers}")
    values_between(values, 0, classes - 1, what)
    values = jnp.asarray(values)
    # Compare before the cast, which would map 2³² to 0, and within the dtype's range.
    last = jnp.asarray(min(classes - 1, jnp.iinfo(values.dtype).max), values.dtype)
    valid = (values >= 0) & (values <= last)
    return values.astype(jnp.int32), valid


def dtype_of(values: Any) -> np.dtype[Any]:
    """Return the dtype of an array, of a number, or of a list of numbers."""
    dtype: np.dtype[Any] = getattr(values, "dtype", None) or np.asarray(values).dtype
    return dtype


def arrays(tree: PyTree, what: str, *, numbers: bool = True, scalars: bool = False) -> None:
    """Raise unless every leaf is an array; the error has the path of the first other one.

    It checks only types, dtypes and shapes, so its cost does not grow with the data.

    Args:
        tree: An array, or a pytree of arrays.
        what: The tree's name in the error.
        numbers: Whether the arrays must hold numbers that JAX can hold.
        scalars: Whether a number counts as an array.
    """

    def is_leaf(node: Any) -> bool:
        return holds_no_array(node) and not (scalars and isinstance(node, tuple))

    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf):
        if scalars and isinstance(leaf, bool | int | float | complex):
            continue
        instead = cure(leaf, numbers)
        if instead is not None:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            where = f"{what} {name}" if name else what
            kind = "an array of numbers" if numbers else "an array"
            raise TypeError(f"{where} must be {kind}, got {given(leaf)}; {instead}")


def as_numpy(x: Any, what: str) -> NDArray:
    """Return numbers or lists of them as a NumPy array, or raise with their name."""
    if not isinstance(x, list | tuple):
        arrays(x, what, scalars=True)
        return np.asarray(x)
    try:
        array = np.asarray(x)
    except ValueError:
        arrays(x, what)
        raise
    arrays(array, what)
    return array


def parts(tree: PyTree) -> Iterator[Any]:
    """Yield a tree and all parts inside its dicts, tuples and lists."""
    yield tree
    inner = tree.values() if isinstance(tree, dict) else tree
    if isinstance(tree, dict | tuple | list):
        for part in inner:
            yield from parts(part)


def span(seen: np.ndarray[Any, Any]) -> str:
    """Return the least and the largest value, for an error."""
    low, high = seen.min(), seen.max()
    return f"{low}" if low == high else f"{low} to {high}"


def options(value: Any, but: tuple[str, ...] = ()) -> None:
    """Raise unless boolean fields are True or False, and initializers are functions."""
    owner = type(value).__name__
    for field in dataclasses.fields(value):
        setting = getattr(value, field.name)
        switch = isinstance(field.default, bool) and field.name not in but
        if switch and not isinstance(setting, bool | np.bool_):
            raise TypeError(
                f"{field.name} of {owner} must be True or False, got {setting!r}"
            )
        if field.name.endswith("_init") and (
            isinstance(setting, type) or not callable(setting)
        ):
            raise TypeError(
                f"{field.name} of {owner} must be a function (key, shape, dtype), such as "
                f"fnn.initializers.he_normal, got {describe(setting)}"
            )


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise unless `value` is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def leading_length(tree: PyTree, what: str) -> int:
    """Return the common length of the leading axes, or raise with the leaves' shapes."""
    shapes: list[Any] = [getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(tree)]
    if not shapes or () in shapes:
        if isinstance(tree, tuple):  # arguments, not a list of numbers
            for i, part in enumerate(tree):
                arrays(part, f"{what} {i}")
        else:
            arrays(tree, what)
        raise ValueError(f"{what} needs a leading axis, got {describe(tree)}")
    if len({shape[0] for shape in shapes}) > 1:
        listed = any(isinstance(part, list) for part in parts(tree))
        hint = "; if a list holds one example per element, give numpy.stack(...)" * listed
        raise ValueError(
            f"{what} must have as many examples in all leaves, got {describe(tree)}{hint}"
        )
    length: int = shapes[0][0]  # symbolic in exported programs
    return length
