"""Toy problems in the plane, drawn from a key, as NumPy arrays.

The classes alternate: example i belongs to class i mod classes.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.datasets import Examples
from fnn.types import Key, NDArray

GATES = {"and": (0, 0, 0, 1), "or": (0, 1, 1, 1), "xor": (0, 1, 1, 0)}


def logic_gate(name: Literal["and", "or", "xor"]) -> Examples:
    """Return the truth table of a gate with two inputs.

    Args:
        name: `"and"`, `"or"` or `"xor"`.

    Returns:
        The inputs (0, 0), (0, 1), (1, 0), (1, 1), (4, 2), float32; and the outputs, 0 or
        1, (4,), int32.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> x, y = fnn.data.logic_gate("xor")
        >>> y
        array([0, 1, 1, 0], dtype=int32)
    """
    checks.one_of("name", name, tuple(GATES))
    inputs = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.float32)
    return inputs, np.array(GATES[name], np.int32)


def circles(
    examples: int, *, key: Key, noise: float = 0.05, ratio: float = 0.5
) -> Examples:
    """Draw points from two circles around the origin: x = r (cos φ, sin φ) + ε.

    Class 0 has r = 1, class 1 has r = `ratio`.

    Args:
        examples: Number of points.
        key: A typed key.
        noise: Standard deviation of ε in either coordinate.
        ratio: The radius of the inner circle, from 0 to 1.

    Returns:
        Points, (examples, 2), float32; and classes, (examples,), int32.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> x, y = fnn.data.circles(100, key=jax.random.key(0), noise=0.0)
        >>> print(abs(x[y == 1]).max() <= 0.5, abs(x[y == 0]).max() <= 1)
        True True
    """
    checks.between("ratio", ratio, 0, 1)
    uniform, normal, label = _draw(examples, 2, noise, key)
    radius, angle = np.where(label == 0, 1, ratio), 2 * np.pi * uniform
    return _points(radius * np.cos(angle), radius * np.sin(angle), normal), label


def moons(examples: int, *, key: Key, noise: float = 0.1) -> Examples:
    """Draw points from two half circles that reach into each other.

    Class 0 is (cos φ, sin φ) + ε, class 1 is (1 - cos φ, 1/2 - sin φ) + ε, with φ from 0
    to π.

    Args:
        examples: Number of points.
        key: A typed key.
        noise: Standard deviation of ε in either coordinate.

    Returns:
        Points, (examples, 2), float32; and classes, (examples,), int32.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> x, y = fnn.data.moons(100, key=jax.random.key(0), noise=0.0)
        >>> print(x[y == 0, 1].min() >= 0, x[y == 1, 1].max() <= 0.5)
        True True
    """
    uniform, normal, label = _draw(examples, 2, noise, key)
    cos, sin = np.cos(np.pi * uniform), np.sin(np.pi * uniform)
    first, second = np.where(label == 0, (cos, sin), (1 - cos, 0.5 - sin))
    return _points(first, second, normal), label


def spirals(
    examples: int,
    *,
    key: Key,
    classes: int = 3,
    noise: float = 0.02,
    turns: float = 0.75,
) -> Examples:
    """Draw points from the arms of a spiral: x = r (cos φ, sin φ) + ε.

    On the arm of class c, φ = 2π (c / classes + turns r), with r from 0 to 1.

    Args:
        examples: Number of points.
        key: A typed key.
        classes: The number of arms.
        noise: Standard deviation of ε in either coordinate.
        turns: Number of turns of an arm around the origin.

    Returns:
        Points, (examples, 2), float32; and classes, (examples,), int32.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> x, y = fnn.data.spirals(300, key=jax.random.key(0))
        >>> x.shape, sorted(set(y.tolist()))
        ((300, 2), [0, 1, 2])
    """
    checks.between("turns", turns, 0, np.inf)
    radius, normal, label = _draw(examples, classes, noise, key)
    angle = 2 * np.pi * (label / classes + turns * radius)
    return _points(radius * np.cos(angle), radius * np.sin(angle), normal), label


def blobs(examples: int, *, key: Key, classes: int = 3, noise: float = 0.25) -> Examples:
    """Draw points from round clouds: x = (cos φ, sin φ) + ε.

    The centres are evenly spaced on the unit circle: class c has φ = 2π c / classes.

    Args:
        examples: Number of points.
        key: A typed key.
        classes: The number of clouds.
        noise: Standard deviation of ε in either coordinate.

    Returns:
        Points, (examples, 2), float32; and classes, (examples,), int32.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> x, y = fnn.data.blobs(4, key=jax.random.key(0), classes=2, noise=0.0)
        >>> x.round().tolist()
        [[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]
    """
    _, normal, label = _draw(examples, classes, noise, key)
    angle = 2 * np.pi * label / classes
    return _points(np.cos(angle), np.sin(angle), normal), label


def noisy_sine(examples: int, *, key: Key, noise: float = 0.1) -> Examples:
    """Draw a regression problem: y = sin(2π x) + ε, with x uniform from 0 to 1.

    Source: Bishop 2006, "Pattern recognition and machine learning", section 1.1.

    Args:
        examples: Number of points.
        key: A typed key.
        noise: Standard deviation of ε.

    Returns:
        x, (examples, 1), and y, (examples,), both float32.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> x, y = fnn.data.noisy_sine(50, key=jax.random.key(0))
        >>> x.shape, y.shape
        ((50, 1), (50,))
    """
    x, normal, _ = _draw(examples, 1, noise, key)
    y = np.sin(2 * np.pi * x) + normal[:, 0]
    return x[:, None].astype(np.float32), y.astype(np.float32)


def _draw(
    examples: int, classes: int, noise: float, key: Key
) -> tuple[NDArray, NDArray, NDArray]:
    """Return uniform numbers, (n,), noise, (n, 2), and classes, (n,)."""
    examples = checks.positive_integer("examples", examples)
    classes = checks.positive_integer("classes", classes)
    checks.between("noise", noise, 0, np.inf)
    uniform_key, normal_key = jax.random.split(checks.typed_key(key, "a toy set"))
    uniform = np.asarray(jax.random.uniform(uniform_key, (examples,), jnp.float32))
    normal = np.asarray(jax.random.normal(normal_key, (examples, 2), jnp.float32))
    label = np.arange(examples, dtype=np.int32) % np.int32(classes)
    return uniform.astype(np.float64), noise * normal.astype(np.float64), label


def _points(first: NDArray, second: NDArray, noise: NDArray) -> NDArray:
    return (np.stack([first, second], axis=1) + noise).astype(np.float32)
