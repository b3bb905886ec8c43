"""Parts, folds and batches of a data set."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.data.shuffling import permutation
from fnn.data.stratification import stratified
from fnn.types import Key, NDArray, PyTree


def split(
    data: PyTree,
    sizes: tuple[float, ...] | tuple[int, ...],
    *,
    key: Key,
    stratify: ArrayLike | None = None,
) -> tuple[PyTree, ...]:
    """Divide examples at random into parts, such as train, validation and test.

    Args:
        data: An array or a pytree of arrays with one leading axis over the examples.
        sizes: Fractions that sum to 1, or counts that sum to the number of examples.
        key: A typed key.
        stratify: Labels, (examples,); every class is then divided in these proportions,
            rounded up or down; the sizes of the parts stay exact.

    Returns:
        One tree like `data` for each size, with NumPy arrays, in random order.

    Raises:
        TypeError: If a leaf is not an array, or the sizes are not a tuple of numbers.
        ValueError: If the sizes don't add up, a part is empty, or lengths differ.

    Example:
        >>> x, y = jax.numpy.arange(10), jax.numpy.arange(10) % 2
        >>> key = jax.random.key(0)
        >>> train, test = fnn.data.split((x, y), (0.6, 0.4), key=key, stratify=y)
        >>> len(train[0]), int(train[1].sum())
        (6, 3)
    """
    arrays = _arrays(data)
    counts = _counts(sizes, _examples(arrays))
    parts = _random_parts(counts, key, stratify)
    return tuple(_take(arrays, rows) for rows in parts)


def k_fold(
    data: PyTree, k: int, *, key: Key, stratify: ArrayLike | None = None
) -> Iterator[tuple[PyTree, PyTree]]:
    """Yield k pairs of training and validation data, for cross-validation.

    The examples are divided at random into k folds, whose sizes differ by at most one.
    Each fold is the validation data once, and the others are then the training data.

    Source: Stone 1974, "Cross-validatory choice and assessment of statistical
    predictions".

    Args:
        data: An array or a pytree of arrays with one leading axis over the examples.
        k: The number of folds, from 2 to the number of examples.
        key: A typed key.
        stratify: Labels, (examples,); every fold then has a k-th of every class, rounded
            up or down.

    Returns:
        An iterator over pairs `(train, validation)` of trees like `data`, with NumPy
        arrays.

    Raises:
        ValueError: If k is out of range, or lengths differ.

    Example:
        >>> x = jax.numpy.arange(5)
        >>> folds = fnn.data.k_fold(x, 2, key=jax.random.key(0))
        >>> [(len(train), len(validation)) for train, validation in folds]
        [(3, 2), (2, 3)]
    """
    arrays = _arrays(data)
    examples = _examples(arrays)
    k = checks.positive_integer("k", k)
    if not 2 <= k <= examples:
        raise ValueError(f"k must be from 2 to the number of examples, {examples}, got {k}")
    bounds = np.arange(k + 1) * examples // k
    folds = _random_parts(np.diff(bounds), key, stratify)
    return (
        (_take(arrays, np.concatenate(folds[:i] + folds[i + 1 :])), _take(arrays, folds[i]))
        for i in range(k)
    )


def batches(data: PyTree, batch_size: int, *, key: Key | None = None) -> Iterator[PyTree]:
    """Yield mini-batches; the last is smaller if `batch_size` does not divide the data.

    Args:
        data: An array or a pytree of arrays with one leading axis over the examples.
        batch_size: Number of examples in a batch.
        key: A typed key to shuffle with; by default the order of the data is kept.

    Yields:
        Trees like `data`, with NumPy arrays.

    Raises:
        ValueError: If `batch_size` is not a positive integer, or lengths differ.

    Example:
        >>> [batch.tolist() for batch in fnn.data.batches(jax.numpy.arange(5), 2)]
        [[0, 1], [2, 3], [4]]
    """
    batch_size = checks.positive_integer("batch_size", batch_size)
    arrays = _arrays(data)
    examples = _examples(arrays)
    order = np.arange(examples)
    if key is not None:
        order = np.asarray(permutation(key, examples))
    for first in range(0, examples, batch_size):
        yield _take(arrays, order[first : first + batch_size])


def _arrays(data: PyTree) -> PyTree:
    checks.arrays(data, "data", numbers=False)
    return jax.tree.map(np.asarray, data)


def _take(arrays: PyTree, rows: NDArray) -> PyTree:
    return jax.tree.map(lambda array: array[rows], arrays)


def _examples(arrays: PyTree) -> int:
    examples = checks.leading_length(arrays, "data")
    if examples == 0:
        raise ValueError(f"data is empty: {checks.describe(arrays)}")
    return examples


def _counts(sizes: Any, examples: int) -> NDArray:
    if not isinstance(sizes, tuple | list) or not all(
        isinstance(n, int | float | np.number) for n in sizes
    ):
        raise TypeError(
            f"sizes must be a tuple of fractions or of counts, such as (0.8, 0.2), got "
            f"{checks.describe(sizes)}"
        )
    if all(isinstance(size, int | np.integer) for size in sizes):
        counts = np.array(sizes)
        if counts.sum() != examples:
            raise ValueError(
                f"sizes must sum to the number of examples, {examples}, got {sizes}"
            )
    else:
        if not abs(sum(sizes) - 1) <= 1e-6:
            raise ValueError(f"sizes must sum to 1, got {sizes}")
        bounds = np.round(np.cumsum(sizes) * examples).astype(int)
        bounds[-1] = examples  # the sizes may miss 1 by rounding
        counts = np.diff(bounds, prepend=0)
    if (counts < 1).any():
        raise ValueError(
            f"sizes {sizes} of {examples} examples leave a part empty: {counts.tolist()}"
        )
    return counts


def _random_parts(counts: NDArray, key: Key, stratify: ArrayLike | None) -> list[NDArray]:
    """Return the rows of each part, in random order."""
    order = np.asarray(permutation(key, int(counts.sum())))
    if stratify is None:
        return np.split(order, np.cumsum(counts)[:-1])
    labels = np.asarray(stratify)
    if labels.shape != order.shape:
        raise ValueError(
            f"stratify must have a label for each of {len(order)} examples, "
            f"got {labels.shape}"
        )
    return [order[part] for part in stratified(labels[order], counts)]
