"""Metrics of one example: output and target in, a scalar out; averaged over examples."""

import jax.numpy as jnp

from fnn import checks
from fnn.types import Array


def accuracy(logits: Array, labels: Array) -> Array:
    """Return 1 if the largest logit is that of the labelled class, else 0.

    Args:
        logits: (classes,).
        labels: The class, an integer of shape (), or a distribution, (classes,), whose
            largest entry counts.

    Returns:
        0 or 1, of the logits' dtype, ().

    Raises:
        ValueError: If the shapes don't fit.

    Example:
        >>> accuracy(jax.numpy.array([0.1, 0.9]), 1)
        Array(1., dtype=float32)
    """
    labels = jnp.asarray(labels)
    if logits.ndim != 1 or labels.shape not in ((), logits.shape):
        raise ValueError(
            f"accuracy takes the logits of one example, (classes,), and one label; got "
            f"{checks.describe(logits)} and {checks.describe(labels)}"
        )
    label = labels if labels.ndim == 0 else labels.argmax()
    right = logits.argmax().astype(jnp.int32) == label.astype(jnp.int32)
    return right.astype(logits.dtype)


def binary_accuracy(logits: Array, labels: Array) -> Array:
    """Return the share of the logits that have the sign of their label.

    A logit above 0 says 1, another says 0; a label above 1/2 is 1.

    Args:
        logits: Any shape.
        labels: As many elements as `logits`.

    Returns:
        From 0 to 1, of the logits' dtype, ().

    Raises:
        ValueError: If the sizes differ.

    Example:
        >>> binary_accuracy(jax.numpy.array([2.0]), 1)
        Array(1., dtype=float32)
    """
    labels = jnp.asarray(labels)
    if labels.size != logits.size:
        raise ValueError(
            f"binary_accuracy takes as many labels as logits; got "
            f"{checks.describe(logits)} and {checks.describe(labels)}"
        )
    right = (logits > 0).ravel() == (labels > 0.5).ravel()
    return jnp.mean(right.astype(logits.dtype))
