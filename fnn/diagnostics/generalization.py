"""Bias and variance, from training and validation error."""

from typing import Any, NamedTuple

from fnn import checks
from fnn.tables import rich_table, text_table

HEADER = ("part", "verdict", "error")
REMEDIES = {
    "bias": (
        "a larger network: more layers, more units",
        "longer training, another optimizer, another learning rate",
        "another architecture, better features",
        "less regularization",
    ),
    "variance": (
        "more data, data augmentation",
        "regularization: L2, dropout, early stopping",
        "a smaller network",
        "another architecture",
    ),
}


class BiasVariance(NamedTuple):
    """The result of `bias_variance`; prints as a table, with remedies below.

    Attributes:
        bias: Training error minus target error: the network's failure to fit.
        variance: Validation error minus training error: its failure to generalize.
        high_bias: Whether the bias is above the margin.
        high_variance: Whether the variance is.
    """

    bias: float
    variance: float
    high_bias: bool
    high_variance: bool

    @property
    def verdict(self) -> str:
        """Return both in words, such as `"high bias, low variance"`."""
        return f"{_word(self.high_bias)} bias, {_word(self.high_variance)} variance"

    @property
    def remedies(self) -> tuple[str, ...]:
        """Return the remedies, those against bias first."""
        bias = REMEDIES["bias"] if self.high_bias else ()
        return bias + (REMEDIES["variance"] if self.high_variance else ())

    def __str__(self) -> str:
        return f"{text_table(HEADER, self._rows(), numbers=1)}\n\n{self._conclusion()}"

    def __rich__(self) -> Any:
        marked = self.high_bias, self.high_variance
        caption = self._conclusion()
        return rich_table(HEADER, self._rows(), numbers=1, marked=marked, caption=caption)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            ("bias", _word(self.high_bias), f"{self.bias:.1%}"),
            ("variance", _word(self.high_variance), f"{self.variance:.1%}"),
        ]

    def _conclusion(self) -> str:
        ending = "; try" if self.remedies else ""
        remedies = [f"  - {remedy}" for remedy in self.remedies]
        return "\n".join([f"{self.verdict}{ending}", *remedies])


def bias_variance(
    train_error: float,
    validation_error: float,
    *,
    target_error: float = 0.0,
    margin: float = 0.05,
) -> BiasVariance:
    """Say whether a classifier underfits, overfits, both or neither.

    The bias is train_error - target_error, the variance validation_error - train_error;
    each is high if it is above the margin.

    Source: Ng 2018, "Machine learning yearning", chapters 20 to 27.

    Args:
        train_error: Share of misclassified training examples, 0 to 1.
        validation_error: Share of misclassified held-out examples.
        target_error: The lowest attainable error, such as a human's or the best known
            classifier's.
        margin: The difference above which bias or variance is high.

    Returns:
        The verdict and remedies. Print it.

    Raises:
        ValueError: If an argument is not from 0 to 1.

    Example:
        >>> fnn.diagnostics.bias_variance(0.01, 0.11).verdict
        'low bias, high variance'
        >>> print(fnn.diagnostics.bias_variance(0.15, 0.16))
        part      verdict  error
        --------  -------  -----
        bias      high     15.0%
        variance  low       1.0%
        <BLANKLINE>
        high bias, low variance; try
          - a larger network: more layers, more units
          - longer training, another optimizer, another learning rate
          - another architecture, better features
          - less regularization
    """
    given = {
        "train_error": train_error,
        "validation_error": validation_error,
        "target_error": target_error,
        "margin": margin,
    }
    for name, value in given.items():
        checks.between(f"{name}, a share and not a percentage,", float(value), 0, 1)
    bias = float(train_error) - float(target_error)
    variance = float(validation_error) - float(train_error)
    return BiasVariance(bias, variance, bias > margin, variance > margin)


def _word(high: bool) -> str:
    return "high" if high else "low"
