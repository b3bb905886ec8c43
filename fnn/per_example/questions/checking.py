"""A check of `gradients` for a user's loss against a loop of float64 gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.per_example.factored import MEMORY_BUDGET, gradients
from fnn.tables import text_table
from fnn.types import PyTree

# Relative to the norm of the whole gradient: float32 may leave this much of a gradient that
# is 0.
NEGLIGIBLE = 1e-6


class ParameterCheck(NamedTuple):
    """One parameter: its path, the rule for its norms, and the error of its gradients."""

    path: str
    rule: str
    error: float


class Check(NamedTuple):
    """The largest error of each answer, relative to the largest true value.

    It prints as a report. If all true values of a parameter are below 1e-6 of the largest
    norm of a whole gradient, the error is relative to that norm: for instance, for a bias
    that a softmax cancels, whose gradient is 0.

    Attributes:
        losses: The error of the losses.
        norms: The error of the norms.
        weighted_sum: The error of a weighted sum.
        parameters: The error of the gradients, with a row for each parameter.
    """

    losses: float
    norms: float
    weighted_sum: float
    parameters: tuple[ParameterCheck, ...]

    @property
    def gradients(self) -> float:
        """Return the largest error of the gradients, of all parameters."""
        return max(row.error for row in self.parameters)

    @property
    def worst(self) -> str:
        """Return the path of the parameter whose gradients have the largest error."""
        return max(self.parameters, key=lambda row: row.error).path

    @property
    def largest(self) -> float:
        """Return the largest of the errors."""
        return max(self.losses, self.norms, self.weighted_sum, self.gradients)

    def __str__(self) -> str:
        answers = [
            (name.replace("_", " "), "", error)
            for name, error in zip(self._fields[:3], self[:3], strict=True)
        ]
        gradients = [
            (f"gradients of {path or 'params'}", rule, error)
            for path, rule, error in self.parameters
        ]
        rows = [(name, rule, f"{error:.1e}") for name, rule, error in answers + gradients]
        return text_table(("answer", "rule", "largest error"), rows, numbers=1)


def check(
    loss: Callable[..., Any],
    params: PyTree,
    *batch: PyTree,
    has_aux: bool = False,
    memory_budget: int = MEMORY_BUDGET,
) -> Check:
    """Compare `gradients` of your loss with a loop over single examples in float64.

    A loss that draws random numbers draws different ones in float64, so it can't be
    checked.

    Args:
        loss: `loss(params, *example) -> scalar`, or `(scalar, aux)`, of one example.
        params: The parameters.
        *batch: Arrays with a leading axis; a few examples suffice.
        has_aux: Whether the loss returns a pair.
        memory_budget: As for `gradients`.

    Returns:
        The errors of `gradients` in the given dtypes; about 1e-6 in float32. Print it.

    Example:
        >>> loss = lambda params, x: jax.numpy.sum(jax.numpy.sin(params["kernel"] @ x))
        >>> params, x = {"kernel": jax.numpy.ones((2, 3))}, jax.numpy.ones((4, 3))
        >>> report = fnn.per_example.check(loss, params, x)
        >>> report.largest < 1e-6
        True
        >>> report.parameters[0].rule
        '|a|² |g|²'
    """
    count = checks.leading_length(batch, "the batch")
    weights = np.linspace(-1.0, 2.0, count, dtype=np.float32)
    compute = gradients(loss, has_aux=has_aux, memory_budget=memory_budget)

    @jax.jit
    def answers(params: PyTree, *batch: PyTree) -> Any:
        g = compute(params, *batch)
        return g.losses, g.norms(), g.weighted_sum(weights), g.materialize()

    rules = jax.eval_shape(compute, params, *batch).explain().rows
    losses, norms, total, formed = jax.tree.map(_float64, answers(params, *batch))
    true_losses, true = _loop(loss, has_aux, params, batch, count)
    squares = [np.sum(g.reshape(count, -1) ** 2, 1) for g in jax.tree.leaves(true)]
    sums = jax.tree.map(lambda g: np.tensordot(weights.astype(np.float64), g, 1), true)
    true_norms = np.sqrt(sum(squares))
    floor = NEGLIGIBLE * np.max(true_norms, initial=0.0)
    errors = tree.flatten(jax.tree.map(lambda f, t: _error(f, t, floor), formed, true))
    totals = jax.tree.map(
        lambda f, t: _error(f, t, floor * np.sum(np.abs(weights))), total, sums
    )
    return Check(
        _error(losses, true_losses),
        _error(norms, true_norms),
        max(jax.tree.leaves(totals)),
        tuple(ParameterCheck(row.path, row.rule, errors[row.path]) for row in rules),
    )


def _loop(
    loss: Callable[..., Any], has_aux: bool, params: PyTree, batch: PyTree, count: int
) -> tuple[Any, PyTree]:
    """Return losses and gradients, (B, ...), computed one example at a time."""
    with jax.enable_x64(True):
        gradient = jax.jit(jax.value_and_grad(loss, has_aux=has_aux))
        wide = tree.cast(jax.tree.map(jnp.asarray, params), jnp.float64)
        results = []
        for i in range(count):
            example = jax.tree.map(lambda x, i=i: jnp.asarray(x)[i], batch)
            value, grads = gradient(wide, *tree.cast(example, jnp.float64))
            results.append((value[0] if has_aux else value, grads))
        losses, grads = zip(*jax.tree.map(_float64, results), strict=True)
    return np.stack(losses), jax.tree.map(lambda *each: np.stack(each), *grads)


def _float64(x: Any) -> Any:
    return np.asarray(x).astype(np.float64)


def _error(got: Any, expected: Any, floor: float = 0.0) -> float:
    """Return the largest error relative to the largest value, or to the whole norm.

    The whole norm is floor / NEGLIGIBLE. It counts where no value is above the floor.
    """
    scale = float(np.max(np.abs(expected), initial=0.0))
    if scale <= floor:
        scale = floor / NEGLIGIBLE
    difference = float(np.max(np.abs(got - expected), initial=0.0))
    return difference / max(scale, float(np.finfo(np.float64).tiny))
