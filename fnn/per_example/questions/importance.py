"""Importance sampling: examples drawn by the norms of their gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array


class Importance(NamedTuple):
    """For B examples, the probabilities to draw each, and the weights of those drawn.

    Both are (B,). `weights` are 1 / (B pᵢ): with i drawn by `probabilities`, the expected
    value of wᵢ gᵢ is the mean gradient.
    """

    probabilities: Array
    weights: Array


def importance_sampling(norms: Array, *, smoothing: float = 0.1) -> Importance:
    """Find by which probabilities to draw examples, pᵢ = (1 - s) ‖gᵢ‖ / Σⱼ ‖gⱼ‖ + s / B.

    With s = 0, the mean of the wᵢ gᵢ drawn has the least variance that an unbiased
    estimate of the mean gradient can have. As the norms of a later step differ, s > 0
    sees to it that every example is drawn, and that no weight exceeds 1 / s.

    Source: Alain et al. 2015, "Variance reduction in SGD by distributed importance
    sampling"; Katharopoulos and Fleuret 2018, "Not all samples are created equal".

    Args:
        norms: (B,), of the gradients, or what bounds them; not negative. If all are 0,
            the probabilities are equal.
        smoothing: s, from 0 to 1. With 0, an example of norm 0 is never drawn, and has
            an infinite weight.

    Returns:
        Probabilities and weights.

    Raises:
        ValueError: If the smoothing is out of range, the norms are not (B,), or, where
            their values can be seen, one is negative, infinite or NaN. Under `jax.jit`,
            one that is infinite or NaN makes all probabilities NaN.

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
    # The largest is 1, so that a sum stays in the range of the dtype.
    largest = jnp.max(norms, initial=0)
    # Compilers multiply by the reciprocal, which is 0 for the largest of numbers.
    shrink = jnp.where(largest > 1, 0.125, 1).astype(norms.dtype)
    relative = (shrink * norms) / jnp.where(largest > 0, shrink * largest, 1)
    total = jnp.sum(relative)
    shares = jnp.where(largest == 0, uniform, relative / total)
    probabilities = (1 - smoothing) * shares + smoothing * uniform
    return Importance(probabilities, uniform / probabilities)
