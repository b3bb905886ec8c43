"""Splits, folds and batches: complete, disjoint, in proportion."""

import chex
import jax
import numpy as np
import pytest
from contracts import key
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.data import batches, k_fold, split
from fnn.data.stratification import stratified

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)
many_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=9)


def labels_of(class_sizes):
    return np.repeat(np.arange(len(class_sizes)), class_sizes)


def assert_in_proportion(part, labels):
    """Every class has its share of the part, rounded up or down."""
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        share = size * len(part) / len(labels)
        assert np.floor(share) <= np.sum(part == label) <= np.ceil(share)


def assert_partition(parts, n):
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


@settings(max_examples=20)
@given(counts=sizes, seed=st.integers(0, 99))
def test_split_by_counts_is_exact_complete_and_disjoint(counts, seed):
    n = sum(counts)
    parts = split(np.arange(n), tuple(counts), key=key(seed))
    assert [len(part) for part in parts] == counts
    assert_partition(parts, n)


@given(counts=many_sizes, class_sizes=many_sizes, seed=st.integers(0, 99))
def test_stratified_parts_have_every_class_in_proportion(counts, class_sizes, seed):
    n = min(sum(counts), sum(class_sizes))
    labels = np.random.default_rng(seed).permutation(labels_of(class_sizes))[:n]
    counts = np.diff(np.minimum(np.cumsum(counts), n), prepend=0)
    parts = stratified(labels, counts)
    assert [len(rows) for rows in parts] == counts.tolist()
    assert_partition(parts, n)
    for rows in parts:
        assert_in_proportion(labels[rows], labels)


@settings(max_examples=20)
@given(class_sizes=sizes, seed=st.integers(0, 99))
def test_stratified_split_has_every_class_in_proportion(class_sizes, seed):
    labels = np.random.default_rng(seed).permutation(labels_of([*class_sizes, 4]))
    data, n = {"row": np.arange(len(labels)), "label": labels}, len(labels)
    parts = split(data, (2, n - 3, 1), key=key(seed), stratify=labels)
    assert [len(part["row"]) for part in parts] == [2, n - 3, 1]
    assert_partition([part["row"] for part in parts], n)
    for part in parts:
        np.testing.assert_array_equal(labels[part["row"]], part["label"])
        assert_in_proportion(part["label"], labels)


def test_many_rare_classes_are_divided_too():
    labels = np.concatenate([np.zeros(1000, int), np.repeat(np.arange(1, 11), 2)])
    train, test = split(labels, (0.8, 0.2), key=key(), stratify=labels)
    assert_in_proportion(train, labels)
    assert_in_proportion(test, labels)
    assert np.sum(test > 0) == 4


@pytest.mark.parametrize(
    ("fractions", "n", "counts"),
    [
        ((0.6, 0.2, 0.2), 100, [60, 20, 20]),
        ((0.98, 0.01, 0.01), 10_000, [9800, 100, 100]),
        ((0.7, 0.15, 0.15), 1797, [1258, 269, 270]),
        ((1 / 3, 1 / 3, 1 / 3), 10, [3, 4, 3]),
        ((1.0,), 5, [5]),
        ((0.1, 0.9), 10, [1, 9]),
        ((0.1,) * 10, 10, [1] * 10),  # the floats sum to 1 - 1e-16
        ((0.29, 0.71), 100, [29, 71]),  # 0.29 · 100 is below 29
        ((0.57, 0.43), 100, [57, 43]),
        ((0.7, 0.2, 0.1), 1000, [700, 200, 100]),  # 0.7 + 0.2 is below 0.9
        ((1 / 3, 2 / 3), 30_000, [10_000, 20_000]),
        ((1 - 1e-4, 1e-4), 10_000, [9999, 1]),
        ((1 / 7,) * 7, 70, [10] * 7),
        ((0.5, 0.4999995), 10, [5, 5]),  # within what rounding is allowed
    ],
)
def test_split_by_fractions(fractions, n, counts):
    parts = split(np.arange(n), fractions, key=key())
    assert [len(part) for part in parts] == counts
    assert_partition(parts, n)


