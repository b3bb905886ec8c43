"""Losses and metrics, and what they compute."""

import functools

import numpy as np
from scipy import special

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


# Targets at the ends of their range, (targets, 3).
REAL = np.array([[0, 0, 0], [-300, 1, 300]], np.float32)
NATURAL = np.array([[0, 0, 0], [0, 1, 1_000_000]], np.int32)
SIGNED = np.array([[1, 1, 1], [-1, -1, -1]], np.int32)
BINARY = np.array([[0, 0, 0], [1, 1, 1]], np.float32)
FIRST_AND_LAST = np.array([0, 2], np.int32)
CERTAIN = np.eye(3, dtype=np.float32)[[0, 2]]


def each(function):
    """Return the values of the components of one example, by a loop."""

    def values(y, t):
        pairs = zip(np.ravel(y), np.ravel(t), strict=True)
        return np.array([function(a, b) for a, b in pairs]).reshape(np.shape(y))

    return values


def elementwise(function):
    """Return the sum over the components of one example, by a loop."""
    return lambda y, t: each(function)(y, t).sum()


def smooth_except(kinks, slope):
    """Return a slope of d = y - t that is NaN at kinks."""
    return lambda y, t: np.where(np.isin(y - t, kinks), np.nan, slope(y - t))


def log_softmax(z):
    return z - special.logsumexp(z)


def one_hot(label):
    return np.eye(3)[label] if np.ndim(label) == 0 else label


def cross_entropy(logits, label, smoothing=0.0, weights=(1.0, 1.0, 1.0)):
    """Return the loss from its definition, a sum over the classes."""
    t = (1 - smoothing) * one_hot(label) + smoothing / 3
    return -sum(np.array(weights) * t * log_softmax(logits))


def cross_entropy_slope(logits, label, smoothing=0.0, weights=(1.0, 1.0, 1.0)):
    t = np.array(weights) * ((1 - smoothing) * one_hot(label) + smoothing / 3)
    return special.softmax(logits) * t.sum() - t


def softplus(z):
    return np.logaddexp(0, z)


def binary_focal(gamma, alpha):
    """Return Lin et al.'s loss; `alpha` is the pair of the weights of labels 1 and 0."""

    def focused(z):  # (1 - p)ᵞ log p
        return -np.exp(-gamma * softplus(z)) * softplus(-z)

    return elementwise(
        lambda z, t: -alpha[0] * t * focused(z) - alpha[1] * (1 - t) * focused(-z)
    )


def binary_focal_slope(gamma, alpha):
    def slope(z):  # (1 - p)ᵞ (1 - p - γ p log p)
        p, q = special.expit(z), special.expit(-z)
        return np.exp(-gamma * softplus(z)) * (q + gamma * p * softplus(-z))

    return each(lambda z, t: -alpha[0] * t * slope(z) + alpha[1] * (1 - t) * slope(-z))


def binary_cross_entropy(z, t):
    return t * softplus(-z) + (1 - t) * softplus(z)


def binary_cross_entropy_slope(z, t):
    return (1 - t) * special.expit(z) - t * special.expit(-z)


@elementwise
def huber(y, t):
    d = abs(y - t)
    return d**2 / 2 if d <= 1.5 else 1.5 * (d - 0.75)


@elementwise
def log_cosh(y, t):
    d = abs(y - t)
    return d**2 / 2 - d**4 / 12 if d < 1e-4 else d + np.log1p(np.exp(-2 * d)) - np.log(2)


@elementwise
def quantile(y, t):
    return 0.8 * (t - y) if t > y else 0.2 * (y - t)


def gaussian_nll(y, t):
    (mean, s), excess = y, 0.0
    for d, s_k in zip(t - mean, s, strict=True):
        excess += d**2 * np.exp(-s_k) if d else 0.0
    return (s.sum() + excess + len(s) * np.log(2 * np.pi)) / 2


def gaussian_nll_slope(y, t):
    d, precision = y[0] - t, np.exp(-y[1])
    wide = d != 0
    slope = np.where(wide, d * precision, 0), np.where(wide, d**2 * precision, 0)
    return np.stack([slope[0], (1 - slope[1]) / 2])


