"""Losses and metrics, and what they compute."""

import functools

import numpy as np
from scipy import special, stats

from contracts import LossRow
from fnn import losses, metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)) * 3
CLASSES = np.array([0, 1, 2, 2, 1, 0], np.int32)
DISTRIBUTIONS = RNG.dirichlet(np.ones(3), size=6)
SIGNS = np.sign(RNG.normal(size=(6, 3))).astype(np.int32)
COUNTS = RNG.integers(0, 9, size=(6, 3)).astype(np.int32)
PAIRS = RNG.normal(size=(6, 2, 3))
WEIGHTS = (0.5, 2.0, 0.0)


def elementwise(function):
    """Return the sum over the components of one example, by a loop."""
    return lambda y, t: sum(map(function, np.ravel(y), np.ravel(t)))


def cross_entropy(logits, label):
    log_probabilities = logits - special.logsumexp(logits)
    if np.ndim(label) == 0:
        return -log_probabilities[label]
    return -(label * log_probabilities).sum()


def smoothed_cross_entropy(logits, label, smoothing=0.0, weights=(1.0, 1.0, 1.0)):
    """Return the loss from its definition, a sum over the classes."""
    p, total = special.softmax(logits), 0.0
    for k, weight in enumerate(weights):
        t = float(k == label) if np.ndim(label) == 0 else label[k]
        t = (1 - smoothing) * t + smoothing / len(p)
        total -= weight * t * np.log(p[k])
    return total


@elementwise
def binary_cross_entropy(z, t):
    p = special.expit(z)
    return -(t * np.log(p) + (1 - t) * np.log1p(-p))


def binary_focal(gamma, alpha):
    """Return Lin et al.'s loss; `alpha` is the pair of the weights of labels 1 and 0."""

    @elementwise
    def loss(z, t):
        p = special.expit(z)
        one = alpha[0] * (1 - p) ** gamma * np.log(p)
        zero = alpha[1] * p**gamma * np.log(1 - p)
        return -(t * one + (1 - t) * zero)

    return loss


@elementwise
def huber(y, t):
    d = abs(y - t)
    return d**2 / 2 if d <= 1.5 else 1.5 * (d - 0.75)


@elementwise
def quantile(y, t):
    return 0.8 * (t - y) if t > y else 0.2 * (y - t)


def multiclass_hinge(z, t):
    wrong = [z[k] for k in range(len(z)) if k != t]
    return max(0.0, 1 + max(wrong) - z[t])


def cosine_distance(y, t):
    return 1 - y @ t / np.sqrt((y @ y) * (t @ t))


