"""Losses for classification; most take logits and a label."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, log_softmax

from fnn import checks
from fnn.losses import targets
from fnn.types import Array

# Rounding may make a probability, as a difference of others, negative by this much.
ROUNDING = 1e-6


def misclassification(logits: Array, labels: Array) -> Array:
    """Return 0 if the largest logit is that of the labelled class, else 1.

    The mean over examples is the error rate. Its gradient is 0, so it can be reported
    but not trained with.

    Args:
        logits: z, (classes,).
        labels: The class, an integer of shape (), or a distribution, (classes,), whose
            largest entry counts.

    Returns:
        0 or 1, (). It is 1 if a logit is NaN, and NaN for a class out of range whose
        value can't be checked.

    Raises:
        ValueError: If the shapes don't fit, or the class is known to be out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> misclassification(jax.numpy.array([0.1, 0.9]), 0)
        Array(1., dtype=float32)
    """
    owner, valid = "misclassification", jnp.bool_(True)
    if np.ndim(labels) > 0:
        z, t = targets.distribution(logits, labels, owner)
    else:
        z, t, valid = targets.one_hot(logits, labels, owner)
    right = (z.argmax() == t.argmax()) & ~jnp.isnan(z).any()
    return targets.narrow(jnp.where(valid, (~right).astype(z.dtype), jnp.nan), logits)


def hinge(output: Array, labels: Array) -> Array:
    """Return Σₖ max(0, 1 - tₖ yₖ), for labels t of -1 and 1.

    Source: Cortes & Vapnik 1995, "Support-vector networks".

    Args:
        output: y, of any shape.
        labels: t, of the shape of y: -1 or 1. If both have one element, (1,) and ()
            agree.

    Returns:
        The loss, (). It is NaN for a label other than -1 and 1 that can't be checked.

    Raises:
        ValueError: If the shapes differ, or a label is known to be neither -1 nor 1.

    Example:
        >>> hinge(jax.numpy.array([0.25]), 1)
        Array(0.75, dtype=float32)
    """
    y, t = targets.signs(output, labels, "hinge")
    return targets.narrow(jnp.sum(jnp.maximum(0, 1 - t * y)), output)


def multiclass_hinge(logits: Array, labels: Array) -> Array:
    """Return maxₖ (zₖ + [k ≠ t]) - zₜ, the hinge loss against the best wrong class.

    This is the form of Crammer and Singer: only the largest violation of the margin
    counts. With two classes it is max(0, 1 - (zₜ - z₁₋ₜ)).

    Source: Crammer & Singer 2001, "On the algorithmic implementation of multiclass
    kernel-based vector machines".

    Args:
        logits: z, (classes,).
        labels: t, the class, an integer of shape ().

    Returns:
        The loss, (). It is NaN for a class out of range whose value can't be checked.

    Raises:
        ValueError: If the shapes don't fit, or the class is known to be out of range.
        TypeError: If the class is not an integer.

    Example:
        >>> multiclass_hinge(jax.numpy.array([2.0, 1.5, -1.0]), 0)
        Array(0.5, dtype=float32)
    """
    z, hot, valid = targets.one_hot(logits, labels, "multiclass_hinge")
    own = jnp.sum(jnp.where(hot, z, 0))
    # The class itself has margin 0, unless its logit is NaN, which is never right.
    margins = jnp.where(hot, jnp.where(jnp.isnan(own), own, 0), z - own + 1)
    return targets.narrow(jnp.where(valid, jnp.max(margins), jnp.nan), logits)


def logistic(logits: Array, labels: Array) -> Array:
    """Return Σₖ log(1 + exp(-tₖ zₖ)), for labels t of -1 and 1.

    It is `binary_cross_entropy` for the labels (1 + t) / 2.

    Args:
        logits: z, of any shape.
        labels: t, of the shape of z: -1 or 1. If both have one element, (1,) and ()
            agree.

    Returns:
        The loss, (). It is NaN for a label other than -1 and 1 that can't be checked.

    Raises:
        ValueError: If the shapes differ, or a label is known to be neither -1 nor 1.

    Example:
        >>> logistic(jax.numpy.array([0.0]), -1)
        Array(0.6931472, dtype=float32)
    """
    z, t = targets.signs(logits, labels, "logistic")
    return targets.narrow(jnp.sum(_cross_entropy(t * z, 1)), logits)


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return -Σₖ (tₖ log σ(zₖ) + (1 - tₖ) log(1 - σ(zₖ))), from the logits z.

    Its gradient is σ(z) - t.

    Args:
        logits: z, of any shape.
        labels: t, of the shape of z: numbers from 0 to 1, floating-point or integer.
            If both have one element, (1,) and () agree.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ, or a label is known to be out of range.

    Example:
        >>> binary_cross_entropy(jax.numpy.array([0.0]), 1)
        Array(0.6931472, dtype=float32)
    """
    z, t = targets.probabilities(logits, labels, "binary_cross_entropy")
    return targets.narrow(jnp.sum(_cross_entropy(z, t)), logits)


