"""What research asks of per-example gradients: noise scale, kernels, derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.per_example.factored import MEMORY_BUDGET, FactoredGradients, gradients
from fnn.types import Array, PyTree, wide


class NoiseScale(NamedTuple):
    """Unbiased estimates of the noise, tr Σ, and of the signal, |G|², of a gradient.

    Their ratio is biased: average them over steps, each by itself, and then divide.
    """

    noise: Array
    signal: Array

    @property
    def batch_size(self) -> Array:
        """Return noise / signal, about the batch beyond which examples help less."""
        return self.noise / self.signal


def gradient_noise_scale(g: FactoredGradients, *, per_leaf: bool = False) -> Any:
    """Estimate the gradient noise scale tr Σ / |G|² from the gradients of one batch.

    With G the true gradient and Σ the covariance of gᵢ, unbiased estimates from B
    examples are

        tr Σ ≈ (mean |gᵢ|² - |ḡ|²) / (1 - 1/B),    |G|² ≈ (B |ḡ|² - mean |gᵢ|²) / (B - 1)

    of which the second may be negative. For B = 1 both are NaN: one gradient has no
    spread.

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
    """
    squares = jax.tree.map(jnp.mean, g.squared_norms(per_leaf=True))
    means = jax.tree.map(_squared_norm, g.mean())
    if not per_leaf:
        squares, means = (
            jnp.sum(jnp.stack(jax.tree.leaves(part))) for part in (squares, means)
        )
    count = g.losses.shape[0]

    def estimate(square: Array, mean: Array) -> NoiseScale:
        b = jnp.asarray(count, square.dtype)
        return NoiseScale((square - mean) / (1 - 1 / b), (b * mean - square) / (b - 1))

    return jax.tree.map(estimate, squares, means)


def directional_derivatives(
    loss: Callable[..., Any], params: PyTree, v: PyTree, *batch: PyTree
) -> tuple[Array, Array]:
    """Compute ⟨gᵢ, v⟩ for all examples by one forward pass of derivatives.

    It needs no backward pass, and no memory for one. `FactoredGradients.inner_products`
    answers the same from gradients that are there.

    Args:
        loss: `loss(params, *example) -> scalar`.
        params: The parameters.
        v: A tree like the parameters.
        *batch: Arrays with a leading axis of B examples.

    Returns:
        The losses and ⟨gᵢ, v⟩, both (B,).

    Example:
        >>> w, v = jax.numpy.array([1.0, 1.0]), jax.numpy.array([0.0, 1.0])
        >>> x = jax.numpy.array([[3.0, 4.0], [1.0, 2.0]])
        >>> fnn.per_example.directional_derivatives(lambda w, x: w @ x, w, v, x)
        (Array([7., 3.], dtype=float32), Array([4., 2.], dtype=float32))
    """
    checks.leading_length(batch, "the batch")
    axes = (None, *[0] * len(batch))
    return jax.jvp(lambda p: jax.vmap(loss, axes)(p, *batch), (params,), (v,))


def neural_tangent_kernel(
    function: Callable[..., Array],
    params: PyTree,
    x: PyTree,
    other: PyTree | None = None,
    *,
    memory_budget: int = MEMORY_BUDGET,
) -> Array:
    """Compute the empirical neural tangent kernel ⟨∂f(xᵢ)ₐ/∂w, ∂f(x'ⱼ)ᵦ/∂w⟩.

    Source: Jacot, Gabriel and Hongler 2018, "Neural tangent kernel".

    Args:
        function: `function(params, x)` of one example; returns a vector, (K,).
        params: The parameters.
        x: B examples.
        other: B' examples; by default x.
        memory_budget: As for `gradients`.

    Returns:
        The kernel, (B, B', K, K).

    Raises:
        ValueError: If the function's value is not a vector.

    Example:
        >>> x = jax.numpy.array([[1.0, 0.0], [1.0, 2.0]])
        >>> kernel = fnn.per_example.neural_tangent_kernel(
        ...     lambda w, x: w @ x, jax.numpy.zeros((3, 2)), x
        ... )
        >>> kernel.shape, kernel[0, 1, 0, 0], kernel[0, 1, 0, 2]
        ((2, 2, 3, 3), Array(1., dtype=float32), Array(0., dtype=float32))
    """
    value = jax.eval_shape(jax.vmap(function, (None, 0)), params, x)
    if not hasattr(value, "shape") or len(value.shape) != 2:
        raise ValueError(
            f"the function must return a vector for one example, got a batch of them, "
            f"{checks.describe(value)}"
        )
    size = value.shape[1]
    compute = gradients(lambda p, x, k: function(p, x)[k], memory_budget=memory_budget)

    def outputs(x: PyTree) -> FactoredGradients:
        count = checks.leading_length(x, "x")
        repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, size, 0), x)
        return compute(params, repeated, jnp.tile(jnp.arange(size, dtype=jnp.int32), count))

    mine = outputs(x)
    kernel = mine.gram(None if other is None else outputs(other))
    rows, columns = (length // size for length in kernel.shape)
    return kernel.reshape(rows, size, columns, size).transpose(0, 2, 1, 3)


def _squared_norm(x: Array) -> Array:
    return tree.dot(x, x).astype(wide(x.dtype))