def multiclass_hinge(z, t):
    wrong = [z[k] for k in range(len(z)) if k != t]
    return max(0.0, 1 + max(wrong) - z[t])


def multiclass_hinge_slope(z, t):
    margins = z - z[t] + 1
    margins[t] = 0
    if (margins == margins.max()).sum() > 1:
        return np.full(3, np.nan)
    return one_hot(margins.argmax()) - one_hot(t)


def hinge_slope(y, t):
    return np.where(t * y == 1, np.nan, np.where(t * y < 1, -t, 0))


def cosine(y, t):
    """Return the cosine between the two, and 0 if one of them is 0."""
    length = np.linalg.norm(y) * np.linalg.norm(t)
    return y @ t / length if length else 0.0


def cosine_slope(y, t):
    length, other = np.linalg.norm(y), np.linalg.norm(t)
    if length == 0:
        return np.full(3, np.nan)
    return (cosine(y, t) * y / length - (t / other if other else 0 * t)) / length


def flat(y, t):
    return 0 * y


LOSSES = {
    "squared_error": LossRow(
        losses.squared_error,
        LOGITS,
        DISTRIBUTIONS,
        lambda y, t: ((y - t) ** 2).sum(),
        lambda y, t: 2 * (y - t),
        REAL,
    ),
    "squared_error, (1,) and ()": LossRow(
        losses.squared_error,
        LOGITS[:, :1],
        LOGITS[:, 1],
        lambda y, t: (y[0] - t) ** 2,
        lambda y, t: 2 * (y - t),
        REAL[:, 0],
    ),
    "half_squared_error": LossRow(
        losses.half_squared_error,
        LOGITS,
        COUNTS,
        lambda y, t: ((y - t) ** 2).sum() / 2,
        lambda y, t: y - t,
        REAL,
    ),
    "mean_squared_error": LossRow(
        losses.mean_squared_error,
        LOGITS,
        COUNTS,
        lambda y, t: ((y - t) ** 2).mean(),
        lambda y, t: 2 * (y - t) / 3,
        REAL,
    ),
    "absolute_error": LossRow(
        losses.absolute_error,
        LOGITS,
        COUNTS,
        lambda y, t: abs(y - t).sum(),
        smooth_except([0], np.sign),
        REAL,
    ),
    "mean_absolute_error": LossRow(
        losses.mean_absolute_error,
        LOGITS,
        COUNTS,
        lambda y, t: abs(y - t).mean(),
        smooth_except([0], lambda d: np.sign(d) / 3),
        REAL,
    ),
    "huber": LossRow(
        functools.partial(losses.huber, delta=1.5),
        LOGITS,
        COUNTS,
        huber,
        lambda y, t: np.clip(y - t, -1.5, 1.5),
        REAL,
    ),
    "log_cosh": LossRow(
        losses.log_cosh,
        LOGITS,
        DISTRIBUTIONS,
        log_cosh,
        lambda y, t: np.tanh(y - t),
        REAL,
    ),
    "quantile": LossRow(
        functools.partial(losses.quantile, level=0.8),
        LOGITS,
        COUNTS,
        quantile,
        smooth_except([0], lambda d: np.where(d < 0, -0.8, 0.2)),
        REAL,
    ),
    "gaussian_nll": LossRow(
        losses.gaussian_nll, PAIRS, LOGITS, gaussian_nll, gaussian_nll_slope, REAL
    ),
    "poisson_nll": LossRow(
        losses.poisson_nll,
        LOGITS,
        COUNTS,
        lambda z, t: (np.exp(z) - t * z + special.gammaln(t + 1)).sum(),
        lambda z, t: np.exp(z) - t,
        NATURAL,
    ),
    "cosine_distance": LossRow(
        losses.cosine_distance,
        LOGITS,
        DISTRIBUTIONS,
        lambda y, t: 1 - cosine(y, t),
        cosine_slope,
        REAL,
    ),
    "misclassification": LossRow(
        losses.misclassification,
        LOGITS,
        CLASSES,
        lambda z, t: float(z.argmax() != t),
        flat,
        FIRST_AND_LAST,
    ),
    "misclassification, distributions": LossRow(
        losses.misclassification,
        LOGITS,
        DISTRIBUTIONS,
        lambda z, t: float(z.argmax() != t.argmax()),
        flat,
        CERTAIN,
    ),
    "hinge": LossRow(
        losses.hinge,
        LOGITS,
        SIGNS,
        elementwise(lambda y, t: max(0, 1 - t * y)),
        hinge_slope,
        SIGNED,
    ),
    "multiclass_hinge": LossRow(
        losses.multiclass_hinge,
        LOGITS,
        CLASSES,
        multiclass_hinge,
        multiclass_hinge_slope,
        FIRST_AND_LAST,
    ),
    "logistic": LossRow(
        losses.logistic,
        LOGITS,
        SIGNS,
        elementwise(lambda z, t: softplus(-t * z)),
        each(lambda z, t: -t * special.expit(-t * z)),
        SIGNED,
    ),
    "binary_cross_entropy": LossRow(
        losses.binary_cross_entropy,
        LOGITS,
        DISTRIBUTIONS,
        elementwise(binary_cross_entropy),
        each(binary_cross_entropy_slope),
        BINARY,
    ),
    "binary_cross_entropy, integers": LossRow(
        losses.binary_cross_entropy,
        LOGITS[:, :1],
        CLASSES % 2,
        elementwise(binary_cross_entropy),
        each(binary_cross_entropy_slope),
        BINARY[:, 0].astype(np.int32),
    ),
    "binary_focal": LossRow(
        losses.binary_focal,
        LOGITS,
        DISTRIBUTIONS,
        binary_focal(2, (1, 1)),
        binary_focal_slope(2, (1, 1)),
        BINARY,
    ),
    "binary_focal, weighted": LossRow(
        functools.partial(losses.binary_focal, gamma=0.5, alpha=0.25),
        LOGITS,
        DISTRIBUTIONS,
        binary_focal(0.5, (0.25, 0.75)),
        binary_focal_slope(0.5, (0.25, 0.75)),
        BINARY,
    ),
    "softmax_cross_entropy, classes": LossRow(
        losses.softmax_cross_entropy,
        LOGITS,
        CLASSES,
        cross_entropy,
        cross_entropy_slope,
        FIRST_AND_LAST,
    ),
    "softmax_cross_entropy, distributions": LossRow(
        losses.softmax_cross_entropy,
        LOGITS,
        DISTRIBUTIONS,
        cross_entropy,
        cross_entropy_slope,
        CERTAIN,
    ),
    "softmax_cross_entropy, smoothed": LossRow(
        functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1),
        LOGITS,
        CLASSES,
        functools.partial(cross_entropy, smoothing=0.1),
        functools.partial(cross_entropy_slope, smoothing=0.1),
        FIRST_AND_LAST,
    ),
    "softmax_cross_entropy, weighted classes": LossRow(
        functools.partial(losses.softmax_cross_entropy, class_weights=WEIGHTS),
        LOGITS,
        CLASSES,
        functools.partial(cross_entropy, weights=WEIGHTS),
        functools.partial(cross_entropy_slope, weights=WEIGHTS),
        FIRST_AND_LAST,
    ),
    "softmax_cross_entropy, smoothed and weighted distributions": LossRow(
        functools.partial(
            losses.softmax_cross_entropy, label_smoothing=0.3, class_weights=WEIGHTS
        ),
        LOGITS,
        DISTRIBUTIONS,
        functools.partial(cross_entropy, smoothing=0.3, weights=WEIGHTS),
        functools.partial(cross_entropy_slope, smoothing=0.3, weights=WEIGHTS),
        CERTAIN,
    ),
    "nll, classes": LossRow(
        losses.nll,
        LOGITS,
        CLASSES,
        lambda z, t: -z[t],
        lambda z, t: -one_hot(t),
        FIRST_AND_LAST,
    ),
    "nll, distributions": LossRow(
        losses.nll,
        LOGITS,
        DISTRIBUTIONS,
        lambda z, t: -(t * z).sum(),
        lambda z, t: -t,
        CERTAIN,
    ),
    "kl_divergence": LossRow(
        losses.kl_divergence,
        LOGITS,
        DISTRIBUTIONS,
        lambda z, t: (special.xlogy(t, t) - t * log_softmax(z)).sum(),
        cross_entropy_slope,
        CERTAIN,
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
