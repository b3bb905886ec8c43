"""Checks of outputs and targets before a loss computes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array, as_dtype, wide

Expectation: TypeAlias = Callable[[Array, Array | float], Array]

# Rounding error of a probability, or of a sum of them, in bfloat16.
SLACK = 1e-2


def pair(output: Any, target: Any, owner: str) -> tuple[Array, Array]:
    """Return both as arrays of the output's shape in a wide dtype; shapes must agree."""
    dtype = wide(checks.floating(owner, output))
    given, output, target = output, jnp.asarray(output, dtype), jnp.asarray(target)
    if target.shape != output.shape and not target.size == output.size == 1:
        raise ValueError(
            f"{owner} takes an output and a target of one shape; got "
            f"{checks.describe(given)} and {checks.describe(target)}"
        )
    return output, target.astype(dtype).reshape(output.shape)


def narrow(loss: Array, output: Any) -> Array:
    """Return the loss in the dtype of the output."""
    return as_dtype(loss, jax.dtypes.canonicalize_dtype(output.dtype))


def signs(output: Any, labels: Any, owner: str) -> tuple[Array, Array]:
    """Return both like `pair`, with labels -1 or 1; others become NaN."""
    if checks.dtype_of(labels).kind == "b":
        raise TypeError(
            f"labels of {owner} must be -1 or 1, got booleans; give "
            f"2 * labels.astype('int32') - 1, or use fnn.losses.binary_cross_entropy"
        )
    if not isinstance(labels, jax.core.Tracer):
        seen = np.asarray(labels)
        if not np.isin(seen, (-1, 1)).all():
            raise ValueError(
                f"labels of {owner} must be -1 or 1, got {checks.span(seen)}; "
                f"if they are 0 or 1, give 2 * labels - 1"
            )
    output, labels = pair(output, labels, owner)
    return output, jnp.where(jnp.abs(labels) == 1, labels, jnp.nan)


def probabilities(output: Any, labels: Any, owner: str) -> tuple[Array, Array]:
    """Return both like `pair`, with labels from 0 to 1."""
    checks.values_between(labels, 0, 1, f"labels of {owner}", SLACK)
    return pair(output, labels, owner)


def class_weights(weights: Any, logits: Array) -> Array:
    """Return the weights as an array of the logits' shape, (classes,)."""
    checks.values_between(weights, 0, float("inf"), "class_weights")
    if np.shape(weights) != logits.shape:
        raise ValueError(
            f"class_weights must be a number for each of {logits.size} classes, "
            f"got {weights!r}"
        )
    return jnp.asarray(weights, logits.dtype)


def one_hot(logits: Any, labels: Any, owner: str) -> tuple[Array, Array, Array]:
    """Return the logits, a mask of the class's logit, and whether the class is valid."""
    dtype = _check_vector(logits, labels, owner)
    if np.ndim(labels):
        raise TypeError(
            f"{owner} takes an integer class of shape (); got "
            f"{checks.describe(jnp.asarray(labels))}"
        )
    _check_not_bool(labels, owner)
    classes = logits.shape[0]
    labels, valid = checks.classes_of(
        labels, classes, f"labels of {owner} for {classes} logits"
    )
    hot = jnp.arange(classes, dtype=jnp.int32) == labels
    return jnp.asarray(logits, wide(dtype)), hot, valid


def distribution(logits: Any, labels: Any, owner: str) -> tuple[Array, Array]:
    """Return the logits and the labels, a distribution over the classes, (classes,)."""
    _check_vector(logits, labels, owner)
    if np.ndim(labels) == 0:
        raise TypeError(
            f"{owner} takes a distribution of shape {logits.shape} as labels; got "
            f"{checks.describe(jnp.asarray(labels))}"
        )
    logits, t = pair(logits, labels, owner)
    checks.values_between(labels, 0, 1, f"labels of {owner}, where a distribution,", SLACK)
    if not isinstance(labels, jax.core.Tracer):
        total = np.asarray(labels).astype(np.float64).sum()
        if not abs(total - 1) <= SLACK:
            raise ValueError(
                f"labels of {owner}, where a distribution, must sum to 1, got {total:.6g}; "
                f"for several labels of one example use fnn.losses.binary_cross_entropy"
            )
    return logits, t


def expectation(logits: Any, labels: Any, owner: str) -> tuple[Array, Expectation]:
    """Return the logits, and `(costs, offset) -> Σₖ tₖ (costsₖ + offset)`.

    t is one-hot for a class, or the distribution. Where t is 0, an infinite cost counts 0.
    """
    if np.ndim(labels) > 0:
        logits, t = distribution(logits, labels, owner)
        return logits, lambda costs, offset: mean_under(t, costs + offset)
    _check_not_bool(labels, owner)
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise TypeError(
            f"{owner} takes an integer class or a distribution of shape {logits.shape}; "
            f"got {checks.describe(jnp.asarray(labels))}"
        )
    logits, hot, valid = one_hot(logits, labels, owner)

    def pick(costs: Array, offset: Array | float) -> Array:
        # Sum over the classes: XLA fuses a sum, but not a gather. The offset stays out of
        # the sum, which saves a pass in the gradient.
        return jnp.where(valid, jnp.sum(jnp.where(hot, costs, 0)) + offset, jnp.nan)

    return logits, pick


def mean_under(t: Array, costs: Array) -> Array:
    """Return Σₖ tₖ costsₖ, where 0 · ∞ is 0."""
    impossible = (t == 0) & jnp.isposinf(costs)
    return jnp.sum(t * jnp.where(impossible, 0, costs))


def _check_not_bool(labels: Any, owner: str) -> None:
    if checks.dtype_of(labels).kind == "b":
        raise TypeError(
            f"{owner} takes an integer class, got a boolean; give labels.astype('int32'), "
            f"or for one logit and two classes use fnn.losses.binary_cross_entropy"
        )


def _check_vector(logits: Any, labels: Any, owner: str) -> Any:
    """Return the dtype of the logits, a vector; the labels have at most one axis."""
    dtype = checks.floating(owner, logits)
    if logits.ndim != 1 or np.ndim(labels) > 1:
        raise ValueError(
            f"{owner} takes the logits of one example, (classes,), and one label; got "
            f"{checks.describe(logits)} and {checks.describe(jnp.asarray(labels))}; for "
            f"a batch, or positions, use jax.vmap({owner})"
        )
    return dtype
