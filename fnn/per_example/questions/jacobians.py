"""Products with the matrix J whose rows are the per-example gradients gᵢ.

J v are directional derivatives, J Jᵀ is the tangent kernel, and 1/B Jᵀ J v the product with
the empirical Fisher matrix. J has a column for each parameter; it is never formed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.per_example.factored import MEMORY_BUDGET, FactoredGradients, gradients
from fnn.types import Array, PyTree


def directional_derivatives(
    loss: Callable[..., Any], params: PyTree, v: PyTree, *batch: PyTree
) -> tuple[Array, Array]:
    """Compute ⟨gᵢ, v⟩ for all examples by one forward pass of derivatives.

    It needs neither a backward pass nor the memory for one. If the gradients are already
    computed, `FactoredGradients.inner_products` answers the same.

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
        function: `function(params, x)` of one example; it returns a vector, (K,).
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


def fisher_vector_product(g: FactoredGradients, v: PyTree) -> PyTree:
    """Compute F v = 1/B Σᵢ gᵢ ⟨gᵢ, v⟩, F being the empirical Fisher matrix 1/B Σᵢ gᵢ gᵢᵀ.

    F has a row for each parameter, and is not formed. Its diagonal is
    `FactoredGradients.second_moment`. F is the Fisher matrix only if the labels are drawn
    from the model's own predictions; with the labels of the data, it shares the name alone.

    Source: Kunstner, Balles and Hennig 2019, "Limitations of the empirical Fisher
    approximation for natural gradient descent".

    Args:
        g: The gradients.
        v: A tree like the parameters.

    Returns:
        F v, a tree like the parameters; NaN for an empty batch.

    Raises:
        ValueError: If v is not like the parameters.

    Example:
        >>> x = jax.numpy.array([[1.0, 0.0], [1.0, 2.0]])  # F = [[1, 1], [1, 2]]
        >>> g = fnn.per_example.gradients(lambda w, x: w @ x)(jax.numpy.zeros(2), x)
        >>> fnn.per_example.fisher_vector_product(g, jax.numpy.array([1.0, 0.0]))
        Array([1., 1.], dtype=float32)
    """
    products = g.inner_products(v)
    return g.weighted_sum(products / jnp.asarray(products.size, products.dtype))
