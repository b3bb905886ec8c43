"""Examples drawn by the norms of their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn import per_example

NORMS = st.lists(st.floats(0, 100), min_size=1, max_size=8).map(np.array)


@given(NORMS, st.floats(0.01, 1))
def test_drawn_and_weighted_examples_have_the_mean_of_all(norms, smoothing):
    """Σᵢ pᵢ wᵢ gᵢ = 1/B Σᵢ gᵢ, for any gᵢ; no weight exceeds 1 / s."""
    with jax.enable_x64(True):
        p, w = map(np.asarray, sampled(norms, smoothing))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(p * w, 1 / len(norms), rtol=1e-12)
    assert w.max() <= 1 / smoothing * (1 + 1e-12)
    assert p.min() >= smoothing / len(norms) * (1 - 1e-12)
    if norms.sum() > 0:
        expected = (1 - smoothing) * norms / norms.sum() + smoothing / len(norms)
        np.testing.assert_allclose(p, expected, rtol=1e-12)


@jax.jit
def sampled(norms, smoothing):
    return per_example.importance_sampling(norms, smoothing=smoothing)


def test_norms_give_the_least_variance():
    """The variance of w g at its own norms; no other smoothing has less."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 3)) * np.arange(1, 7)[:, None]
    norms = np.linalg.norm(gradients, axis=1)

    def spread(smoothing):
        with jax.enable_x64(True):
            p, w = map(np.asarray, sampled(norms, smoothing))
        return p @ (w * norms) ** 2 - np.sum(gradients.mean(0) ** 2)

    # The least possible E|w g|² is (mean of the norms)².
    least = norms.mean() ** 2 - np.sum(gradients.mean(0) ** 2)
    np.testing.assert_allclose(spread(0.0), least, rtol=1e-12)
    assert spread(0.0) < spread(0.5) < spread(1.0)


def test_draws_are_unbiased():
    """The mean of many draws is that of all examples, within five standard errors."""
    values, draws = np.array([-4.0, 1.0, 0.5, 7.0]), 40_000
    p, w = sampled(np.abs(values).astype(np.float32), 0.2)
    drawn = np.asarray(jax.random.choice(jax.random.key(0), 4, (draws,), p=p))
    weighted = np.asarray(w)[drawn] * values[drawn]
    assert abs(weighted.mean() - values.mean()) < 5 * weighted.std() / np.sqrt(draws)


def test_without_smoothing_what_has_no_gradient_is_never_drawn():
    p, w = sampled(np.array([0.0, 2.0], np.float32), 0.0)
    assert (p[0], p[1], w[1]) == (0.0, 1.0, 0.5)
    assert np.isinf(w[0])


def test_norms_of_any_size_are_shares():
    """Scaled before they are summed: 3e38 + 3e38 is above the range of float32."""
    for norms in ([3e38, 3e38, 1.0], [2e-38, 6e-38], [3.4e38, 1.7e38]):
        p, _ = sampled(np.array(norms, np.float32), 0.1)
        expected = 0.9 * np.array(norms) / sum(norms) + 0.1 / len(norms)
        np.testing.assert_allclose(p, expected, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.inf, np.nan, -1.0])
def test_norms_that_are_none_are_refused_or_seen(bad):
    norms = jnp.array([1.0, bad, 0.0])
    with pytest.raises(ValueError, match=r"norms must be finite .* for example 1, and 1"):
        per_example.importance_sampling(norms)
    if bad != -1:
        assert np.isnan(sampled(norms, 0.1).probabilities).all()


def test_equal_where_no_example_has_a_gradient():
    p, w = sampled(np.zeros(4, np.float32), 0.1)
    np.testing.assert_array_equal(p, 0.25)
    np.testing.assert_array_equal(w, 1)


@pytest.mark.parametrize(
    ("message", "norms", "smoothing"),
    [
        (r"norms must be numbers, \(B,\), got float32\[2,2\]", jnp.ones((2, 2)), 0.1),
        (r"norms must be numbers, \(B,\), got int32\[2\]", jnp.arange(2), 0.1),
        (r"smoothing must be in \[0, 1\], got 1.5", jnp.ones(2), 1.5),
    ],
)
def test_refuses(message, norms, smoothing):
    with pytest.raises(ValueError, match=message):
        per_example.importance_sampling(norms, smoothing=smoothing)
