"""The confusion matrix of a set of predictions, and the metrics derived from it."""

from typing import Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.metrics.sets import of_a_set
from fnn.types import Array

Average: TypeAlias = Literal["macro", "micro"] | None


def confusion_matrix(
    predictions: Array, labels: Array, classes: int | None = None
) -> Array:
    """Count Cᵢⱼ, the examples of class i predicted as class j.

    The matrices of batches add up to the matrix of the whole set.

    Args:
        predictions: The predicted classes, integers, (examples,). For a batch of logits,
            use `logits.argmax(axis=-1)`; it returns a class even for NaN logits.
        labels: The true classes, integers, (examples,).
        classes: The number of classes.

    Returns:
        C, int32, (classes, classes), with a row for each true class and a column for each
        predicted one. A pair out of range whose value can't be checked is not counted.

    Raises:
        ValueError: If the shapes differ, or a class is known to be out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> predictions = jax.numpy.array([0, 1, 1, 1])
        >>> labels = jax.numpy.array([0, 0, 1, 1])
        >>> confusion_matrix(predictions, labels, 2)
        Array([[1, 1],
               [0, 2]], dtype=int32)
    """
    _check_set("confusion_matrix", predictions, labels)
    classes = checks.positive_integer("classes", classes)
    what = f"of confusion_matrix for {classes} classes"
    columns, known = checks.classes_of(predictions, classes, f"predictions {what}")
    rows, valid = checks.classes_of(labels, classes, f"labels {what}")
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"predictions and labels must be of shape (examples,), got "
            f"{checks.describe(columns)} and {checks.describe(rows)}"
        )
    # Indices beyond the end are dropped.
    cells = jnp.where(known & valid, rows * classes + columns, classes**2)
    counts = jnp.zeros(classes**2, jnp.int32).at[cells].add(1, mode="drop")
    return counts.reshape(classes, classes)


def precision(
    predictions: Array, labels: Array, classes: int | None = None, average: Average = None
) -> Array:
    """Return the share of examples predicted as class k that are of it, Cₖₖ / Σᵢ Cᵢₖ.

    Args:
        predictions: The predicted classes, integers, (examples,).
        labels: The true classes, integers, (examples,).
        classes: The number of classes.
        average: `None` for a number per class; `"macro"` for the mean of these over all
            classes; `"micro"` for the quotient of the sums over the classes, which here
            is the accuracy.

    Returns:
        (classes,), or () if averaged. A class that was never predicted has 0.

    Raises:
        ValueError: If `average` is invalid, the shapes differ, or a class is known to be
            out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> predictions = jax.numpy.array([0, 1, 1, 1])
        >>> labels = jax.numpy.array([0, 0, 0, 1])
        >>> precision(predictions, labels, 2, "macro")
        Array(0.6666667, dtype=float32)
    """
    _check_set("precision", predictions, labels)
    checks.one_of("average", average, (None, "macro", "micro"))
    counts = confusion_matrix(predictions, labels, classes)
    return _quotient(counts.diagonal(), counts.sum(0), average)


def recall(
    predictions: Array, labels: Array, classes: int | None = None, average: Average = None
) -> Array:
    """Return the share of examples of class k that are predicted as it, Cₖₖ / Σⱼ Cₖⱼ.

    Args:
        predictions: The predicted classes, integers, (examples,).
        labels: The true classes, integers, (examples,).
        classes: The number of classes.
        average: `None` for a number per class; `"macro"` for the mean of these over all
            classes; `"micro"` for the quotient of the sums over the classes, which here
            is the accuracy.

    Returns:
        (classes,), or () if averaged. A class without examples has 0.

    Raises:
        ValueError: If `average` is invalid, the shapes differ, or a class is known to be
            out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> predictions = jax.numpy.array([0, 1, 1, 1])
        >>> labels = jax.numpy.array([0, 0, 1, 1])
        >>> recall(predictions, labels, 2)
        Array([0.5, 1. ], dtype=float32)
    """
    _check_set("recall", predictions, labels)
    checks.one_of("average", average, (None, "macro", "micro"))
    counts = confusion_matrix(predictions, labels, classes)
    return _quotient(counts.diagonal(), counts.sum(1), average)


def f1(
    predictions: Array, labels: Array, classes: int | None = None, average: Average = None
) -> Array:
    """Return the harmonic mean of precision and recall, 2 Cₖₖ / (Σᵢ Cᵢₖ + Σⱼ Cₖⱼ).

    Args:
        predictions: The predicted classes, integers, (examples,).
        labels: The true classes, integers, (examples,).
        classes: The number of classes.
        average: `None` for a number per class; `"macro"` for the mean of these over all
            classes; `"micro"` for the quotient of the sums over the classes, which here
            is the accuracy.

    Returns:
        (classes,), or () if averaged. A class neither predicted nor labelled has 0.

    Raises:
        ValueError: If `average` is invalid, the shapes differ, or a class is known to be
            out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> predictions = jax.numpy.array([0, 1, 1, 1])
        >>> labels = jax.numpy.array([0, 0, 1, 1])
        >>> f1(predictions, labels, 2)
        Array([0.6666667, 0.8      ], dtype=float32)
    """
    _check_set("f1", predictions, labels)
    checks.one_of("average", average, (None, "macro", "micro"))
    counts = confusion_matrix(predictions, labels, classes)
    return _quotient(2 * counts.diagonal(), counts.sum(0) + counts.sum(1), average)


def _check_set(name: str, predictions: Array, labels: Array) -> None:
    if np.ndim(labels) == 0:
        raise of_a_set(name, predictions, labels, "fnn.metrics.accuracy")


def _quotient(parts: Array, wholes: Array, average: Average) -> Array:
    """Return parts / wholes, 0 where the whole is 0, averaged by `average`."""
    if average == "micro":
        parts, wholes = parts.sum(), wholes.sum()
    dtype = jnp.result_type(float)
    shares = parts.astype(dtype) / jnp.maximum(wholes, 1).astype(dtype)
    return shares.mean() if average == "macro" else shares
