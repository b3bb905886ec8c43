"""A mean, updated batch by batch."""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array, wide

Sum: TypeAlias = tuple[Array, Array]
"""A rounded sum and its rounding error: together about 48 bits."""


class WeightedMean(NamedTuple):
    """The sums of Σᵢ wᵢ vᵢ / Σᵢ wᵢ so far: exact over batches of any sizes and masks.

    The mean of the means of unequal batches is not the mean; this is. It is a pytree, so it
    works under `jit` and `scan`. Each sum also keeps its rounding error, so float32 counts
    to 2⁴⁸.

    `a + b` merges two means, and so does `fnn.tree.add` for trees of them. Do not add
    their leaves one by one, as `jax.tree.map(jax.numpy.add, a, b)` does: float32 alone
    stops counting at 2²⁴.

    Source: Dekker 1971, "A floating-point technique for extending the available
    precision", for the sum of two such pairs; Knuth 1997, "The art of computer
    programming", vol. 2, 4.2.2, for the error of a floating-point sum.

    Example:
        >>> mean = fnn.metrics.WeightedMean.init()
        >>> for batch in jax.numpy.array([1.0, 2.0, 3.0]), jax.numpy.array([6.0]):
        ...     mean = mean.update(batch)
        >>> mean.result()
        Array(3., dtype=float32)
        >>> (mean + fnn.metrics.WeightedMean.init().update(jax.numpy.array([8.0]))).result()
        Array(4., dtype=float32)
    """

    total: Sum  # Σ w v
    weight: Sum  # Σ w

    @classmethod
    def init(cls, dtype: Any = float) -> "WeightedMean":
        """Return an empty mean, which is NaN; it is summed in `dtype`.

        Integers, booleans and dtypes narrower than float32 are summed in float32.
        """
        return nothing((), dtype)

    def update(self, values: Array, weights: Array | None = None) -> "WeightedMean":
        """Return the mean updated with a batch of values.

        Args:
            values: v, of any shape.
            weights: w, of the shape of v, not negative, or a mask of booleans; by
                default all 1. A value of weight 0 is ignored, even if it is NaN.

        Returns:
            The new sums.

        Raises:
            ValueError: If the shapes differ, or a weight is known to be negative.
        """
        dtype, values = self.total[0].dtype, jnp.asarray(values)
        weights = jnp.ones(values.shape, dtype) if weights is None else weights
        _check_weights(weights, values)
        w = jnp.asarray(weights).astype(dtype)
        v = jnp.where(w == 0, 0, values.astype(dtype))
        total, weight = jnp.sum(w * v), jnp.sum(w)
        return WeightedMean(_plus(self.total, total), _plus(self.weight, weight))

    def include(self, mean: Array, weight: Array) -> "WeightedMean":
        """Return the mean updated with the known mean of a batch.

        Args:
            mean: The batch's mean, of the shape of the sums.
            weight: The sum of its weights, (). A mean of weight 0 is ignored.
        """
        dtype, shape = self.total[0].dtype, self.total[0].shape
        w = jnp.broadcast_to(jnp.asarray(weight).astype(dtype), shape)
        v = jnp.where(w == 0, 0, jnp.asarray(mean).astype(dtype))
        return WeightedMean(_plus(self.total, w * v), _plus(self.weight, w))

    def __add__(self, other: Any) -> "WeightedMean":
        """Return the mean over the values of both."""
        if not isinstance(other, WeightedMean):
            raise TypeError(
                f"only a WeightedMean can be added to another, got {checks.describe(other)}"
            )
        return WeightedMean(
            _plus(self.total, *other.total), _plus(self.weight, *other.weight)
        )

    def result(self) -> Array:
        """Return the mean, (); NaN if the weights sum to 0, as when all is masked."""
        (total, total_error), (weight, weight_error) = self
        return (total + total_error) / (weight + weight_error)


def nothing(shape: tuple[int, ...], dtype: Any) -> WeightedMean:
    """Return empty means of a shape, for values of a dtype."""
    dtype = mean_dtype(dtype)
    zeros = [jnp.zeros(shape, dtype) for _ in range(4)]  # apart, so each may be donated
    return WeightedMean((zeros[0], zeros[1]), (zeros[2], zeros[3]))


def mean_dtype(dtype: Any) -> Any:
    """Return the dtype of a mean: that of floating-point values, in float32 at least."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    return wide(jax.dtypes.canonicalize_dtype(dtype if floating else float))


def _plus(total: Sum, x: Array, rest: Array | float = 0.0) -> Sum:
    """Return total + (x + rest) as a rounded sum and its rounding error.

    XLA keeps the order of floating-point additions, so it does not simplify this to 0.
    """
    before, before_rest = total
    after = before + x
    taken = after - before
    error = (before - (after - taken)) + (x - taken)
    error = error + (before_rest + rest)
    # Move the errors into the sum as soon as it can hold them, or they would stop growing.
    rounded = after + error
    finite = jnp.isfinite(after)
    return (
        jnp.where(finite, rounded, after),
        jnp.where(finite, error - (rounded - after), 0),
    )


def _check_weights(weights: Any, values: Array) -> None:
    if np.shape(weights) != values.shape:
        raise ValueError(
            f"weights must have the shape of the values, {values.shape}, got "
            f"{checks.describe(jnp.asarray(weights))}"
        )
    if not isinstance(weights, jax.core.Tracer) and (np.asarray(weights) < 0).any():
        raise ValueError(f"weights must not be negative, got {np.min(weights)}")
