"""Parts and batches of a data set."""

from collections.abc import Iterator

import jax
import numpy as np
from numpy.typing import ArrayLike

from fnn import checks
from fnn.data.shuffling import permutation
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
            up to rounding, and the sizes of the parts hold exactly.

    Returns:
        One tree like `data` for each size, with NumPy arrays, in random order.

    Raises:
        ValueError: If the sizes don't add up, a part is empty, or lengths differ.

    Example:
        >>> x, y = jax.numpy.arange(10), jax.numpy.arange(10) % 2
        >>> key = jax.random.key(0)
        >>> train, test = fnn.data.split((x, y), (0.6, 0.4), key=key, stratify=y)
        >>> len(train[0]), int(train[1].sum())
        (6, 3)
    """
    arrays = jax.tree.map(np.asarray, data)
    examples = _examples(arrays)
    counts = _counts(sizes, examples)
    order = np.asarray(permutation(key, examples))
    if stratify is not None:
        order = _stratified(order, np.asarray(stratify), counts)
    bounds = np.cumsum(counts)[:-1]
    return tuple(
        jax.tree.map(lambda array, rows=rows: array[rows], arrays)
        for rows in np.split(order, bounds)
    )


def batches(data: PyTree, batch_size: int, *, key: Key | None = None) -> Iterator[PyTree]:
    """Yield mini-batches, the last one being smaller where the size does not divide.

    Args:
        data: An array or a pytree of arrays with one leading axis over the examples.
        batch_size: The number of examples of a batch.
        key: A typed key, to shuffle by; without it the order is that of the data.

    Yields:
        Trees like `data`, with NumPy arrays.

    Raises:
        ValueError: If `batch_size` is no positive integer, or lengths differ.

    Example:
        >>> [batch.tolist() for batch in fnn.data.batches(jax.numpy.arange(5), 2)]
        [[0, 1], [2, 3], [4]]
    """
    batch_size = checks.positive_integer("batch_size", batch_size)
    arrays = jax.tree.map(np.asarray, data)
    examples = _examples(arrays)
    order = np.arange(examples)
    if key is not None:
        order = np.asarray(permutation(key, examples))
    for first in range(0, examples, batch_size):
        rows = order[first : first + batch_size]
        yield jax.tree.map(lambda array, rows=rows: array[rows], arrays)


def _examples(arrays: PyTree) -> int:
    examples = checks.leading_length(arrays, "data")
    if examples == 0:
        raise ValueError(f"data is empty: {checks.describe(arrays)}")
    return examples


def _counts(sizes: tuple[float, ...], examples: int) -> NDArray:
    if all(isinstance(size, int | np.integer) for size in sizes):
        counts = np.array(sizes)
        if counts.sum() != examples:
            raise ValueError(
                f"sizes must sum to the number of examples, {examples}, got {sizes}"
            )
    else:
        if abs(sum(sizes) - 1) > 1e-6:
            raise ValueError(f"sizes must sum to 1, got {sizes}")
        bounds = np.round(np.cumsum(sizes) * examples).astype(int)
        counts = np.diff(bounds, prepend=0)
    if (counts < 1).any():
        raise ValueError(
            f"sizes {sizes} of {examples} examples leave a part empty: {counts.tolist()}"
        )
    return counts


def _stratified(order: NDArray, labels: NDArray, counts: NDArray) -> NDArray:
    """Return an order whose parts of these sizes have every class in proportion.

    Each example gets the share of its class that comes before it in `order`; sorted by
    that share, every stretch has every class in proportion.
    """
    if labels.shape != order.shape:
        raise ValueError(
            f"stratify must have a label for each of {len(order)} examples, "
            f"got {labels.shape}"
        )
    share = np.empty(len(order))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    sorted_by_share = np.argsort(share, kind="stable")
    parts = np.split(sorted_by_share, np.cumsum(counts)[:-1])
    return order[np.concatenate([np.sort(part) for part in parts])]
