"""Checks of class labels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array


def classes_of(values: Any, classes: int, what: str) -> tuple[Array, Array]:
    """Return integer classes as int32, and whether each is from 0 to classes - 1.

    Where the values can be seen, one that is not raises.
    """
    given, values = values, jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(f"{what} must be integer classes, got {checks.describe(values)}")
    if not isinstance(given, jax.core.Tracer):
        _check_seen(given, classes, what)
    values = values.astype(jnp.int32)
    return values, (values >= 0) & (values < classes)


def _check_seen(values: Any, classes: int, what: str) -> None:
    seen = np.asarray(values)
    if not ((seen >= 0) & (seen < classes)).all():
        span = f"{seen.min()}" if seen.size == 1 else f"{seen.min()} to {seen.max()}"
        raise ValueError(f"{what} must be from 0 to {classes - 1}, got {span}")
