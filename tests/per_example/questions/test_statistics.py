"""Noise scale, and norms of groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.answers import one_by_one
from contracts.per_example import NETWORKS, draw, linear

import fnn
from fnn import per_example


def test_noise_scale_by_hand():
    """Gradients 3 and 5: |gᵢ|² are 9 and 25, |ḡ|² is 16, the unbiased variance 2."""
    g = per_example.gradients(linear)(jnp.zeros(1), jnp.array([[3.0], [5.0]]))
    scale = per_example.gradient_noise_scale(g)
    assert (scale.noise, scale.signal) == (2.0, 15.0)
    np.testing.assert_allclose(scale.batch_size, 2 / 15)


def test_noise_scale_is_right_where_squares_are_not():
    """3 and 5, scaled: the estimates 2 and 15 scale by the square, as far as it goes."""

    @jax.jit
    @jax.vmap
    def estimate(x):
        g = per_example.gradients(linear)(jnp.zeros(1), x)
        return per_example.gradient_noise_scale(g), per_example.gradient_noise_scale(
            g, per_leaf=True
        )

    scales = np.array([1e-30, 1e-19, 3e-19, 1.0, 4e18, 1e19, 1e30], np.float32)
    wide = scales.astype(np.float64) ** 2
    for found in estimate(scales[:, None, None] * np.array([[3.0], [5.0]], np.float32)):
        for number, factor in zip(found, (2, 15), strict=True):
            with np.errstate(over="ignore"):
                exact = (factor * wide).astype(np.float32)
            np.testing.assert_allclose(number, exact, rtol=1e-5, atol=2e-38)


def test_noise_scale_is_unbiased():
    """Over all pairs from a population, it averages to what the population has."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3)) + 1
    pairs = [x[[i, j]] for i in range(6) for j in range(6)]

    @jax.jit
    @jax.vmap
    def estimate(pair):
        g = per_example.gradients(linear)(jnp.zeros(3), pair)
        return per_example.gradient_noise_scale(g)

    with jax.enable_x64(True):
        estimates = estimate(jnp.asarray(np.array(pairs)))
        np.testing.assert_allclose(estimates.noise.mean(), x.var(0).sum(), rtol=1e-6)
        signal = np.sum(x.mean(0) ** 2)
        np.testing.assert_allclose(estimates.signal.mean(), signal, rtol=1e-6)


def test_noise_scale_of_each_parameter_adds_up():
    row = NETWORKS["mlp"]
    params, batch = draw(row, jnp.float32)

    @jax.jit
    def scales(params, *batch):
        g = per_example.gradients(row.loss)(params, *batch)
        each = per_example.gradient_noise_scale(g, per_leaf=True)
        return each, per_example.gradient_noise_scale(g)

    each, whole = scales(params, *batch)
    for name in ("noise", "signal"):
        total = sum(float(getattr(each[leaf], name)) for leaf in params)
        np.testing.assert_allclose(total, getattr(whole, name), rtol=1e-4)


def test_noise_scale_of_one_example_is_nan():
    g = per_example.gradients(linear)(jnp.zeros(1), jnp.ones((1, 1)))
    scale = per_example.gradient_noise_scale(g)
    assert jnp.isnan(scale.noise)
    assert jnp.isnan(scale.signal)


def test_noise_scales_are_averaged_apart_over_steps():
    """For a stream of batches, under scan, and for each parameter alone."""
    decay, steps = 0.8, 7
    x = np.random.default_rng(1).normal(size=(steps, 4, 3)) + 1
    average = fnn.optimizers.ExponentialMovingAverage(decay)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}

    def step(state, batch):
        def loss(p, x):
            return linear(jnp.concatenate([p["a"], p["b"]]), x)

        g = per_example.gradients(loss)(params, batch)
        scale = per_example.gradient_noise_scale(g, per_leaf=True)
        return average.update(scale, state), average.average(state)

    @jax.jit
    def run(batches):
        zero = per_example.NoiseScale(jnp.zeros(()), jnp.zeros(()))
        start = average.init(dict.fromkeys(params, zero))
        return jax.lax.scan(step, start, batches)[0]

    averaged = average.average(run(jnp.asarray(x, jnp.float32)))
    weights = decay ** np.arange(steps)[::-1]
    weights /= weights.sum()
    for name, columns in {"a": slice(2), "b": slice(2, 3)}.items():
        part = x[:, :, columns]
        noise = part.var(1, ddof=1).sum(1)
        signal = np.sum(part.mean(1) ** 2, 1) - noise / 4
        np.testing.assert_allclose(averaged[name].noise, weights @ noise, rtol=1e-5)
        np.testing.assert_allclose(averaged[name].signal, weights @ signal, rtol=1e-5)
        ratio = (weights @ noise) / (weights @ signal)
        np.testing.assert_allclose(averaged[name].batch_size, ratio, rtol=1e-5)


@pytest.mark.parametrize("budget", [2**26, 1])
def test_group_norms_are_those_of_a_loop(budget, x64):
    row = NETWORKS["mlp"]
    params, batch = draw(row)
    groups = np.array([2, 0, 2, -1, 0])  # none in group 1, one example in no group

    @jax.jit
    def compute(params, *batch):
        g = per_example.gradients(row.loss)(params, *batch)
        return per_example.group_norms(g, groups, 3, memory_budget=budget)

    norms = compute(params, *batch)
    each = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
        for gradient in one_by_one(row.loss, params, batch)
    ]
    for k in range(3):
        members = [g for g, group in zip(each, groups, strict=True) if group == k]
        assert norms.counts[k] == len(members)
        total = np.linalg.norm(sum(members, np.zeros(1)))
        np.testing.assert_allclose(norms.norms_of_sums[k], total, rtol=1e-10)
        if members:
            mean = np.mean([np.linalg.norm(g) for g in members])
            np.testing.assert_allclose(norms.mean_norms[k], mean, rtol=1e-10)
    assert np.isnan(norms.mean_norms[1])


def test_norm_of_a_sum_that_cancels_is_zero():
    g = per_example.gradients(linear)(jnp.zeros(1), jnp.array([[3.0], [-3.0]]))
    norms = per_example.group_norms(g, jnp.array([0, 0]), 1)
    assert (norms.mean_norms, norms.norms_of_sums) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("error", "message", "groups", "count"),
    [
        (ValueError, r"one for each of 2 examples, got int32\[3\]", [0, 1, 0], 2),
        (TypeError, r"groups must be integers, got float32\[2\]", [0.0, 1.0], 2),
        (ValueError, "num_groups must be a positive integer", [0, 1], 0),
    ],
)
def test_group_norms_refuse(error, message, groups, count):
    g = per_example.gradients(linear)(jnp.zeros(1), jnp.ones((2, 1)))
    with pytest.raises(error, match=message):
        per_example.group_norms(g, jnp.array(groups), count)
