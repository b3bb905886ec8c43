"""Poisson sampling: every example by itself, with the probability that was asked for."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.data import poisson, poisson_sample, poisson_size


def draw(draws, examples, rate, size, seed=0):
    """Return the sample of each of many keys."""
    sample = functools.partial(poisson_sample, examples=examples, rate=rate, size=size)
    return jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(seed), draws))


def membership(sample, examples):
    """Return which examples each draw holds, (draws, examples), having counted them."""
    indices, mask = map(np.asarray, (sample.indices, sample.mask))
    inside = np.zeros((len(mask), examples), int)
    np.add.at(inside, (np.nonzero(mask)[0], indices[mask]), 1)
    assert inside.max() <= 1
    return inside


def test_examples_are_drawn_independently_with_the_given_probability():
    draws, examples, rate = 8000, 6, 0.3
    inside = membership(draw(draws, examples, rate, size=6), examples)
    error = 5 * math.sqrt(rate * (1 - rate) / draws)
    np.testing.assert_allclose(inside.mean(0), rate, atol=error)
    covariance = np.cov(inside.T)
    np.fill_diagonal(covariance, 0)
    assert np.abs(covariance).max() < 5 * rate * (1 - rate) / math.sqrt(draws)
    counts = np.bincount(inside.sum(1), minlength=7)
    binomial = [math.comb(6, k) * rate**k * (1 - rate) ** (6 - k) for k in range(7)]
    expected = draws * np.array(binomial)
    assert ((counts - expected) ** 2 / expected).sum() < 30  # χ² with 6 degrees of freedom


def test_what_does_not_fit_is_left_out_and_counted():
    whole, cut = draw(200, 50, 0.2, size=50), draw(200, 50, 0.2, size=8)
    counts = np.asarray(whole.mask.sum(1))
    np.testing.assert_array_equal(whole.overflow, 0)
    np.testing.assert_array_equal(cut.overflow, np.maximum(counts - 8, 0))
    np.testing.assert_array_equal(cut.mask.sum(1), np.minimum(counts, 8))
    assert 0 < (np.asarray(cut.overflow) > 0).mean() < 1
    kept, drawn = membership(cut, 50), membership(whole, 50)
    assert (kept <= drawn).all()
    fits = counts <= 8
    np.testing.assert_array_equal(kept[fits], drawn[fits])
    assert (np.diff(np.where(cut.mask, cut.indices, 99)) > 0)[:, :3].all()  # ascending


def test_what_is_left_out_is_random():
    """Each is kept as often, and each pair; the highest indices no less than the lowest."""
    draws, examples, size = 12_000, 6, 2
    kept = membership(draw(draws, examples, 0.7, size, seed=1), examples)
    binomial = [math.comb(6, k) * 0.7**k * 0.3 ** (6 - k) for k in range(7)]
    single = sum(p * min(k, size) / 6 for k, p in enumerate(binomial))
    error = 5 * math.sqrt(single * (1 - single) / draws)
    np.testing.assert_allclose(kept.mean(0), single, atol=error)
    pair = sum(p for k, p in enumerate(binomial) if k >= 2) / 15
    both = (kept.T @ kept / draws)[np.triu_indices(6, 1)]
    np.testing.assert_allclose(both, pair, atol=5 * math.sqrt(pair * (1 - pair) / draws))


def test_equal_words_are_ordered_at_random():
    """Each of 8 examples with one word is the first in an eighth of the cases."""
    words = jnp.zeros(8, jnp.uint32)
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 4000))
    order = functools.partial(poisson._first, 1, words, impl="threefry2x32")
    first = jax.jit(jax.vmap(order))(keys)
    np.testing.assert_array_equal(first.sum(1), 1)
    np.testing.assert_allclose(first.mean(0), 1 / 8, atol=5 * math.sqrt(7 / 64 / 4000))


@pytest.mark.parametrize(
    ("examples", "rate", "size"), [(9, 2.0**-32, 3), (9, 0.5, 3), (9, 1.0, 20)]
)
def test_a_key_gives_one_batch(examples, rate, size):
    """Compiled or not, at every end of rate and size; and the key is used up once."""
    sample = functools.partial(poisson_sample, examples=examples, rate=rate, size=size)
    eager = sample(jax.random.key(5))
    compiled = jax.jit(sample)(jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, eager, compiled)
    assert eager.mask.shape == eager.indices.shape == (size,)
    if rate < 1e-9:
        assert not eager.mask.any()
    if rate == 1:
        np.testing.assert_array_equal(eager.indices[:examples], np.arange(examples))
    key = jax.random.key(5)
    sample(key)
    with pytest.raises(jax.errors.KeyReuseError):
        sample(key)


def test_at_rate_1_every_example_is_drawn():
    sample = poisson_sample(jax.random.key(0), 9, 1.0, size=9)
    np.testing.assert_array_equal(sample.indices, np.arange(9))
    assert sample.mask.all()


def exceeding(n, rate, size):
    """Return P(binomial > size), summed term by term."""
    terms = (
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(size + 1, n + 1)
    )
    return math.fsum(terms)


@pytest.mark.parametrize(
    ("n", "rate", "overflow"),
    [(100, 0.01, 1e-3), (500, 0.1, 1e-12), (40, 0.9, 1e-2), (300, 0.004, 1e-9)],
)
def test_size_is_exceeded_as_seldom_as_asked(n, rate, overflow):
    size = poisson_size(n, rate, overflow)
    assert exceeding(n, rate, size) <= overflow
    assert size <= n
    spread = math.sqrt(n * rate * (1 - rate))
    assert exceeding(n, rate, int(size - 1 - spread)) > overflow / 100


def test_size_is_never_more_than_the_examples():
    assert poisson_size(10, 1.0) == 10
    assert poisson_size(10, 0.5, 0.0) == 10
    assert 350 < poisson_size(60_000, 1 / 240) < 400


def test_bad_input():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"rate must be in .*, got 0"):
        poisson_sample(key, 10, 0, size=4)
    with pytest.raises(ValueError, match=r"rate must be in .*, got 1.5"):
        poisson_size(10, 1.5)
    with pytest.raises(ValueError, match="size must be a positive integer, got 0"):
        poisson_sample(key, 10, 0.5, size=0)
    with pytest.raises(ValueError, match="examples must be a positive integer"):
        poisson_size(2.5, 0.5)
    with pytest.raises(TypeError, match="poisson_sample needs a typed key"):
        poisson_sample(jax.random.key_data(key), 10, 0.5, size=4)
