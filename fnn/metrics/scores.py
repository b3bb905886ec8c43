"""Figures of merit of a set of predictions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.metrics.sets import of_a_set
from fnn.types import Array, wide

# Largest error of the sum of an example's probabilities, in bfloat16.
ROUNDING = 1e-2


def roc_auc(scores: Array, labels: Array) -> Array:
    """Return P(s⁺ > s⁻) + ½ P(s⁺ = s⁻), the area under the ROC curve.

    Among pairs of an example of class 1 and one of class 0, it is the share that the scores
    order correctly. It is computed exactly from ranks, ties included.

    Source: Hanley & McNeil 1982, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve".

    Args:
        scores: s, (examples,): logits or probabilities of class 1; only their order
            matters.
        labels: 0 or 1, integers or booleans, (examples,).

    Returns:
        From 0 to 1, (), in float32 at least. It is NaN if one class has no examples, if
        a score is NaN, and for a label out of range that can't be checked.

    Raises:
        ValueError: If the shapes differ, or a label is known to be neither 0 nor 1.
        TypeError: If the scores are not floating-point, or the labels neither integers
            nor booleans.

    Example:
        >>> roc_auc(jax.numpy.array([0.1, 0.4, 0.35, 0.8]), jax.numpy.array([0, 0, 1, 1]))
        Array(0.75, dtype=float32)
    """
    dtype = wide(checks.floating("roc_auc", scores))
    if np.ndim(labels) == 0 or np.shape(labels) == np.shape(scores) == (1,):
        raise of_a_set("roc_auc", scores, labels, "fnn.metrics.binary_accuracy")
    if checks.dtype_of(labels).kind == "b":
        labels = jnp.asarray(labels).astype(jnp.int32)
    labels, valid = checks.classes_of(labels, 2, "labels of roc_auc")
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"roc_auc takes scores and labels of shape (examples,), got "
            f"{checks.describe(scores)} and {checks.describe(labels)}"
        )
    scores = jnp.asarray(scores, dtype)
    order = jnp.argsort(scores)
    ranked, positive = scores[order], labels[order] == 1
    # negatives[i] is the number of examples of class 0 among the i lowest scores.
    negatives = jnp.pad(jnp.cumsum(~positive, dtype=jnp.int32), (1, 0))
    below = negatives[jnp.searchsorted(ranked, ranked, side="left")]
    not_above = negatives[jnp.searchsorted(ranked, ranked, side="right")]
    share = (below + not_above).astype(dtype) / (2 * negatives[-1]).astype(dtype)
    area = jnp.sum(share, where=positive) / jnp.sum(positive, dtype=dtype)
    return jnp.where(valid.all() & ~jnp.isnan(scores).any(), area, jnp.nan)


def r2(predictions: Array, targets: Array) -> Array:
    """Return R² = 1 - Σᵢ (tᵢ - yᵢ)² / Σᵢ (tᵢ - t̄)², the share of variance explained.

    It is 1 for perfect predictions, 0 for always predicting the mean t̄, and negative for
    worse predictions.

    Args:
        predictions: y, (examples, ...).
        targets: t, of the shape of y; (examples, 1) and (examples,) agree.

    Returns:
        R², (), in float32 at least; with several components, the mean of their R². It
        is NaN if all targets of a component are equal.

    Raises:
        ValueError: If the shapes differ, or there are fewer than two examples.
        TypeError: If the predictions are not floating-point.

    Example:
        >>> print(f"{r2(jax.numpy.array([1.0, 2.0, 4.0]), jax.numpy.arange(1.0, 4.0)):.2f}")
        0.50
    """
    dtype = wide(checks.floating("r2", predictions))
    y, t = jnp.asarray(predictions, dtype), jnp.asarray(targets).astype(dtype)
    if not y.ndim or not t.ndim:
        raise of_a_set("r2", y, t, "fnn.losses.squared_error")
    if y.size == 0 or _columns(y) != _columns(t):
        raise ValueError(
            f"r2 takes predictions and targets of one shape, (examples, ...), got "
            f"{checks.describe(y)} and {checks.describe(t)}"
        )
    y, t = y.reshape(_columns(y)), t.reshape(_columns(t))
    if len(t) == 1:
        raise of_a_set("r2", y, t, "fnn.losses.squared_error")
    # R² does not depend on the scale; unscaled squares might overflow or vanish.
    scale = jnp.max(jnp.abs(t), axis=0, keepdims=True)
    scale = jnp.where(scale > 0, scale, 1)
    y, t = y / scale, t / scale
    spread = t - t.mean(axis=0, keepdims=True)
    scale = jnp.max(jnp.abs(spread), axis=0, keepdims=True)
    scale = jnp.where(scale > 0, scale, 1)
    unexplained = jnp.sum(jnp.square((t - y) / scale), axis=0)
    total = jnp.sum(jnp.square(spread / scale), axis=0)
    # Compare the extremes, because the mean of equal numbers may differ from them.
    constant = t.max(axis=0) == t.min(axis=0)
    return jnp.mean(1 - unexplained / jnp.where(constant, jnp.nan, total))


def expected_calibration_error(
    probabilities: Array, labels: Array, bins: int = 15
) -> Array:
    """Return Σₘ |Bₘ| / n · |accuracy(Bₘ) - confidence(Bₘ)|, over bins of confidence.

    The confidence of a prediction is the largest of its probabilities; bin m of M holds
    the n predictions whose confidence is in ((m - 1)/M, m/M]. Empty bins add nothing.

    Source: Guo et al. 2017, "On calibration of modern neural networks".

    Args:
        probabilities: (examples, classes), such as `jax.nn.softmax` of logits.
        labels: The true classes, integers, (examples,).
        bins: M.

    Returns:
        From 0 to 1, (), in float32 at least. It is NaN for a class out of range that
        can't be checked.

    Raises:
        ValueError: If the shapes don't fit, the set is empty, a class is known to be
            out of range, or `probabilities` are not probabilities.
        TypeError: If the probabilities are not floating-point, or a class not an integer.

    Example:
        >>> probabilities = jax.numpy.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
        >>> error = expected_calibration_error(probabilities, jax.numpy.array([0, 1, 1]))
        >>> print(f"{error:.4f}")  # (|1 - 1.8| + |1 - 0.8|) / 3
        0.3333
    """
    dtype = wide(checks.floating("expected_calibration_error", probabilities))
    bins = checks.positive_integer("bins", bins)
    if np.ndim(labels) == 0:
        raise of_a_set(
            "expected_calibration_error", probabilities, labels, "fnn.metrics.accuracy"
        )
    if probabilities.ndim != 2 or np.shape(labels) != probabilities.shape[:1]:
        raise ValueError(
            f"expected_calibration_error takes probabilities, (examples, classes), and "
            f"labels, (examples,); got {checks.describe(probabilities)} and "
            f"{checks.describe(jnp.asarray(labels))}"
        )
    _check_probabilities(probabilities)
    examples, classes = probabilities.shape
    if not examples:
        raise ValueError("expected_calibration_error needs at least one example")
    what = f"labels of expected_calibration_error for {classes} classes"
    labels, valid = checks.classes_of(labels, classes, what)
    probabilities = jnp.asarray(probabilities, dtype)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1).astype(jnp.int32) == labels
    # Compare with the bounds: 0.07 · 100 is above 7, but 0.07 is not above 7 / 100.
    bounds = jnp.asarray(np.arange(1, bins) / bins, dtype)
    index = jnp.searchsorted(bounds, confidence, side="left")
    # |B| (accuracy - confidence) is a sum over the bin, so an empty one does not divide by
    # 0.
    gaps = jnp.zeros(bins, dtype).at[index].add(right.astype(dtype) - confidence)
    error = jnp.sum(jnp.abs(gaps)) / examples
    return jnp.where(valid.all(), error, jnp.nan)


def _columns(x: Array) -> tuple[int, ...]:
    """Return the shape, with (examples, 1) for (examples,)."""
    return x.shape if x.ndim > 1 else (x.shape[0], 1)


def _check_probabilities(probabilities: Any) -> None:
    if isinstance(probabilities, jax.core.Tracer):
        return
    seen = np.asarray(probabilities).astype(np.float64)
    sums = seen.sum(axis=1)
    if not ((seen >= 0).all() and (abs(sums - 1) <= ROUNDING).all()):
        raise ValueError(
            f"expected_calibration_error takes probabilities, such as jax.nn.softmax of "
            f"logits; got numbers from {seen.min():.4g} to {seen.max():.4g}, whose sums "
            f"over the classes are from {sums.min():.4g} to {sums.max():.4g}"
        )
