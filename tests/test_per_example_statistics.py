"""Noise scale, kernels, derivatives along a direction, and the user's own check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.per_example import NETWORKS, draw

from fnn import per_example


def linear(w, x):
    """Its gradient is x."""
    return w @ x


def test_noise_scale_by_hand():
    """Gradients 3 and 5: |gᵢ|² are 9 and 25, |ḡ|² is 16, the unbiased variance 2."""
    g = per_example.gradients(linear)(jnp.zeros(1), jnp.array([[3.0], [5.0]]))
    scale = per_example.gradient_noise_scale(g)
    assert (scale.noise, scale.signal) == (2.0, 15.0)
    np.testing.assert_allclose(scale.batch_size, 2 / 15)


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
    g = per_example.gradients(row.loss)(params, *batch)
    each = per_example.gradient_noise_scale(g, per_leaf=True)
    whole = per_example.gradient_noise_scale(g)
    for name in ("noise", "signal"):
        total = sum(float(getattr(each[leaf], name)) for leaf in params)
        np.testing.assert_allclose(total, getattr(whole, name), rtol=1e-4)


def test_noise_scale_of_one_example_is_nan():
    g = per_example.gradients(linear)(jnp.zeros(1), jnp.ones((1, 1)))
    scale = per_example.gradient_noise_scale(g)
    assert jnp.isnan(scale.noise)
    assert jnp.isnan(scale.signal)


@pytest.mark.parametrize("name", ["mlp", "attention", "embedding"])
def test_directional_derivatives_are_inner_products(name, x64):
    row = NETWORKS[name]
    params, batch = draw(row)
    v, _ = draw(row, seed=7)

    @jax.jit
    def derivatives(params, v, *batch):
        return per_example.directional_derivatives(row.loss, params, v, *batch)

    losses, products = derivatives(params, v, *batch)
    g = jax.jit(per_example.gradients(row.loss))(params, *batch)
    np.testing.assert_allclose(losses, g.losses, rtol=1e-12)
    np.testing.assert_allclose(products, g.inner_products(v), rtol=1e-10)


@pytest.mark.parametrize("budget", [2**26, 64])
def test_neural_tangent_kernel_is_that_of_the_jacobians(budget, x64):
    def network(params, x):
        return jnp.tanh(x @ params["w1"]) @ params["w2"]

    params, (x, z) = draw(NETWORKS["mlp"]._replace(batch=((5,), (5,))))
    params = {name: params[name] for name in ("w1", "w2")}

    @jax.jit
    def kernel(params, x, z):
        return per_example.neural_tangent_kernel(
            network, params, x, z, memory_budget=budget
        )

    def rows(x):
        jacobian = [jax.jit(jax.jacrev(network))(params, example) for example in x]
        return np.array(
            [np.concatenate([j[k].reshape(3, -1) for k in sorted(j)], 1) for j in jacobian]
        )

    expected = np.einsum("iap,jbp->ijab", rows(x), rows(z[:2]))
    np.testing.assert_allclose(kernel(params, x, z[:2]), expected, rtol=1e-10, atol=1e-12)


def test_neural_tangent_kernel_takes_vectors():
    with pytest.raises(ValueError, match="must return a vector for one example"):
        per_example.neural_tangent_kernel(linear, jnp.ones(3), jnp.ones((2, 3)))


def test_check_finds_what_is_right():
    row = NETWORKS["attention"]
    params, batch = draw(row, jnp.float32)
    report = per_example.check(row.loss, params, *batch)
    assert report.largest < 1e-5
    assert "worst parameter: " in str(report)


def test_check_finds_what_is_wrong():
    """A loss of which float32 and float64 differ."""

    def fragile(w, x):
        return (w * x[0] + x[1]) - x[1]

    report = per_example.check(fragile, jnp.float32(1), jnp.array([[1, 1e8], [2, 1e8]]))
    assert report.losses > 0.1
    assert report.gradients == 0
