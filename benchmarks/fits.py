"""Straight lines through what was measured."""

import math
from collections.abc import Sequence
from statistics import linear_regression


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return how much y grows with x, by least squares."""
    return linear_regression(x, y).slope


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Return k of y = c xᵏ, by least squares of the logarithms."""
    return slope([math.log(value) for value in x], [math.log(value) for value in y])
