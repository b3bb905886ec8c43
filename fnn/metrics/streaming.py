"""A mean that grows batch by batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array


class WeightedMean(NamedTuple):
    """The sums of Σᵢ wᵢ vᵢ / Σᵢ wᵢ so far: exact over batches of any sizes and masks.

    A mean of the means of unequal batches is not the mean; this is. It is a pytree, so
    it goes through `jit` and `scan`; `fnn.tree.add` makes one of two. Each sum keeps
    beside it what rounding took away, so that float32 counts beyond 2²⁴.

    Source: Knuth 1997, "The art of computer programming", vol. 2, 4.2.2, for the error
    of a floating-point sum.

    Example:
        >>> mean = fnn.metrics.WeightedMean.init()
        >>> for batch in jax.numpy.array([1.0, 2.0, 3.0]), jax.numpy.array([6.0]):
        ...     mean = mean.update(batch)
        >>> mean.result()
        Array(3., dtype=float32)
    """

    total: tuple[Array, Array]  # Σ w v, and the rounding errors made in it
    weight: tuple[Array, Array]  # Σ w, likewise

    @classmethod
    def init(cls, dtype: Any = float) -> "WeightedMean":
        """Return the mean of nothing, which is NaN, to be summed in `dtype`."""
        zeros = [jnp.zeros((), dtype) for _ in range(4)]
        return cls((zeros[0], zeros[1]), (zeros[2], zeros[3]))

    def update(self, values: Array, weights: Array | None = None) -> "WeightedMean":
        """Return the mean with a batch of values more.

        Args:
            values: v, of any shape.
            weights: w, of the shape of v, not negative, or a mask of booleans; by
                default all 1. A value of weight 0 is not looked at, even if it is NaN.

        Returns:
            The new sums.

        Raises:
            ValueError: If the shapes differ, or a weight is seen to be negative.
        """
        dtype, values = self.total[0].dtype, jnp.asarray(values)
        weights = jnp.ones(values.shape, dtype) if weights is None else weights
        _check_weights(weights, values)
        w = jnp.asarray(weights).astype(dtype)
        v = jnp.where(w == 0, 0, values.astype(dtype))
        return WeightedMean(_add(self.total, jnp.sum(w * v)), _add(self.weight, jnp.sum(w)))

    def result(self) -> Array:
        """Return the mean, (); NaN while the weights sum to 0, as where all is masked."""
        (total, total_error), (weight, weight_error) = self
        return (total + total_error) / (weight + weight_error)


def _add(total: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
    """Add to a sum, and what the addition rounds off to the errors beside it."""
    before, errors = total
    after = before + x
    taken = after - before
    error = (before - (after - taken)) + (x - taken)
    return after, errors + jnp.where(jnp.isfinite(after), error, 0)


def _check_weights(weights: Any, values: Array) -> None:
    if np.shape(weights) != values.shape:
        raise ValueError(
            f"weights must have the shape of the values, {values.shape}, got "
            f"{checks.describe(jnp.asarray(weights))}"
        )
    if not isinstance(weights, jax.core.Tracer) and (np.asarray(weights) < 0).any():
        raise ValueError(f"weights must not be negative, got {np.min(weights)}")