LOSSES = {
    "squared_error": LossRow(
        losses.squared_error, LOGITS, DISTRIBUTIONS, lambda y, t: ((y - t) ** 2).sum()
    ),
    "squared_error, (1,) and ()": LossRow(
        losses.squared_error, LOGITS[:, :1], LOGITS[:, 1], lambda y, t: (y[0] - t) ** 2
    ),
    "half_squared_error": LossRow(
        losses.half_squared_error, LOGITS, COUNTS, lambda y, t: ((y - t) ** 2).sum() / 2
    ),
    "mean_squared_error": LossRow(
        losses.mean_squared_error, LOGITS, COUNTS, lambda y, t: ((y - t) ** 2).mean()
    ),
    "absolute_error": LossRow(
        losses.absolute_error, LOGITS, COUNTS, lambda y, t: abs(y - t).sum()
    ),
    "mean_absolute_error": LossRow(
        losses.mean_absolute_error, LOGITS, COUNTS, lambda y, t: abs(y - t).mean()
    ),
    "huber": LossRow(functools.partial(losses.huber, delta=1.5), LOGITS, COUNTS, huber),
    "log_cosh": LossRow(
        losses.log_cosh,
        LOGITS,
        DISTRIBUTIONS,
        lambda y, t: np.log(np.cosh(y - t)).sum(),
    ),
    "quantile": LossRow(
        functools.partial(losses.quantile, level=0.8), LOGITS, COUNTS, quantile
    ),
    "gaussian_nll": LossRow(
        losses.gaussian_nll,
        PAIRS,
        LOGITS,
        lambda y, t: -stats.norm.logpdf(t, y[0], np.exp(y[1] / 2)).sum(),
    ),
    "poisson_nll": LossRow(
        losses.poisson_nll,
        LOGITS,
        COUNTS,
        lambda z, t: -stats.poisson.logpmf(t, np.exp(z)).sum(),
    ),
    "cosine_distance": LossRow(
        losses.cosine_distance, LOGITS, DISTRIBUTIONS, cosine_distance
    ),
    "misclassification": LossRow(
        losses.misclassification, LOGITS, CLASSES, lambda z, t: float(z.argmax() != t)
    ),
    "misclassification, distributions": LossRow(
        losses.misclassification,
        LOGITS,
        DISTRIBUTIONS,
        lambda z, t: float(z.argmax() != t.argmax()),
    ),
    "hinge": LossRow(
        losses.hinge, LOGITS, SIGNS, elementwise(lambda y, t: max(0, 1 - t * y))
    ),
    "multiclass_hinge": LossRow(losses.multiclass_hinge, LOGITS, CLASSES, multiclass_hinge),
    "logistic": LossRow(
        losses.logistic, LOGITS, SIGNS, elementwise(lambda z, t: np.log1p(np.exp(-t * z)))
    ),
    "binary_cross_entropy": LossRow(
        losses.binary_cross_entropy, LOGITS, DISTRIBUTIONS, binary_cross_entropy
    ),
    "binary_cross_entropy, integers": LossRow(
        losses.binary_cross_entropy, LOGITS[:, :1], CLASSES % 2, binary_cross_entropy
    ),
    "binary_focal": LossRow(
        losses.binary_focal, LOGITS, DISTRIBUTIONS, binary_focal(2, (1, 1))
    ),
    "binary_focal, weighted": LossRow(
        functools.partial(losses.binary_focal, gamma=0.5, alpha=0.25),
        LOGITS,
        DISTRIBUTIONS,
        binary_focal(0.5, (0.25, 0.75)),
    ),
    "softmax_cross_entropy, classes": LossRow(
        losses.softmax_cross_entropy, LOGITS, CLASSES, cross_entropy
    ),
    "softmax_cross_entropy, distributions": LossRow(
        losses.softmax_cross_entropy, LOGITS, DISTRIBUTIONS, cross_entropy
    ),
    "softmax_cross_entropy, smoothed": LossRow(
        functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1),
        LOGITS,
        CLASSES,
        functools.partial(smoothed_cross_entropy, smoothing=0.1),
    ),
    "softmax_cross_entropy, weighted classes": LossRow(
        functools.partial(losses.softmax_cross_entropy, class_weights=WEIGHTS),
        LOGITS,
        CLASSES,
        functools.partial(smoothed_cross_entropy, weights=WEIGHTS),
    ),
    "softmax_cross_entropy, smoothed and weighted distributions": LossRow(
        functools.partial(
            losses.softmax_cross_entropy, label_smoothing=0.3, class_weights=WEIGHTS
        ),
        LOGITS,
        DISTRIBUTIONS,
        functools.partial(smoothed_cross_entropy, smoothing=0.3, weights=WEIGHTS),
    ),
    "nll, classes": LossRow(losses.nll, LOGITS, CLASSES, lambda z, t: -z[t]),
    "nll, distributions": LossRow(
        losses.nll, LOGITS, DISTRIBUTIONS, lambda z, t: -(t * z).sum()
    ),
    "kl_divergence": LossRow(
        losses.kl_divergence,
        LOGITS,
        DISTRIBUTIONS,
        lambda z, t: special.rel_entr(t, special.softmax(z)).sum(),
    ),
}

# They grow as the exponential of the output, and so out of the range of any float.
EXPONENTIAL = (losses.gaussian_nll, losses.poisson_nll)