def binary_focal(
    logits: Array,
    labels: Array,
    gamma: float | Array = 2.0,
    alpha: float | Array | None = None,
) -> Array:
    """Return -Σₖ (α tₖ (1 - pₖ)ᵞ log pₖ + (1 - α) (1 - tₖ) pₖᵞ log(1 - pₖ)), p = σ(z).

    Well-classified examples count little. With γ = 0 and no α it is
    `binary_cross_entropy`.

    Source: Lin et al. 2017, "Focal loss for dense object detection", which takes γ = 2
    and α = 0.25.

    Args:
        logits: z, of any shape.
        labels: t, of the shape of z: numbers from 0 to 1, floating-point or integer.
            If both have one element, (1,) and () agree.
        gamma: γ, at least 0.
        alpha: α, from 0 to 1, the weight of label 1; `None` leaves out the factors α
            and 1 - α.

    Returns:
        The loss, ().

    Raises:
        ValueError: If the shapes differ, or a label or an option is known
            to be out of range.

    Example:
        >>> print(f"{binary_focal(jax.numpy.array([0.0]), 1):.4f}")  # log(2) / 4
        0.1733
    """
    checks.between("gamma", gamma, 0, float("inf"))
    checks.between("alpha", 0 if alpha is None else alpha, 0, 1)
    z, t = targets.probabilities(logits, labels, "binary_focal")
    power = jnp.asarray(gamma, z.dtype)

    def focused(z: Array) -> Array:  # (1 - p)ᵞ log p
        return jnp.exp(power * log_sigmoid(-z)) * log_sigmoid(z)

    ones, zeros = t * focused(z), (1 - t) * focused(-z)
    if alpha is not None:
        weight = jnp.asarray(alpha, z.dtype)
        ones, zeros = weight * ones, (1 - weight) * zeros
    return targets.narrow(-jnp.sum(ones + zeros), logits)


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    label_smoothing: float | Array = 0.0,
    class_weights: Array | tuple[float, ...] | None = None,
) -> Array:
    """Return -Σₖ wₖ tₖ log softmax(z)ₖ, from the logits z.

    If all w are 1, its gradient is softmax(z) - t. A logit of -∞ marks an impossible class.

    The mean over examples stays a plain mean: weights with Σₖ nₖ wₖ = N, for the nₖ of N
    examples in class k, keep the scale of the loss.

    Source: Szegedy et al. 2016, "Rethinking the Inception architecture for computer
    vision", for smoothed labels.

    Args:
        logits: z, (classes,).
        labels: The class, an integer of shape (), or the distribution t, (classes,).
        label_smoothing: ε, from 0 to 1: t is replaced by (1 - ε) t + ε / classes.
        class_weights: w, (classes,), not negative; by default all 1.

    Returns:
        The loss, (). It is NaN for a class out of range whose value can't be checked.

    Raises:
        ValueError: If the shapes don't fit, the class is known to be out of range, the
            distribution to be invalid, or an option is out of range.
        TypeError: If a class is not an integer.

    Example:
        >>> softmax_cross_entropy(jax.numpy.zeros(2), 1)
        Array(0.6931472, dtype=float32)
        >>> softmax_cross_entropy(jax.numpy.zeros(2), jax.numpy.array([0.5, 0.5]))
        Array(0.6931472, dtype=float32)
        >>> softmax_cross_entropy(jax.numpy.zeros(2), 1, class_weights=(1.0, 3.0))
        Array(2.0794415, dtype=float32)
    """
    checks.between("label_smoothing", label_smoothing, 0, 1)
    z, expected = targets.expectation(logits, labels, "softmax_cross_entropy")
    shifted = z - jax.lax.stop_gradient(jnp.max(z))
    log_sum = jnp.log(jnp.sum(jnp.exp(shifted)))
    costs = log_sum - shifted  # -log softmax(z)
    if class_weights is None:
        loss = expected(-shifted, log_sum)
    else:
        costs = targets.class_weights(class_weights, z) * costs
        loss = expected(costs, 0)
    if isinstance(label_smoothing, jax.Array) or label_smoothing > 0:
        epsilon = jnp.asarray(label_smoothing, z.dtype)
        loss = (1 - epsilon) * loss + epsilon * jnp.mean(costs)
    return targets.narrow(loss, logits)


