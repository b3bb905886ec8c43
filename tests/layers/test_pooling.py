"""Pooling: all options against plain loops, ties and NaN, partitions, errors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example
from contracts.convolution import windows
from hypothesis import given
from hypothesis import strategies as st

import fnn

KINDS = {
    "MaxPool": (fnn.MaxPool, np.max, -np.inf),
    "MinPool": (fnn.MinPool, np.min, np.inf),
    "AvgPool": (fnn.AvgPool, np.nanmean, np.nan),
}


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_loops_for_all_options(kind, x64):
    """Sizes, strides and paddings, in one, two and three dimensions."""
    layer, reduce, fill = KINDS[kind]
    for size in ((2,), (2, 2), (2, 3), (2, 3, 2)):
        options = list(itertools.product((1, 2, 3), ("valid", "same", 1)))
        axes = len(size)
        x = example((*(6, 7, 5)[:axes], 2), "float64")
        pools = [layer(size, stride=s, padding=p) for s, p in options]
        found = jax.jit(lambda x, pools=pools: [pool({}, x) for pool in pools])(x)
        for (stride, padding), y in zip(options, found, strict=True):
            under = windows(np.asarray(x), size, stride, 1, padding, fill)
            expected = reduce(under, axis=tuple(range(axes, 2 * axes)))
            np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize("layer", [fnn.MaxPool((3, 2)), fnn.GlobalPool("max")], ids=repr)
def test_of_equal_elements_the_first_gets_the_gradient(layer):
    gradient = jax.grad(lambda x: layer({}, x).sum())(jnp.zeros((3, 2, 2)))
    expected = np.zeros((3, 2, 2))
    expected[0, 0] = 1
    np.testing.assert_array_equal(gradient, expected)


@functools.partial(jax.jit, static_argnums=0)
def pulled_back(layer, x):
    """Return the gradient of a pool where the cotangent is 1, 2, 3, ..."""
    y, pull = jax.vjp(lambda x: layer({}, x), x)
    cotangent = jnp.arange(1.0, y.size + 1).reshape(y.shape)
    return pull(cotangent)[0], cotangent


def test_gradient_of_a_mean_is_spread_over_its_window():
    """Rows and columns that no window holds get none."""
    gradient, cotangent = pulled_back(fnn.AvgPool((2, 2)), jnp.zeros((5, 7, 3)))
    spread = np.kron(cotangent, np.full((2, 2, 1), 0.25))
    np.testing.assert_array_equal(gradient, np.pad(spread, [(0, 1), (0, 1), (0, 0)]))


@given(st.lists(st.integers(0, 2), min_size=9, max_size=9), st.integers(1, 3))
def test_gradients_of_a_pool_sum_to_the_cotangent(values, stride):
    x = np.array(values, np.float32).reshape(9, 1)
    for kind in (fnn.MaxPool, fnn.MinPool, fnn.AvgPool):
        gradient, cotangent = pulled_back(kind((2,), stride=stride), x)
        np.testing.assert_allclose(np.sum(gradient), np.sum(cotangent), rtol=1e-6)


def test_nan_is_not_lost():
    x = jnp.array([1.0, jnp.nan, 2.0, 3.0])[:, None]
    for kind in (fnn.MaxPool, fnn.MinPool, fnn.AvgPool):
        y = kind((2,))({}, x)[:, 0]
        assert np.isnan(y[0])
        assert not np.isnan(y[1])


def test_average_leaves_padding_out():
    y = fnn.AvgPool((3,), stride=1, padding=1)({}, jnp.full((4, 1), 5.0))
    np.testing.assert_array_equal(y, 5.0)


@given(st.permutations(range(8)), st.sets(st.integers(1, 7), max_size=4))
def test_any_partition(order, cuts):
    parts = np.split(np.array(order), sorted(cuts))
    pool = fnn.PartitionPool(tuple(map(tuple, parts)), "max")
    x = np.random.default_rng(0).normal(size=8).astype(np.float32)
    found = jax.jit(pool)({}, x)
    np.testing.assert_array_equal(found, [x[part].max() for part in parts])


def test_rows_of_an_image_are_a_partition():
    parts = tuple(tuple(range(3 * row, 3 * row + 3)) for row in range(2))
    x = example((2, 3))
    means = fnn.PartitionPool(parts, "mean")({}, x)
    np.testing.assert_allclose(means, x.mean(1), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.MaxPool(2), "window must be a tuple of 1, 2 or 3"),
        (lambda: fnn.MaxPool((2, 2), stride=0), "stride must be"),
        (lambda: fnn.MaxPool((2, 2), padding="full"), "padding must be"),
        (lambda: fnn.GlobalPool("median"), "statistic must be one of"),
        (
            lambda: fnn.PartitionPool(((0, 1), (1, 2)), "max"),
            "every index from 0 on in just",
        ),
        (lambda: fnn.PartitionPool(((0, 1), ()), "max"), "none may be empty"),
        (lambda: fnn.PartitionPool((0, 1), "max"), "parts must be tuples of indices"),
    ],
)
def test_bad_configuration(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (fnn.MaxPool((2, 2)), jnp.zeros((5, 8, 8, 3)), ValueError, "batch of 5 examples"),
        (fnn.MaxPool((2, 2)), jnp.zeros((8, 8, 3), int), TypeError, "floating-point"),
        (fnn.MaxPool((9, 9)), jnp.zeros((8, 8, 3)), ValueError, "larger than x"),
        (fnn.MaxPool((2,), padding=2), jnp.zeros((4, 1)), ValueError, "padding alone"),
        (fnn.GlobalPool("max"), jnp.zeros(3), ValueError, "spatial..., channels"),
        (
            fnn.PartitionPool(((0, 1),), "max"),
            jnp.zeros(3),
            ValueError,
            "parts of 2 elements in all",
        ),
    ],
)
def test_inputs_that_do_not_fit(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer({}, x)
