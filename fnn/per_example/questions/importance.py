"""Importance sampling: examples drawn by the norms of their gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array


class Importance(NamedTuple):
    """The probabilities with which to draw B examples, and weights for those drawn.

    If i is drawn with probability pᵢ, the expected value of wᵢ gᵢ is the mean gradient.

    Attributes:
        probabilities: pᵢ, (B,).
        weights: wᵢ = 1 / (B pᵢ), (B,).
    """

    probabilities: Array
    weights: Array


def importance_sampling(norms: Array, *, smoothing: float = 0.1) -> Importance:
    """Compute probabilities to draw examples with, pᵢ = (1 - s) ‖gᵢ‖ / Σⱼ ‖gⱼ‖ + s / B.

    With s = 0, the mean of the drawn wᵢ gᵢ has the least variance that an unbiased estimate
    of the mean gradient can have. The norms change from step to step. So s > 0 lets every
    example be drawn, and keeps all weights at or below 1 / s.

    Source: Alain et al. 2015, "Variance reduction in SGD by distributed importance
    sampling"; Katharopoulos and Fleuret 2018, "Not all samples are created equal".

    Args:
        norms: The norms of the gradients, or bounds of them, (B,), at least 0. If all are
            0, the probabilities are equal.
        smoothing: s, from 0 to 1. With 0, an example of norm 0 is never drawn, and has
            an infinite weight.

    Returns:
        Probabilities and weights.

    Raises:
        ValueError: If the smoothing is out of range, the norms are not (B,), or, where
            their values are known, a norm is negative, infinite or NaN. Under `jax.jit`,
            an infinite or NaN norm makes all probabilities NaN.

    Example:
        >>> norms = jax.numpy.array([1.0, 3.0])
        >>> sampling = fnn.per_example.importance_sampling(norms, smoothing=0.5)
        >>> sampling.probabilities, sampling.weights
        (Array([0.375, 0.625], dtype=float32), Array([1.3333334, 0.8      ], dtype=float32))
        >>> key = jax.random.key(0)
        >>> i = jax.random.choice(key, 2, (3,), p=sampling.probabilities)
        >>> sampling.weights[i].shape  # of three examples, drawn with replacement
        (3,)
    """
    checks.between("smoothing", smoothing, 0, 1)
    norms = jnp.asarray(norms)
    if norms.ndim != 1 or not jnp.issubdtype(norms.dtype, jnp.floating):
        raise ValueError(f"norms must be numbers, (B,), got {checks.describe(norms)}")
    if not isinstance(norms, jax.core.Tracer):
        wrong = ~(np.isfinite(norms) & (np.asarray(norms) >= 0))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"norms must be finite and at least 0, got {norms[at]} for example {at}, "
                f"and {int(wrong.sum())} such in all; leave these examples out"
            )
    uniform = jnp.asarray(1 / max(norms.size, 1), norms.dtype)
    # Relative to the largest norm, so that the sum stays in the range of the dtype.
    largest = jnp.max(norms, initial=0)
    # Compilers divide by multiplying with the reciprocal, and the reciprocal of a number
    # above 2¹²⁶ is flushed to 0 in float32. An eighth of the largest number is below that.
    shrink = jnp.where(largest > 1, 0.125, 1).astype(norms.dtype)
    relative = (shrink * norms) / jnp.where(largest > 0, shrink * largest, 1)
    total = jnp.sum(relative)
    shares = jnp.where(largest == 0, uniform, relative / total)
    probabilities = (1 - smoothing) * shares + smoothing * uniform
    return Importance(probabilities, uniform / probabilities)