def nll(log_probabilities: Array, labels: Array) -> Array:
    """Return -Σₖ tₖ log pₖ, the negative log-likelihood, from log p.

    For a model whose output is `jax.nn.log_softmax` of the logits.

    Args:
        log_probabilities: log p, (classes,).
        labels: The class, an integer of shape (), or the distribution t, (classes,).

    Returns:
        The loss, (). It is NaN if a log p is NaN, and for a class out of range whose
        value can't be checked.

    Raises:
        ValueError: If the shapes don't fit, the class is known to be out of range, or the
            distribution to be invalid.
        TypeError: If a class is not an integer.

    Example:
        >>> nll(jax.numpy.log(jax.numpy.array([0.25, 0.75])), 0)
        Array(1.3862944, dtype=float32)
    """
    log_p, expected = targets.expectation(log_probabilities, labels, "nll")
    loss = jnp.where(jnp.isnan(log_p).any(), jnp.nan, expected(-log_p, 0))
    return targets.narrow(loss, log_probabilities)


def kl_divergence(logits: Array, labels: Array) -> Array:
    """Return Σₖ tₖ (log tₖ - log softmax(z)ₖ), from the logits z.

    It is `softmax_cross_entropy` minus the entropy of t. The entropy does not depend on z,
    and the divergence is 0 at softmax(z) = t.

    Source: Kullback & Leibler 1951, "On information and sufficiency".

    Args:
        logits: z, (classes,).
        labels: The distribution t, (classes,).

    Returns:
        The divergence, (). A label from -1e-6 to 0 counts as 0, because rounding may have
        made it negative; below -1e-6 it gives NaN.

    Raises:
        ValueError: If the shapes don't fit, or the distribution is known to be invalid.
        TypeError: If the labels are a single number.

    Example:
        >>> print(f"{kl_divergence(jax.numpy.zeros(2), jax.numpy.array([0.25, 0.75])):.4f}")
        0.1308
    """
    z, t = targets.distribution(logits, labels, "kl_divergence")
    t = jnp.where((t < 0) & (t >= -ROUNDING), 0, t)
    log_t = jnp.log(jnp.where(t == 0, 1, t))  # 0 log 0 = 0
    divergence = jnp.sum(t * log_t) + targets.mean_under(t, -log_softmax(z))
    return targets.narrow(divergence, logits)


def _cross_entropy(z: Array, t: Array | float) -> Array:
    """Return -(t log σ(z) + (1 - t) log(1 - σ(z))) = ([z ≥ 0] - t) z + log(1 + e⁻ᵃ).

    The second form, with a = |z|, neither overflows nor loses digits.
    """
    positive = z >= 0
    # Unlike with |z|, the derivatives of any order of a and of the sum are right at 0.
    a = jnp.where(positive, z, -z)
    return (positive.astype(z.dtype) - t) * z + jnp.log1p(jnp.exp(-a))
