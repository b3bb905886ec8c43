"""Layers that behave at random: what they drop, and what stays on average."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key, over

import fnn
from fnn.layers.stochastic import DropConnect, Dropout, GaussianNoise, StochasticDepth

DRAWS = 20_000
RATE = 0.3


def train(layer, x, seed=0, params=None):
    return layer.apply(params or {}, {}, x, key=key(seed), train=True)[0]


def draws(layer, x, params=None, number=DRAWS):
    """Return the outputs for one example under many keys, in float64."""
    xs = jnp.broadcast_to(x, (number, *x.shape))
    ys, _ = fnn.batched(layer).apply(params or {}, {}, xs, key=key(1), train=True)
    return np.asarray(ys, np.float64)


def assert_mean(samples, mean, variance):
    """Check means over the first axis to five standard errors."""
    error = 5 * np.sqrt(variance / len(samples))
    np.testing.assert_array_less(np.abs(samples.mean(0) - mean), error + 1e-6)


def test_dropout_keeps_the_mean_and_adds_the_variance_of_its_mask():
    x = example((6,))
    ys = draws(Dropout(RATE), x)
    x = np.asarray(x, np.float64)
    variance = x**2 * RATE / (1 - RATE)
    assert_mean(ys, x, variance)
    np.testing.assert_allclose(ys.var(0), variance, rtol=0.05)


def test_dropout_gives_zero_or_the_scaled_input():
    x = example((1000,))
    y = np.asarray(train(Dropout(RATE), x))
    np.testing.assert_allclose(y[y != 0], x[y != 0] / (1 - RATE), rtol=1e-6)
    assert abs(np.mean(y == 0) - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / 1000)


def test_dropout_of_whole_channels():
    x = 1 + jnp.square(example((4, 5, 400)))
    y = np.asarray(train(Dropout(RATE, shared_axes=(0, 1)), x))
    dropped = (y == 0).all((0, 1))
    np.testing.assert_allclose(y[:, :, ~dropped], x[:, :, ~dropped] / (1 - RATE), rtol=1e-6)
    assert abs(dropped.mean() - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / 400)
    same = train(Dropout(RATE, shared_axes=[-3, -2]), x)
    chex.assert_trees_all_equal(same, jnp.asarray(y))


def test_dropout_of_whole_positions():
    x = jnp.ones((300, 4))
    y = np.asarray(train(Dropout(RATE, shared_axes=(-1,)), x))
    assert (y == y[:, :1]).all()
    assert 0 < np.mean(y[:, 0] == 0) < 1


def test_dropout_of_whole_channels_keeps_the_mean():
    x = example((2, 3))
    ys = draws(Dropout(RATE, shared_axes=(0,)), x)
    assert_mean(ys, np.asarray(x), np.square(x) * RATE / (1 - RATE))


def test_squared_error_under_dropout_is_ridge_on_average():
    """E(t - Dropout(x) w)² = (t - x w)² + rate / (1 - rate) Σ xᵢ² wᵢ²."""
    x, w, t = example((5,)), np.asarray(example((5,), seed=2), np.float64), 0.5
    losses = (t - draws(Dropout(RATE), x) @ w) ** 2
    x = np.asarray(x, np.float64)
    expected = (t - x @ w) ** 2 + RATE / (1 - RATE) * (x**2 * w**2).sum()
    assert_mean(losses, expected, losses.var())


def test_drop_connect_is_dense_on_average():
    layer, x = DropConnect(3, RATE), example((5,))
    params, _ = layer.init(key(), x)
    w, x64 = np.asarray(params["kernel"], np.float64), np.asarray(x, np.float64)
    ys = draws(layer, x, params)
    variance = RATE / (1 - RATE) * (x64**2 @ w**2)
    assert_mean(ys, x64 @ w + params["bias"], variance)
    np.testing.assert_allclose(ys.var(0), variance, rtol=0.05)


def test_drop_connect_drops_weights_and_not_inputs():
    """Two outputs, of equal weights, lose different inputs."""
    layer, x = DropConnect(2, 0.5, bias=False), jnp.ones(1)
    ys = draws(layer, x, {"kernel": jnp.ones((1, 2))}, 1000)
    patterns, counts = np.unique(ys, axis=0, return_counts=True)
    assert patterns.tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]
    assert (np.abs(counts - 250) < 5 * np.sqrt(1000 * 3 / 16)).all()


def test_drop_connect_has_the_parameters_and_the_inference_of_dense():
    x, dense = example((4,)), fnn.Dense(3)
    params, _ = DropConnect(3, RATE).init(key(), x)
    chex.assert_trees_all_equal(params, dense.init(key(), x)[0])
    chex.assert_trees_all_equal(DropConnect(3, RATE)(params, x), dense(params, x))
    assert set(DropConnect(3, RATE, bias=False).init(key(), x)[0]) == {"kernel"}


def test_drop_connect_never_drops_its_bias():
    params = {"kernel": jnp.ones((4, 2)), "bias": jnp.array([1.0, 2.0])}
    y = train(DropConnect(2, 1.0), jnp.ones(4), params=params)
    chex.assert_trees_all_equal(y, params["bias"])


def test_stochastic_depth_drops_all_or_nothing_and_keeps_the_mean():
    x = example((2, 3))
    ys = draws(StochasticDepth(RATE), x)
    kept = (ys != 0).any((1, 2))
    np.testing.assert_allclose(ys[kept], np.stack([x] * kept.sum()) / (1 - RATE), rtol=1e-6)
    assert_mean(kept.astype(float), 1 - RATE, RATE * (1 - RATE))
    assert_mean(ys, np.asarray(x), np.square(x) * RATE / (1 - RATE))


def test_stochastic_depth_takes_a_residual_branch_out_with_its_gradient():
    block = fnn.Residual(fnn.Sequential(fnn.Dense(3), StochasticDepth(0.5)))
    x = example((3,))
    params, _ = block.init(key(), x)
    branch = x @ params["branch"]["dense_0"]["kernel"]

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_output(params, key):
        y, _ = block.apply(params, {}, x, key=key, train=True)
        return jnp.sum(y), y

    dropped = 0
    for seed in range(10):
        gradient, y = gradient_and_output(params, key(seed))
        if jnp.array_equal(y, x):
            chex.assert_trees_all_equal(gradient, fnn.tree.zeros_like(params))
            dropped += 1
        else:
            chex.assert_trees_all_close(y, x + 2 * branch, rtol=1e-5)
    assert 0 < dropped < 10


def test_gaussian_noise_has_its_mean_and_deviation():
    x = example((4,))
    noise = draws(GaussianNoise(0.2), x) - np.asarray(x)
    assert_mean(noise, 0, 0.2**2)
    np.testing.assert_allclose(noise.std(0), 0.2, rtol=0.05)
    off_diagonal = np.corrcoef(noise.T) - np.eye(4)
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(DRAWS)
    chex.assert_trees_all_equal(train(GaussianNoise(0.0), x), x)


RANDOM = {
    "Dropout": Dropout,
    "Dropout, channels": lambda rate: Dropout(rate, shared_axes=(0,)),
    "DropConnect": lambda rate: DropConnect(2, rate, bias=False),
    "StochasticDepth": StochasticDepth,
}
each_layer = over(RANDOM, "make")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@each_layer
def test_rates_0_and_1_keep_and_drop_everything_with_finite_gradients(make, dtype):
    x = example((3, 4), dtype)
    params, _ = make(0.0).init(key(), x)
    chex.assert_trees_all_equal(train(make(0.0), x, params=params), make(0.0)(params, x))

    def total(params, x):
        return jnp.sum(train(make(1.0), x, params=params))

    y, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(params, x)
    assert y == 0
    chex.assert_trees_all_equal(gradients, fnn.tree.zeros_like((params, x)))


@each_layer
def test_examples_of_a_batch_are_treated_differently(make):
    x = jnp.ones((3, 4))
    params, _ = make(0.5).init(key(), x)
    ys = draws(make(0.5), x, params, 20)
    assert len(np.unique(ys, axis=0)) > 1


def test_rate_may_be_an_array_so_that_training_maps_over_it():
    x, rates = jnp.ones(200), jnp.array([0.0, 0.5, 1.0])
    ys = jax.vmap(lambda rate: train(Dropout(rate), x))(rates)
    chex.assert_trees_all_equal(ys[0], x)
    chex.assert_trees_all_equal(ys[1], train(Dropout(0.5), x))
    assert not ys[2].any()


def test_numpy_arrays_are_taken_in_the_precision_of_jax():
    x = np.random.default_rng(0).normal(size=(3, 4))
    for layer in (
        Dropout(0.5),
        DropConnect(2, 0.5),
        StochasticDepth(0.5),
        GaussianNoise(1.0),
    ):
        params, _ = layer.init(key(), x)
        expected = train(layer, jnp.asarray(x), params=params)
        chex.assert_trees_all_equal(train(layer, x, params=params), expected)


def test_scale_is_not_rounded_twice_in_half_precision():
    y = train(Dropout(RATE), jnp.ones(50, jnp.bfloat16))
    assert float(y.max()) == float(jnp.bfloat16(1 / (1 - RATE)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(1.5), r"rate must be in \[0, 1\], got 1.5"),
        (lambda: StochasticDepth(-0.1), r"rate must be in \[0, 1\], got -0.1"),
        (lambda: DropConnect(3, 2), r"rate must be in \[0, 1\], got 2"),
        (lambda: DropConnect(0, 0.5), "features must be a positive integer, got 0"),
        (lambda: GaussianNoise(-1.0), r"std must be in \[0, inf\], got -1.0"),
        (lambda: Dropout(0.5, 0), "shared_axes must be a tuple of integers, got 0"),
        (lambda: Dropout(0.5, (0.5,)), r"shared_axes must be a tuple of integers"),
    ],
)
def test_bad_configuration_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_x_lacks_is_refused_at_inference_too(axis):
    message = rf"axes \({axis},\), and x float32\[3,4\] has no axis {axis}"
    with pytest.raises(ValueError, match=message):
        Dropout(0.5, (axis,))({}, jnp.ones((3, 4)))


@pytest.mark.parametrize(
    "layer", [Dropout(0.5), StochasticDepth(0.5), GaussianNoise(0.5)], ids=repr
)
def test_integers_are_refused(layer):
    with pytest.raises(TypeError, match=r"takes floating-point numbers, got int32\[3\]"):
        layer({}, jnp.ones(3, jnp.int32))


def test_drop_connect_names_itself_when_it_meets_another_input():
    layer = DropConnect(2, 0.5)
    params, _ = layer.init(key(), jnp.ones(4))
    with pytest.raises(ValueError, match=r"DropConnect was initialized for x of shape"):
        layer(params, jnp.ones(3))
    with pytest.raises(TypeError, match="DropConnect takes floating-point"):
        layer.init(key(), jnp.ones(4, jnp.int32))
