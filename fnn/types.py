"""Names for the types in signatures."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array
NDArray: TypeAlias = np.ndarray[Any, Any]
Key: TypeAlias = jax.Array
"""A typed key, made by `jax.random.key`."""
PyTree: TypeAlias = Any
"""Nested containers with arrays as leaves."""
Params: TypeAlias = dict[str, Any]
"""Nested dicts of arrays, with words as names."""
State: TypeAlias = dict[str, Any]
"""Like `Params`: the values that a model updates from step to step without a gradient."""
Batch: TypeAlias = tuple[Any, ...]
"""`(x, y)` or `(x, y, weights)`: pytrees of arrays with a leading axis of examples."""
Shape: TypeAlias = tuple[int, ...]
Schedule: TypeAlias = Callable[[Array], Array]
"""From the number of steps taken, (), to a rate, ()."""
Initializer: TypeAlias = Callable[..., Array]
"""Called `(key, shape, dtype)`, like JAX's own initializers."""


def wide(dtype: Any) -> Any:
    """Return the dtype to accumulate in: float32 instead of anything narrower."""
    return jnp.float32 if jnp.dtype(dtype).itemsize < 4 else jnp.dtype(dtype)


def as_dtype(x: Any, dtype: Any) -> Any:
    """Return an array in a dtype; if it has that dtype, itself, so nothing is traced."""
    return x if x.dtype == dtype else x.astype(dtype)


def as_number(x: Any, dtype: Any) -> Any:
    """Return a number to combine with arrays of a dtype; a float itself traces faster."""
    if type(x) is float and jnp.issubdtype(dtype, jnp.inexact):
        return x
    return as_dtype(x, dtype) if isinstance(x, jax.Array) else jnp.asarray(x, dtype)


class GradientTransformation(Protocol):
    """The optimizer that a training step needs; Optax's satisfy it too."""

    @property
    def init(self) -> Callable[..., Any]:
        """Called `(params)`; returns the optimizer's state."""

    @property
    def update(self) -> Callable[..., tuple[Any, Any]]:
        """Called `(grads, opt_state, params)`; returns updates and state."""
