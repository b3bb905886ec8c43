"""The length of a step in a direction: line search."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.optimizers.base import apply_updates
from fnn.types import Array, Params, PyTree


def backtracking(
    loss: Callable[[Params], Array],
    params: Params,
    direction: PyTree,
    grads: PyTree,
    *,
    initial: float | Array = 1.0,
    shrink: float = 0.5,
    decrease: float = 1e-4,
    max_shrinks: int = 30,
) -> Array:
    """Return the first step of initial · shrinkᵏ, k = 0, 1, …, that is short enough.

    Short enough is a step s which lowers the loss as much as Armijo's condition asks,

        E(w + s d) ≤ E(w) + decrease · s ⟨∇E(w), d⟩,

    d being a direction of descent, such as -∇E(w), or the updates of any optimizer. It is
    a pure function and runs under `jit`, `vmap` and `grad`.

    Source: Armijo 1966, "Minimization of functions having Lipschitz continuous first
    partial derivatives".

    Args:
        loss: E, a function of the parameters alone, ().
        params: w.
        direction: d, a tree like the parameters.
        grads: ∇E(w), a tree like the parameters.
        initial: The step that is tried first.
        shrink: The factor of a step that is too long, from 0 to 1.
        decrease: The share of the decrease along the tangent that is enough, from 0 to 1.
        max_shrinks: Number of shorter steps to try.

    Returns:
        The step s, (). It is 0 if none of the steps is short enough, or if d is not a
        direction of descent; so a step never raises the loss.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> def loss(params):
        ...     return 5.0 * jax.numpy.square(params["w"] - 3.0)
        >>> params = {"w": jax.numpy.array(0.0)}
        >>> for _ in range(20):
        ...     grads = jax.grad(loss)(params)
        ...     direction = fnn.tree.scale(-1.0, grads)
        ...     step = fnn.optimizers.backtracking(loss, params, direction, grads)
        ...     params = fnn.tree.add(params, fnn.tree.scale(step, direction))
        >>> f"{params['w']:.4f}"
        '3.0000'
    """
    checks.between("initial", initial, 0, float("inf"))
    checks.between("shrink", shrink, 0, 1)
    checks.between("decrease", decrease, 0, 1)
    max_shrinks = checks.positive_integer("max_shrinks", max_shrinks)
    start, slope = loss(params), tree.dot(grads, direction)
    if jnp.shape(start) != ():
        raise ValueError(f"loss must return a scalar, got {checks.describe(start)}")
    descends = slope < 0

    def step_after(shrinks: Array) -> Array:
        power = jnp.asarray(shrink, slope.dtype) ** shrinks.astype(slope.dtype)
        return jnp.asarray(initial, slope.dtype) * power

    def short_enough(shrinks: Array) -> Array:
        step = step_after(shrinks)
        trial = loss(apply_updates(params, tree.scale(step, direction)))
        bound = start + jnp.asarray(decrease * step * slope, start.dtype)
        return trial <= bound

    # The loop carries an integer alone, so gradients pass by it.
    shrinks = jax.lax.while_loop(
        lambda k: descends & (k < max_shrinks) & ~short_enough(k),
        lambda k: k + 1,
        jnp.int32(0),
    )
    return jnp.where(descends & short_enough(shrinks), step_after(shrinks), 0)
