"""Preprocessing that is fitted on training data, as values."""

from typing import Any

import jax
import numpy as np

from fnn.types import Array, NDArray
from fnn.values import Value


class Standardize(Value):
    """Shift and scale to mean 0 and standard deviation 1: z = (x - mean) / std.

    Fit it on training data only, and apply it to all data.

    Args:
        mean: Broadcast against x.
        std: Broadcast against x; where it is 0, as for a pixel that never changes, x is
            only shifted.

    Example:
        >>> x = jax.numpy.array([[1.0, 5.0], [3.0, 5.0]])
        >>> standardize = fnn.data.Standardize.fit(x)
        >>> standardize
        fnn.data.Standardize(
            jax.numpy.array([[2.0, 5.0]], dtype='float32'),
            jax.numpy.array([[1.0, 0.0]], dtype='float32'),
        )
        >>> standardize(x)
        Array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
    """

    mean: Any
    std: Any

    def __post_init__(self) -> None:
        self._set(mean=_as_numpy(self.mean), std=_as_numpy(self.std))

    @classmethod
    def fit(cls, x: Any, axis: int | tuple[int, ...] = 0) -> "Standardize":
        """Measure mean and standard deviation (biased) over some axes.

        Args:
            x: Training data, (examples, ...), floating-point.
            axis: The axes to average over: 0 for one mean per feature or pixel,
                (0, 1, 2) for one per channel of images, `tuple(range(x.ndim))` for one.

        Raises:
            ValueError: If x is empty or not finite.
            TypeError: If x is not floating-point.
        """
        x = np.asarray(x)
        if not np.issubdtype(x.dtype, np.floating):
            raise TypeError(f"x must be floating-point, got {x.dtype}; convert it first")
        if x.size == 0 or not np.isfinite(x).all():
            raise ValueError(f"x of shape {x.shape} is empty, or not finite throughout")
        mean = x.mean(axis, np.float64, keepdims=True)
        std = x.std(axis, np.float64, keepdims=True)
        return cls(mean.astype(x.dtype), std.astype(x.dtype))

    def __call__(self, x: Array) -> Array:
        """Return (x - mean) / std."""
        return (x - self.mean) / self._divisor

    def inverse(self, z: Array) -> Array:
        """Return x from z: z std + mean."""
        return z * self._divisor + self.mean

    @property
    def _divisor(self) -> NDArray:
        return np.where(self.std == 0, np.ones_like(self.std), self.std)


def _as_numpy(array: Any) -> NDArray:
    """Return an array of the dtype that JAX would give it."""
    array = np.asarray(array)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