def test_split_follows_the_key_and_shuffles():
    data = np.arange(100)
    first, _ = split(data, (50, 50), key=key(1))
    again, _ = split(data, (50, 50), key=key(1))
    other, _ = split(data, (50, 50), key=key(2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert list(first) != sorted(first)
    stratified, _ = split(data, (50, 50), key=key(1), stratify=data % 2)
    assert list(stratified) != sorted(stratified)
    assert len(set(np.flatnonzero(np.diff(stratified % 2)))) > 10  # classes are mixed


def test_split_takes_trees_and_keeps_dtypes():
    data = {"image": np.ones((6, 2, 2), np.float16), "label": jax.numpy.arange(6)}
    train, test = split(data, (4, 2), key=key())
    chex.assert_tree_shape_prefix(train, (4,))
    chex.assert_tree_shape_prefix(test, (2,))
    assert train["image"].dtype == np.float16
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves((train, test)))


def test_split_takes_labels_that_are_words():
    words = np.array(["cat", "dog"] * 5)
    train, test = split(words, (0.6, 0.4), key=key(), stratify=words)
    assert sorted(test) == ["cat"] * 2 + ["dog"] * 2
    assert sorted(train) == ["cat"] * 3 + ["dog"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (5, 4)}, r"sizes must sum to the number of examples, 10, got \(5, 4\)"),
        ({"sizes": ()}, "sizes must sum to the number of examples"),
        ({"sizes": (0.5, 0.4)}, r"sizes must sum to 1, got \(0.5, 0.4\)"),
        ({"sizes": (10, 0)}, r"leave a part empty: \[10, 0\]"),
        ({"sizes": (1.2, -0.2)}, "leave a part empty"),
        ({"sizes": (0.99, 0.01)}, "leave a part empty"),
        ({"stratify": np.zeros(9)}, r"a label for each of 10 examples, got \(9,\)"),
        (
            {"stratify": np.zeros((10, 3))},
            r"of 10 examples, got \(10, 3\)",
        ),
        ({"data": np.zeros((0, 3))}, r"data is empty: float64\[0,3\]"),
        ({"data": (np.zeros(3), np.zeros(4))}, "as many examples in all leaves"),
        ({"data": np.zeros(())}, "leading axis"),
    ],
)
def test_split_refuses(arguments, message):
    arguments = {"data": np.arange(10), "sizes": (5, 5), "key": key()} | arguments
    with pytest.raises(ValueError, match=message):
        split(**arguments)


def test_split_asks_for_a_typed_key():
    with pytest.raises(TypeError, match="typed key"):
        split(np.arange(4), (2, 2), key=jax.random.PRNGKey(0))


@given(class_sizes=sizes, k=st.integers(2, 6), stratify=st.booleans())
def test_k_fold_validates_on_every_example_once(class_sizes, k, stratify):
    labels = labels_of(class_sizes)
    n = len(labels)
    if k > n:
        return
    data = {"row": np.arange(n), "label": labels}
    stratify = labels if stratify else None
    folds = list(k_fold(data, k, key=key(), stratify=stratify))
    assert len(folds) == k
    assert_partition([validation["row"] for _, validation in folds], n)
    for train, validation in folds:
        assert_partition([train["row"], validation["row"]], n)
        assert len(validation["row"]) in (n // k, -(-n // k))
        np.testing.assert_array_equal(labels[train["row"]], train["label"])
        if stratify is not None:
            assert_in_proportion(validation["label"], labels)
            assert_in_proportion(train["label"], labels)


def test_leave_one_out_is_k_fold():
    folds = list(k_fold(np.arange(4), 4, key=key()))
    assert sorted(int(validation[0]) for _, validation in folds) == [0, 1, 2, 3]


def test_k_fold_follows_the_key():
    first, again, other = (
        [tuple(v) for _, v in k_fold(np.arange(30), 3, key=key(seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 1}, "k must be from 2 to the number of examples, 10, got 1"),
        ({"k": 11}, "k must be from 2 to the number of examples, 10, got 11"),
        ({"k": 0}, "k must be a positive integer, got 0"),
        ({"k": 2.5}, "k must be a positive integer, got 2.5"),
        ({"stratify": np.zeros(3)}, "a label for each of 10 examples"),
        ({"data": np.zeros(0)}, "data is empty"),
    ],
)
def test_k_fold_refuses_before_the_first_fold(arguments, message):
    with pytest.raises(ValueError, match=message):
        k_fold(**{"data": np.arange(10), "k": 5, "key": key()} | arguments)


@given(n=st.integers(1, 40), size=st.integers(1, 45))
def test_batches_keep_the_order_and_the_remainder(n, size):
    parts = list(batches(np.arange(n), size))
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(n))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert len(parts[-1]) == (n - 1) % size + 1


def test_batches_are_shuffled_by_the_key():
    x, y = np.arange(20), np.arange(20) * 2
    epoch = list(batches((x, y), 6, key=key(3)))
    assert [len(xs) for xs, _ in epoch] == [6, 6, 6, 2]
    order = np.concatenate([xs for xs, _ in epoch])
    assert_partition([order], 20)
    assert list(order) != list(range(20))
    for xs, ys in epoch:
        np.testing.assert_array_equal(ys, 2 * xs)
    again = np.concatenate([xs for xs, _ in batches((x, y), 6, key=key(3))])
    other = np.concatenate([xs for xs, _ in batches((x, y), 6, key=key(4))])
    np.testing.assert_array_equal(order, again)
    assert list(order) != list(other)


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_batches_refuse_a_size_that_is_no_positive_integer(size):
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        next(batches(np.arange(4), size))


def test_batches_refuse_an_empty_set():
    with pytest.raises(ValueError, match="data is empty"):
        next(fnn.data.batches((np.zeros((0, 2)), np.zeros(0)), 2))
