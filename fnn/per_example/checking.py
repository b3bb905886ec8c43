"""The user's own oracle: one gradient at a time, in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.per_example.factored import MEMORY_BUDGET, gradients
from fnn.types import PyTree


class Check(NamedTuple):
    """The largest error of each answer, relative to the largest true value.

    `losses`, `norms`, `weighted_sum` and `gradients` are numbers, the largest over all
    parameters; `worst` is the path of the parameter whose gradients are worst.
    """

    losses: float
    norms: float
    weighted_sum: float
    gradients: float
    worst: str

    @property
    def largest(self) -> float:
        """Return the largest of the errors."""
        return max(self.losses, self.norms, self.weighted_sum, self.gradients)

    def __str__(self) -> str:
        names = self._fields[:-1]
        lines = [f"{name:12}  {getattr(self, name):.1e}" for name in names]
        return "\n".join([*lines, f"worst parameter: {self.worst or 'params'}"])


def check(
    loss: Callable[..., Any],
    params: PyTree,
    *batch: PyTree,
    memory_budget: int = MEMORY_BUDGET,
) -> Check:
    """Compare `gradients` of your loss with a loop over single examples in float64.

    Args:
        loss: `loss(params, *example) -> scalar`.
        params: The parameters.
        *batch: Arrays with a leading axis; some examples suffice.
        memory_budget: As for `gradients`.

    Returns:
        The errors of `gradients` in the dtypes as given; about 1e-6 in float32. Their
        `str` is a report.

    Example:
        >>> loss = lambda w, x: jax.numpy.sin(w @ x)
        >>> w, x = jax.numpy.ones(3), jax.numpy.ones((4, 3))
        >>> fnn.per_example.check(loss, w, x).largest < 1e-6
        True
    """
    count = checks.leading_length(batch, "the batch")
    weights = np.linspace(-1.0, 2.0, count, dtype=np.float32)

    @jax.jit
    def answers(params: PyTree, *batch: PyTree) -> Any:
        g = gradients(loss, memory_budget=memory_budget)(params, *batch)
        return g.losses, g.norms(), g.weighted_sum(weights), g.materialize()

    losses, norms, total, formed = jax.tree.map(_float64, answers(params, *batch))
    true_losses, true = _loop(loss, params, batch, count)
    squares = [np.sum(g.reshape(count, -1) ** 2, 1) for g in jax.tree.leaves(true)]
    sums = jax.tree.map(lambda g: np.tensordot(weights.astype(np.float64), g, 1), true)
    errors = tree.flatten(jax.tree.map(_error, formed, true))
    worst = max(errors, key=lambda path: errors[path])
    return Check(
        _error(losses, true_losses),
        _error(norms, np.sqrt(sum(squares))),
        max(jax.tree.leaves(jax.tree.map(_error, total, sums))),
        errors[worst],
        worst,
    )


def _loop(
    loss: Callable[..., Any], params: PyTree, batch: PyTree, count: int
) -> tuple[Any, PyTree]:
    """Return losses and gradients, (B, ...), of one example after the other."""
    with jax.enable_x64(True):
        gradient = jax.jit(jax.value_and_grad(loss))
        wide = tree.cast(jax.tree.map(jnp.asarray, params), jnp.float64)
        results = []
        for i in range(count):
            example = jax.tree.map(lambda x, i=i: jnp.asarray(x)[i], batch)
            results.append(gradient(wide, *tree.cast(example, jnp.float64)))
        losses, grads = zip(*jax.tree.map(_float64, results), strict=True)
    return np.stack(losses), jax.tree.map(lambda *each: np.stack(each), *grads)


def _float64(x: Any) -> Any:
    return np.asarray(x).astype(np.float64)


def _error(got: Any, expected: Any) -> float:
    scale = max(float(np.max(np.abs(expected), initial=0.0)), np.finfo(np.float64).tiny)
    return float(np.max(np.abs(got - expected), initial=0.0)) / scale
