"""Statistics of the gradients of a batch: the noise scale, and norms of groups."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.per_example.factored import MEMORY_BUDGET, FactoredGradients
from fnn.per_example.parts import blocks
from fnn.types import Array


class NoiseScale(NamedTuple):
    """Unbiased estimates of the noise, tr Σ, and of the signal, |G|², of a gradient.

    Their ratio is biased: average each over steps by itself, and then divide. A
    `NoiseScale` is a tree of arrays, so `fnn.optimizers.ExponentialMovingAverage` averages
    it.
    """

    noise: Array
    signal: Array

    @property
    def batch_size(self) -> Array:
        """Return noise / signal, about the batch size above which examples help less."""
        return self.noise / self.signal


def gradient_noise_scale(g: FactoredGradients, *, per_leaf: bool = False) -> Any:
    """Estimate the gradient noise scale tr Σ / |G|² from the gradients of one batch.

    With G the true gradient and Σ the covariance of gᵢ, unbiased estimates from B
    examples are

        tr Σ ≈ (mean |gᵢ|² - |ḡ|²) / (1 - 1/B),    |G|² ≈ (B |ḡ|² - mean |gᵢ|²) / (B - 1)

    The second may be negative. For B = 1 both are NaN: one gradient has no spread.

    Source: McCandlish et al. 2018, "An empirical model of large-batch training".

    Args:
        g: The gradients.
        per_leaf: Whether to estimate it for each parameter by itself.

    Returns:
        A `NoiseScale` of scalars, or a tree of them like the parameters.

    Example:
        >>> x = jax.numpy.array([[3.0], [5.0]])  # |gᵢ|² are 9 and 25, |ḡ|² is 16
        >>> g = fnn.per_example.gradients(lambda w, x: w @ x)(jax.numpy.zeros(1), x)
        >>> scale = fnn.per_example.gradient_noise_scale(g)
        >>> scale.noise, scale.signal
        (Array(2., dtype=float32), Array(15., dtype=float32))

        Averaged over two steps:

        >>> average = fnn.optimizers.ExponentialMovingAverage(0.95)
        >>> state = average.init(scale)
        >>> for _ in range(2):
        ...     state = average.update(scale, state)
        >>> average.average(state).batch_size
        Array(0.13333334, dtype=float32)
    """
    means = jax.tree.map(tree.norm, g.mean()) if per_leaf else tree.norm(g.mean())
    return jax.tree.map(_noise_scale, g.norms(per_leaf=per_leaf), means)


def _noise_scale(norms: Array, mean: Array) -> NoiseScale:
    """Return the estimates from |gᵢ|, (B,), and |ḡ|, scaled before they are squared."""
    b = jnp.asarray(norms.shape[0], norms.dtype)
    _, exponent = jnp.frexp(jnp.max(norms))
    square = jnp.mean(jnp.square(jnp.ldexp(norms, -exponent)))
    square_of_mean = jnp.square(jnp.ldexp(mean.astype(norms.dtype), -exponent))
    noise = (square - square_of_mean) / (1 - 1 / b)
    signal = (b * square_of_mean - square) / (b - 1)
    return NoiseScale(*(jnp.ldexp(x, 2 * exponent) for x in (noise, signal)))


class GroupNorms(NamedTuple):
    """The norms of K groups.

    If all gradients of a group point the same way, the norm of their sum is their count
    times their mean norm; if they cancel, it is 0.

    Attributes:
        counts: The number of examples in each group, (K,).
        mean_norms: The mean of ‖gᵢ‖ over each group, (K,); NaN for an empty group.
        norms_of_sums: ‖Σᵢ gᵢ‖ over each group, (K,).
    """

    counts: Array
    mean_norms: Array
    norms_of_sums: Array


def group_norms(
    g: FactoredGradients,
    groups: Array,
    num_groups: int,
    *,
    memory_budget: int = MEMORY_BUDGET,
) -> GroupNorms:
    """Compute the norms of each group's gradients, and of their sum, ‖Σ_{i in k} gᵢ‖.

    Args:
        g: The gradients.
        groups: (B,), integers from 0 to K - 1, for instance classes or users. An example
            with another number belongs to none.
        num_groups: K.
        memory_budget: Bytes that the sums of a block of groups may take.

    Returns:
        The norms. If the gradient of any example is not finite, no `norms_of_sums` is.

    Raises:
        TypeError: If the groups are not integers.
        ValueError: If the groups are not one for each example.

    Example:
        >>> x = jax.numpy.array([[3.0, 0.0], [0.0, 4.0], [6.0, 8.0]])
        >>> g = fnn.per_example.gradients(lambda w, x: w @ x)(jax.numpy.zeros(2), x)
        >>> norms = fnn.per_example.group_norms(g, jax.numpy.array([0, 0, 1]), 2)
        >>> norms.mean_norms, norms.norms_of_sums
        (Array([ 3.5, 10. ], dtype=float32), Array([ 5., 10.], dtype=float32))
    """
    checks.positive_integer("num_groups", num_groups)
    checks.positive_integer("memory_budget", memory_budget)
    groups = jnp.asarray(groups)
    if groups.shape != g.losses.shape:
        raise ValueError(
            f"groups must be one for each of {g.losses.size} examples, "
            f"got {checks.describe(groups)}"
        )
    if not jnp.issubdtype(groups.dtype, jnp.integer):
        raise TypeError(f"groups must be integers, got {checks.describe(groups)}")
    norms = g.norms()
    ids = jnp.arange(num_groups, dtype=jnp.int32)
    members = groups.astype(jnp.int32)[None, :] == ids[:, None]  # (K, B)
    counts = jnp.sum(members.astype(norms.dtype), 1)
    means = jnp.sum(jnp.where(members, norms[None, :], 0), 1) / counts
    nbytes = tree.nbytes(jax.eval_shape(g.mean))
    block = blocks.size(num_groups, nbytes, memory_budget)

    def norm_of_sum(member: Array) -> Array:
        return tree.norm(g.weighted_sum(member.astype(norms.dtype)))

    sums = blocks.over(norm_of_sum, members, num_groups, block)
    return GroupNorms(counts, means, sums)
