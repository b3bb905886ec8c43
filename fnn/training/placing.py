"""What training checks of its data before it begins."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from fnn import checks, tree
from fnn.platforms import target
from fnn.sharding import Layout
from fnn.types import Array, Batch, NDArray, PyTree
from fnn.values import show

CACHE_LINE = 64


def on_device(data: Any, name: str, layout: Layout | None = None) -> tuple[PyTree, PyTree]:
    """Return inputs and targets as arrays on the device, or on every device of a mesh.

    Raises:
        TypeError: If `data` is not a pair of arrays of numbers, or of trees of them.
        ValueError: If the pair is empty, differs in length or is not finite.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        hint = "; fnn.data.split divides data" if isinstance(data, float) else ""
        raise TypeError(f"{name} must be a pair (x, y), got {checks.describe(data)}{hint}")
    checks.arrays({"x": data[0], "y": data[1]}, name)
    if not jax.tree.leaves(data[0]):
        raise ValueError(f"{name} x must be an array, got {checks.describe(data[0])}")
    arrays = jax.tree.map(put_copy, tuple(data))
    if checks.leading_length({"x": arrays[0], "y": arrays[1]}, name) == 0:
        raise ValueError(f"{name} is empty: x {checks.describe(arrays[0])}")
    for path, leaf in tree.flatten({"x": arrays[0], "y": arrays[1]}).items():
        _check_finite(leaf, f"{name} {path}")
    return replicated(arrays, layout)


def replicated(arrays: tuple[PyTree, PyTree], layout: Layout | None) -> Any:
    """Return arrays on every device of a mesh, if there is one."""
    return arrays if layout is None else layout.place_everywhere(arrays)


def as_batch(batch: Any) -> Batch:
    """Return a batch `(x, y)` or `(x, y, weights)` with its arrays on the device.

    They are copies, as loaders may use their buffers again.
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TypeError(
            f"a batch must be (x, y) or (x, y, weights), got {checks.describe(batch)}"
        )
    try:
        arrays = jax.tree.map(_as_array, tuple(batch))
    except Exception:
        _check_batch(batch)
        raise
    if checks.leading_length(arrays, "a batch") == 0:
        raise ValueError(f"a batch is empty: {checks.describe(arrays)}")
    # To look at an array on the device would wait for what computes it.
    if not isinstance(batch[-1], jax.Array):
        _check_weights(*batch[2:])
    return arrays


def first_batch(batch: Any) -> Batch:
    """Return a batch as `as_batch` does, its arrays looked at more closely."""
    if isinstance(batch, tuple | list):
        _check_batch(batch)
        _check_weights(*batch[2:])
    return as_batch(batch)


def check_functions(functions: Any, name: str) -> None:
    """Raise unless these are functions of an output and a target, by name."""
    example = "{'accuracy': fnn.metrics.accuracy}"
    if not isinstance(functions, Mapping):
        raise TypeError(
            f"{name} must be a mapping from names to functions, such as {example}; "
            f"got {checks.describe(functions)}"
        )
    for label, function in functions.items():
        if not isinstance(label, str):
            raise TypeError(f"{name} must have texts as names, got {label!r}")
        check_callable(function, f"{name}[{label!r}]", "(output, target) of one example")


def check_callable(function: Any, name: str, arguments: str) -> None:
    """Raise unless this is a function, or a value that is called like one."""
    if isinstance(function, type):
        raise TypeError(f"{name} is the class {show(function)}; give an instance of it")
    if not callable(function):
        raise TypeError(
            f"{name} must be a function of {arguments}, got {checks.describe(function)}"
        )


def check_targets(
    functions: Mapping[str, Callable[..., Any]],
    output: PyTree,
    targets: PyTree,
    name: str,
    rows: NDArray | None = None,
) -> None:
    """Let every loss and metric see the targets with the smallest and largest values.

    Inside `jit` a loss can't look at values; here it gets real targets beside the spec of
    the model's output, so that it raises on labels out of range, at no cost. `rows` are the
    numbers of the examples, where they are not the first of the data.
    """
    extremes = set() if jax.tree.leaves(targets) else {0}
    for leaf in jax.tree.leaves(targets):
        flat = np.asarray(leaf).reshape(leaf.shape[0], -1)
        if flat.size:
            extremes |= {int(flat.min(1).argmin()), int(flat.max(1).argmax())}
    for i in sorted(extremes):
        target = jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], targets)
        for label, function in functions.items():
            try:
                value = jax.eval_shape(lambda y, f=function, t=target: f(y, t), output)
                _check_number(value, label)
            except Exception as error:
                error.add_note(
                    f"in {label}, {show(function)}, given the model's output "
                    f"{checks.describe(output)} and the target of example "
                    f"{i if rows is None else rows[i]} of {name}"
                )
                raise


@jax.jit
def finite_examples(leaf: Array) -> Array:
    """Return which examples of an array are finite, (examples,), bool."""
    # 0 x is NaN where x is not finite, and a sum keeps nothing of each element.
    return jnp.isfinite(jnp.sum(0 * leaf, axis=tuple(range(1, leaf.ndim))))


def _check_number(value: Any, label: str) -> None:
    """Raise unless a loss or a metric gives one number."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    real = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if shape != () or not (real or label != "loss"):
        raise ValueError(
            f"{label} must give one number for one example, and a loss a floating-point "
            f"one; it gives {checks.describe(value)}"
        )


def put_copy(leaf: Any) -> Array:
    """Return an array of JAX's as it is, and of others a copy on the device.

    On the CPU, JAX would copy an array of NumPy's twice. What begins at a cache line it
    keeps as its own.
    """
    if isinstance(leaf, jax.Array):
        return leaf
    plain = type(leaf) in (np.ndarray, np.memmap)
    if target() != "cpu" or not plain or canonicalize_dtype(leaf.dtype) != leaf.dtype:
        return jnp.array(leaf)
    block = np.empty(leaf.nbytes + CACHE_LINE, np.uint8)
    first = -block.ctypes.data % CACHE_LINE
    copied = block[first : first + leaf.nbytes].view(leaf.dtype).reshape(leaf.shape)
    np.copyto(copied, leaf)
    return jax.device_put(copied)


def _check_batch(batch: Any) -> None:
    """Raise unless a batch holds arrays of numbers."""
    checks.arrays(dict(zip(("x", "y", "weights"), batch, strict=False)), "a batch")


def _check_weights(weights: Any = True) -> None:
    """Raise unless the weights of a batch are finite and not negative."""
    seen = np.asarray(weights)
    if not (np.isfinite(seen) & (seen >= 0)).all():
        raise ValueError(
            f"the weights of a batch must be finite and not negative, got "
            f"{checks.span(seen)}"
        )


def _as_array(leaf: Any) -> Array:
    """Return also what PyTorch and others hold on the device."""
    return put_copy(leaf if isinstance(leaf, jax.Array) else np.asarray(leaf))


def _check_finite(leaf: Array, what: str) -> None:
    if isinstance(leaf, jax.core.Tracer) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return
    with jax.ensure_compile_time_eval():
        bad = np.flatnonzero(~np.asarray(finite_examples(leaf)))
    if bad.size:
        raise ValueError(
            f"{what} holds NaN or infinity in {bad.size} of {leaf.shape[0]} examples, "
            f"the first being number {bad[0]}"
        )
