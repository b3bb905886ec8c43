"""Spaces: distributions by name, and the settings drawn from them."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

from fnn import checks
from fnn.types import Key, NDArray
from fnn.values import Value, show

# Folded into a key to draw the settings, so that they don't depend on the seeds' keys.
DRAW = 2**32 - 1


class Distribution(Value):
    """Base of the distributions of a space.

    Example:
        >>> fnn.search.Uniform(0.0, 2.0).quantile(0.5)
        1.0
    """

    def quantile(self, u: float) -> Any:
        """Return the value with a share u of the distribution below it, 0 <= u <= 1."""
        raise TypeError(f"{type(self).__name__} does not define quantile")

    def values(self, points: int) -> tuple[Any, ...]:
        """Return values for a grid: quantiles at equal steps, both ends included."""
        return tuple(self.quantile(i / max(1, points - 1)) for i in range(points))

    @property
    def count(self) -> int | None:
        """Number of values to choose from, all of which a grid has; None for a range."""
        return None

    @property
    def numeric(self) -> bool:
        """Whether all values are floating-point numbers, which can be traced."""
        return True


class _Range(Distribution):
    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low must be below high, got {self.low!r} and {self.high!r}")

    def _bounded(self, value: float, u: float) -> float:
        """Return the value, which by rounding may miss an end, or lie beyond it."""
        return float(self.high if u == 1 else max(self.low, min(value, self.high)))


class Uniform(_Range):
    """Draw numbers from low to high, all of them equally likely.

    Args:
        low: The smallest value.
        high: The largest value.

    Raises:
        ValueError: Unless low < high.

    Example:
        >>> fnn.search.Uniform(0.0, 0.5).values(3)
        (0.0, 0.25, 0.5)
    """

    def quantile(self, u: float) -> float:
        width = float(self.high) - float(self.low)
        if width == math.inf:
            return self._bounded((1 - u) * self.low + u * self.high, u)
        return self._bounded(self.low + u * width, u)


class LogUniform(_Range):
    """Draw positive numbers with a uniform logarithm, such as learning rates.

    Source: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".

    Args:
        low: The smallest value, above 0.
        high: The largest value.

    Raises:
        ValueError: Unless 0 < low < high.

    Example:
        >>> [f"{rate:.3f}" for rate in fnn.search.LogUniform(1e-3, 1e-1).values(3)]
        ['0.001', '0.010', '0.100']
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"low must be above 0 for a logarithm, got {self.low!r}")

    def quantile(self, u: float) -> float:
        ratio = float(self.high) / float(self.low)
        if ratio == math.inf:
            return self._bounded(float(self.low) ** (1 - u) * float(self.high) ** u, u)
        return self._bounded(self.low * ratio**u, u)


class Integers(Distribution):
    """Draw whole numbers from low to high, both included.

    Trials with different numbers never train together, since a number may be a size.

    Args:
        low: The smallest value.
        high: The largest value.

    Raises:
        ValueError: Unless both are integers, and low <= high.

    Example:
        >>> fnn.search.Integers(1, 9).values(3)
        (1, 5, 9)
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        whole = all(isinstance(bound, int | np.integer) for bound in (self.low, self.high))
        if not whole or self.low > self.high:
            raise ValueError(
                f"low and high must be integers, low not above high, "
                f"got {self.low!r} and {self.high!r}"
            )

    def quantile(self, u: float) -> int:
        return int(min(self.low + int(u * self.count), self.high))

    @property
    def count(self) -> int:
        return int(self.high - self.low + 1)

    @property
    def numeric(self) -> bool:
        return False


class Choice(Distribution):
    """Draw one of some options of any kind: sizes, activations, whole layers.

    Args:
        options: A tuple of options.

    Raises:
        ValueError: If it is empty.

    Example:
        >>> fnn.search.Choice((16, 64, 256)).quantile(0.5)
        64
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        given: Any = self.options
        if not isinstance(given, tuple | list) or not given:
            raise ValueError(f"options must be a non-empty tuple, got {given!r}")
        self._set(options=tuple(given))

    def quantile(self, u: float) -> Any:
        return self.options[min(int(u * self.count), self.count - 1)]

    @property
    def count(self) -> int:
        return len(self.options)

    @property
    def numeric(self) -> bool:
        return all(isinstance(option, float) for option in self.options)


Space: TypeAlias = Mapping[str, Distribution]
Setting: TypeAlias = dict[str, Any]
"""A value for each name of a space."""


def check_space(space: Space) -> None:
    """Raise unless each name has a distribution."""
    given: Any = space
    if not isinstance(given, Mapping) or not given:
        raise TypeError(f"space must map names to distributions, got {given!r}")
    for name, distribution in given.items():
        if not isinstance(distribution, Distribution):
            raise TypeError(
                f"space[{name!r}] must be a distribution, such as "
                f"fnn.search.LogUniform(1e-4, 1e-1), got {show(distribution)}"
            )


def grid_settings(space: Space, points: int) -> list[Setting]:
    """Return every combination of values."""
    check_space(space)
    points = checks.positive_integer("points", points)
    columns = [kind.values(kind.count or points) for kind in space.values()]
    return [dict(zip(space, row, strict=True)) for row in itertools.product(*columns)]


def random_settings(space: Space, trials: int, key: Key) -> list[Setting]:
    """Return independent draws."""
    check_space(space)
    trials = checks.positive_integer("trials", trials)
    return _at(space, np.asarray(jax.random.uniform(key, (trials, len(space)))))


def quasi_random_settings(space: Space, trials: int, key: Key) -> list[Setting]:
    """Return the first points of Halton's sequence, shifted by one random vector."""
    from scipy.stats import qmc  # SciPy is installed, as JAX needs it

    check_space(space)
    trials = checks.positive_integer("trials", trials)
    points = qmc.Halton(len(space), scramble=False).random(trials)
    return _at(space, (points + np.asarray(jax.random.uniform(key, (len(space),)))) % 1)


def draw_key(key: Key) -> Key:
    """Return the key of the settings, different from the key of every seed."""
    return jax.random.fold_in(checks.typed_key(key, "a search"), DRAW)


def _at(space: Space, points: NDArray) -> list[Setting]:
    """Return the settings at points of the unit cube, (trials, names)."""
    return [dict(_quantiles(space, row)) for row in points.astype(float)]


def _quantiles(space: Space, row: Iterable[float]) -> Iterable[tuple[str, Any]]:
    for (name, distribution), u in zip(space.items(), row, strict=True):
        yield name, distribution.quantile(float(u))
