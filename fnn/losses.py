"""Losses of one example: output and target in, a scalar out.

Called on real arrays, a loss checks its targets' values (labels within the classes);
inside `jit` and `vmap`, where values are not known, a label out of range gives NaN.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array


def squared_error(output: Array, target: Array) -> Array:
    """Return Σₖ (yₖ - tₖ)².

    Args:
        output: y, of any shape.
        target: t, of the shape of y. Where both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> squared_error(jax.numpy.array([1.0, 2.0]), jax.numpy.array([0.0, 0.0]))
        Array(5., dtype=float32)
    """
    target = _like(target, output, "squared_error")
    return jnp.sum(jnp.square(output - target))


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return -Σₖ (tₖ log σ(zₖ) + (1 - tₖ) log(1 - σ(zₖ))), from the logits z.

    Computed as max(z, 0) - z t + log(1 + exp(-|z|)), which neither overflows nor takes
    the logarithm of zero.

    Args:
        logits: z, of any shape.
        labels: t, of the shape of z: numbers from 0 to 1, floating-point or integer.
            Where both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ, or a label is seen to be out of range.

    Example:
        >>> binary_cross_entropy(jax.numpy.array([0.0]), 1)
        Array(0.6931472, dtype=float32)
    """
    _check_range(labels, 0, 1, "labels of binary_cross_entropy")
    labels = _like(labels, logits, "binary_cross_entropy")
    losses = jnp.maximum(logits, 0) - logits * labels
    return jnp.sum(losses + jnp.log1p(jnp.exp(-jnp.abs(logits))))


def softmax_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return -Σₖ tₖ log softmax(z)ₖ, from the logits z.

    Args:
        logits: z, (classes,).
        labels: The class, an integer of shape (), or the distribution t, (classes,).

    Returns:
        The loss, (). It is NaN for a class out of range whose value can't be seen.

    Raises:
        ValueError: If the shapes don't fit, or the class is seen to be out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> softmax_cross_entropy(jax.numpy.zeros(2), 1)
        Array(0.6931472, dtype=float32)
        >>> softmax_cross_entropy(jax.numpy.zeros(2), jax.numpy.array([0.5, 0.5]))
        Array(0.6931472, dtype=float32)
    """
    given, labels = labels, jnp.asarray(labels)
    if logits.ndim != 1 or labels.ndim > 1:
        raise ValueError(
            f"softmax_cross_entropy takes the logits of one example, (classes,), and "
            f"one label; got {checks.describe(logits)} and {checks.describe(labels)}; "
            f"for a batch, or positions, use jax.vmap(softmax_cross_entropy)"
        )
    if labels.ndim == 1:
        labels = _like(labels, logits, "softmax_cross_entropy")
        return jnp.sum(labels * (jax.nn.logsumexp(logits) - logits))
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"softmax_cross_entropy takes an integer class or a distribution of shape "
            f"{logits.shape}; got {checks.describe(labels)}"
        )
    classes = logits.shape[0]
    _check_range(given, 0, classes - 1, f"labels for {classes} logits")
    # A sum over the classes, because it fuses where a gather does not.
    labels = labels.astype(jnp.int32)
    picked = jnp.where(jnp.arange(classes, dtype=jnp.int32) == labels, logits, 0).sum()
    valid = (labels >= 0) & (labels < classes)
    return jnp.where(valid, jax.nn.logsumexp(logits) - picked, jnp.nan)


def _like(target: Array, output: Array, owner: str) -> Array:
    """Return `target` with the dtype and shape of `output`, which must agree."""
    target = jnp.asarray(target)
    if target.shape != output.shape and not target.size == output.size == 1:
        raise ValueError(
            f"{owner} takes an output and a target of one shape; got "
            f"{checks.describe(output)} and {checks.describe(target)}"
        )
    return target.astype(output.dtype).reshape(output.shape)


def _check_range(values: Array, low: float, high: float, what: str) -> None:
    if isinstance(values, jax.core.Tracer):
        return
    seen = np.asarray(values)
    if seen.size and not (seen.min() >= low and seen.max() <= high):
        span = f"{seen.min()}" if seen.size == 1 else f"{seen.min()} to {seen.max()}"
        raise ValueError(f"{what} must be from {low} to {high}, got {span}")