def top_2(z, t):
    """Say whether less than two logits are larger."""
    return float(sum(z > z[t]) < 2)


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
    "top_k_accuracy": LossRow(
        functools.partial(metrics.top_k_accuracy, k=2), LOGITS, CLASSES, top_2, smooth=False
    ),
    "top_k_accuracy, distributions": LossRow(
        functools.partial(metrics.top_k_accuracy, k=2),
        LOGITS,
        DISTRIBUTIONS,
        lambda z, t: top_2(z, t.argmax()),
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

TAKEN = RNG.integers(0, 4, size=(3, 30))
TRUE = RNG.integers(0, 3, size=(3, 30))  # so class 3 is absent
SCORES = RNG.integers(0, 8, size=(3, 30)) / 4  # with many ties
PROBABILITIES = RNG.dirichlet(np.ones(4), size=(3, 30))


def confusion(predictions, labels):
    counts = np.zeros((4, 4))
    for prediction, label in zip(predictions, labels, strict=True):
        counts[label, prediction] += 1
    return counts


def per_class(quotient):
    """Return quotient(hits, taken for it, of it) for each class, 0 for 0/0."""

    def oracle(predictions, labels):
        values = []
        for k in range(4):
            hits = ((predictions == k) & (labels == k)).sum()
            whole = quotient(1.0, (predictions == k).sum(), (labels == k).sum())
            values.append(hits / whole if whole else 0.0)
        return np.array(values)

    return oracle


precisions = per_class(lambda hits, taken, of: taken)
recalls = per_class(lambda hits, taken, of: of)
f1s = per_class(lambda hits, taken, of: (taken + of) / 2)


def roc_auc(scores, labels):
    """Count the pairs that are in the right order."""
    pairs = [(p, n) for p in scores[labels == 1] for n in scores[labels == 0]]
    return np.mean([(p > n) + (p == n) / 2 for p, n in pairs])


def r2(y, t):
    return 1 - ((t - y) ** 2).sum() / ((t - t.mean()) ** 2).sum()


def calibration_error(bins):
    """Return the error by a loop over the bins."""

    def oracle(p, labels):
        confidence, right, error = p.max(1), p.argmax(1) == labels, 0.0
        for m in range(bins):
            inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
            if inside.any():
                gap = right[inside].mean() - confidence[inside].mean()
                error += inside.mean() * abs(gap)
        return error

    return oracle


SET_METRICS = {
    "confusion_matrix": LossRow(
        functools.partial(metrics.confusion_matrix, classes=4), TAKEN, TRUE, confusion
    ),
    "precision": LossRow(
        functools.partial(metrics.precision, classes=4), TAKEN, TRUE, precisions
    ),
    "precision, macro": LossRow(
        functools.partial(metrics.precision, classes=4, average="macro"),
        TAKEN,
        TRUE,
        lambda y, t: precisions(y, t).mean(),
    ),
    "recall": LossRow(functools.partial(metrics.recall, classes=4), TAKEN, TRUE, recalls),
    "recall, micro": LossRow(
        functools.partial(metrics.recall, classes=4, average="micro"),
        TAKEN,
        TRUE,
        lambda y, t: (y == t).mean(),
    ),
    "f1": LossRow(functools.partial(metrics.f1, classes=4), TAKEN, TRUE, f1s),
    "f1, macro": LossRow(
        functools.partial(metrics.f1, classes=4, average="macro"),
        TAKEN,
        TRUE,
        lambda y, t: f1s(y, t).mean(),
    ),
    "roc_auc": LossRow(metrics.roc_auc, SCORES, TRUE % 2, roc_auc),
    "r2": LossRow(metrics.r2, SCORES, RNG.normal(size=(3, 30)), r2),
    "expected_calibration_error": LossRow(
        metrics.expected_calibration_error, PROBABILITIES, TRUE, calibration_error(15)
    ),
    "expected_calibration_error, 4 bins": LossRow(
        functools.partial(metrics.expected_calibration_error, bins=4),
        PROBABILITIES,
        TRUE,
        calibration_error(4),
    ),
}
