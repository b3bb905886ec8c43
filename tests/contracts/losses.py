"""Losses and metrics, and what they compute."""

import numpy as np
from scipy import special

from contracts import LossRow
from fnn import losses, metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)) * 3
CLASSES = np.array([0, 1, 2, 2, 1, 0], np.int32)
DISTRIBUTIONS = RNG.dirichlet(np.ones(3), size=6)


def cross_entropy(logits, label):
    log_probabilities = logits - special.logsumexp(logits)
    if np.ndim(label) == 0:
        return -log_probabilities[label]
    return -(label * log_probabilities).sum()


def binary_cross_entropy(logits, labels):
    p = special.expit(logits)
    return -(labels * np.log(p) + (1 - labels) * np.log1p(-p)).sum()


LOSSES = {
    "squared_error": LossRow(
        losses.squared_error, LOGITS, DISTRIBUTIONS, lambda y, t: ((y - t) ** 2).sum()
    ),
    "squared_error, (1,) and ()": LossRow(
        losses.squared_error, LOGITS[:, :1], LOGITS[:, 1], lambda y, t: (y[0] - t) ** 2
    ),
    "binary_cross_entropy": LossRow(
        losses.binary_cross_entropy, LOGITS, DISTRIBUTIONS, binary_cross_entropy
    ),
    "binary_cross_entropy, integers": LossRow(
        losses.binary_cross_entropy, LOGITS[:, :1], CLASSES % 2, binary_cross_entropy
    ),
    "softmax_cross_entropy, classes": LossRow(
        losses.softmax_cross_entropy, LOGITS, CLASSES, cross_entropy
    ),
    "softmax_cross_entropy, distributions": LossRow(
        losses.softmax_cross_entropy, LOGITS, DISTRIBUTIONS, cross_entropy
    ),
}

METRICS = {
    "accuracy": LossRow(
        metrics.accuracy, LOGITS, CLASSES, lambda y, t: float(y.argmax() == t), smooth=False
    ),
    "accuracy, distributions": LossRow(
        metrics.accuracy,
        LOGITS,
        DISTRIBUTIONS,
        lambda y, t: float(y.argmax() == t.argmax()),
        smooth=False,
    ),
    "binary_accuracy": LossRow(
        metrics.binary_accuracy,
        LOGITS,
        np.round(DISTRIBUTIONS),
        lambda y, t: ((y > 0) == (t > 0.5)).mean(),
        smooth=False,
    ),
}
