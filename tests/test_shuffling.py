"""Random orders: permutations, uniform, and the same however they are computed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fnn.data import permutation
from fnn.data.shuffling import SHORT

jitted = jax.jit(permutation, static_argnums=1)
# Around the switch of methods, squares and their neighbours, and a prime.
LENGTHS = [1, 2, SHORT, SHORT + 1, 1088, 1089, 1090, 1999]


@settings(max_examples=10)
@given(n=st.integers(1, 5000), seed=st.integers(0, 2**31 - 1))
def test_every_number_comes_once(n, seed):
    np.testing.assert_array_equal(np.sort(jitted(key(seed), n)), np.arange(n))


@pytest.mark.parametrize("n", LENGTHS)
def test_every_number_comes_once_at_special_lengths(n):
    order = jitted(key(1), n)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("n", [7, SHORT + 1])
def test_jit_and_x64_change_nothing(n):
    order = np.asarray(permutation(key(2), n))
    np.testing.assert_array_equal(jitted(key(2), n), order)
    with jax.enable_x64(True):
        wide = permutation(key(2), n)
        assert wide.dtype == jnp.int32
        np.testing.assert_array_equal(wide, order)


def orders(n, keys):
    return np.asarray(jax.jit(jax.vmap(lambda k: permutation(k, n)))(keys))


@pytest.mark.parametrize("n", [7, SHORT + 1])
def test_vmap_over_keys_is_the_loop(n):
    rows = orders(n, jax.random.split(key(3), 4))
    for row, k in zip(rows, jax.random.split(key(3), 4), strict=True):
        np.testing.assert_array_equal(row, jitted(k, n))


@pytest.mark.parametrize("n", [SHORT, SHORT + 1])
def test_different_keys_give_different_orders(n):
    rows = orders(n, jax.random.split(key(4), 50))
    assert len({row.tobytes() for row in rows}) == 50
    # Two random orders agree in one place on average, and here in few.
    agreements = [(a == b).sum() for a, b in itertools.pairwise(rows)]
    assert np.mean(agreements) < 2
    assert max(agreements) < 10


def p_value(cells, count):
    """Return the chi-square probability of how often each of `count` cells was hit."""
    return stats.chisquare(np.bincount(cells, minlength=count)).pvalue


def test_all_short_orders_are_equally_likely():
    rows = orders(4, jax.random.split(key(5), 6000))
    _, cells = np.unique(rows, axis=0, return_inverse=True)
    assert cells.max() == 23
    assert p_value(cells.ravel(), 24) > 1e-3


N, DRAWS, BINS = 1100, 4000, 20


@pytest.fixture(scope="module")
def long_orders():
    return orders(N, jax.random.split(key(6), DRAWS))


def bins(positions):
    """Return which of equally wide stretches the positions are in."""
    return positions * BINS // N  # 1100 = 20 * 55


@pytest.mark.parametrize("place", [0, 1, 33, 34, 549, 1098, 1099])
def test_every_number_is_equally_likely_at_a_place(long_orders, place):
    assert p_value(bins(long_orders[:, place]), BINS) > 1e-3


@pytest.mark.parametrize("places", [(0, 1), (0, 33), (0, 34), (548, 549), (0, 1099)])
def test_the_distance_between_two_places_is_uniform(long_orders, places):
    first, second = long_orders[:, places[0]], long_orders[:, places[1]]
    # From 1 to N - 1; the last bin is one short, which is far below what is resolved.
    assert p_value(bins((second - first) % N), BINS) > 1e-3


def test_runs_are_as_long_as_chance_makes_them(long_orders):
    """An order of n has (n - 1) / 2 ascents on average, with variance (n + 1) / 12."""
    ascents = (np.diff(long_orders, axis=1) > 0).sum(1)
    std = np.sqrt((N + 1) / 12)
    assert abs(ascents.mean() - (N - 1) / 2) < 4 * std / np.sqrt(DRAWS)
    assert ascents.std() == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3"])
def test_a_length_that_is_no_positive_integer_is_refused(n):
    with pytest.raises(ValueError, match=r"n must be a positive integer, got"):
        permutation(key(), n)


def test_a_key_that_is_no_typed_key_is_refused():
    with pytest.raises(TypeError, match="permutation needs a typed key"):
        permutation(jax.random.PRNGKey(0), 3)
    with pytest.raises(ValueError, match="needs one key"):
        permutation(jax.random.split(key(), 2), 3)
