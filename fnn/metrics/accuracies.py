"""Metrics of one example that count correct predictions."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.types import Array


def accuracy(logits: Array, labels: Array) -> Array:
    """Return 1 if the largest logit is that of the labelled class, else 0.

    Args:
        logits: (classes,). The first of equal logits counts as the largest.
        labels: The class, an integer of shape (), or a distribution, (classes,), whose
            largest entry counts.

    Returns:
        0 or 1, of the logits' dtype, (). It is 0 if a logit is NaN. It is NaN for a
        class out of range whose value can't be checked, and for a distribution with a NaN.

    Raises:
        ValueError: If the shapes don't fit, or the class is known to be out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> accuracy(jax.numpy.array([0.1, 0.9]), 1)
        Array(1., dtype=float32)
    """
    label, valid = _label(logits, labels, "accuracy")
    right = (logits.argmax().astype(jnp.int32) == label) & ~jnp.isnan(logits).any()
    return jnp.where(valid, right.astype(logits.dtype), jnp.nan)


def top_k_accuracy(logits: Array, labels: Array, k: int) -> Array:
    """Return 1 if the logit of the labelled class is among the k largest, else 0.

    With k = 1 it is `accuracy`. To use it as a metric, fix k:
    `functools.partial(fnn.metrics.top_k_accuracy, k=5)`.

    Args:
        logits: (classes,). The first of equal logits counts as the largest.
        labels: The class, an integer of shape (), or a distribution, (classes,), whose
            largest entry counts.
        k: From 1 to the number of classes.

    Returns:
        0 or 1, of the logits' dtype, (). It is 0 if a logit is NaN. It is NaN for a
        class out of range whose value can't be checked, and for a distribution with a NaN.

    Raises:
        ValueError: If the shapes don't fit, or k or the class is known to be out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> top_k_accuracy(jax.numpy.array([0.1, 0.5, 0.4]), 2, k=2)
        Array(1., dtype=float32)
    """
    k = checks.positive_integer("k", k)
    label, valid = _label(logits, labels, "top_k_accuracy")
    if k > logits.size:
        raise ValueError(f"k must be at most the number of logits, {logits.size}, got {k}")
    classes = jnp.arange(logits.size, dtype=jnp.int32)
    own = jnp.max(jnp.where(classes == label, logits, -jnp.inf))
    ahead = (logits > own) | ((logits == own) & (classes < label))
    right = (ahead.sum(dtype=jnp.int32) < k) & ~jnp.isnan(logits).any()
    return jnp.where(valid, right.astype(logits.dtype), jnp.nan)


def binary_accuracy(logits: Array, labels: Array) -> Array:
    """Return the share of the logits that have the sign of their label.

    A logit above 0 predicts 1, any other 0. A label above 1/2 is 1, so labels may be 0 and
    1, or -1 and 1.

    Args:
        logits: Any shape.
        labels: The same number of elements, floating-point, integer or boolean.

    Returns:
        From 0 to 1, of the logits' dtype, (). A NaN logit counts as wrong; the
        result is NaN if a label is.

    Raises:
        ValueError: If the sizes differ.
        TypeError: If the logits are not floating-point.

    Example:
        >>> binary_accuracy(jax.numpy.array([2.0]), 1)
        Array(1., dtype=float32)
    """
    dtype, labels = checks.floating("binary_accuracy", logits), jnp.asarray(labels)
    if labels.size != logits.size:
        raise ValueError(
            f"binary_accuracy takes one label for each logit; got "
            f"{checks.describe(logits)} and {checks.describe(labels)}"
        )
    logits, labels = jnp.ravel(logits), labels.astype(dtype).ravel()
    right = ((logits > 0) == (labels > 0.5)) & ~jnp.isnan(logits)
    return jnp.mean(jnp.where(jnp.isnan(labels), jnp.nan, right.astype(dtype)))


def _label(logits: Array, labels: Any, owner: str) -> tuple[Array, Array]:
    """Return the class, (), and whether it is one of the logits'."""
    checks.floating(owner, logits)
    if logits.ndim != 1 or np.shape(labels) not in ((), logits.shape):
        raise ValueError(
            f"{owner} takes the logits of one example, (classes,), and one label; got "
            f"{checks.describe(logits)} and {checks.describe(jnp.asarray(labels))}"
        )
    if np.ndim(labels) == 1:
        array = jnp.asarray(labels)
        return array.argmax().astype(jnp.int32), ~jnp.isnan(array).any()
    what = f"labels of {owner} for {logits.size} logits"
    return checks.classes_of(labels, logits.size, what)
