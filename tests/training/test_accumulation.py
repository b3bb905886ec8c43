"""A batch in microbatches is the batch at once."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key

import fnn
from fnn import losses, optimizers
from fnn.training.accumulation import split

SGD = optimizers.SGD(0.5)


def data(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return jnp.asarray(x), jnp.asarray((x[:, 0] > 0).astype("int32"))


def step(model, batch, accumulate, optimizer=SGD, **options):
    """Take one compiled step from parameters that depend on the model alone."""
    loss = options.pop("loss", losses.softmax_cross_entropy)
    params, state = model.init(key(), batch[0][0])
    take = fnn.make_step(
        fnn.supervised(model, loss, **options), optimizer, accumulate=accumulate
    )
    train_state = fnn.TrainState.create(params, state, optimizer, key=key(1))
    return jax.jit(take)(train_state, batch)


@pytest.mark.parametrize("weights", [None, "random", "mask"])
def test_microbatches_make_the_step_of_the_batch(weights, x64):
    x, y = data()
    drawn = jnp.asarray(np.random.default_rng(1).uniform(size=24))
    batch = {
        None: (x, y),
        "random": (x, y, jnp.where(drawn < 0.3, 0, drawn)),
        "mask": (x, y, drawn < 0.7),
    }[weights]
    options = {
        "metrics": {"accuracy": fnn.metrics.accuracy},
        "regularizer": lambda params: fnn.tree.dot(params, params),
        "optimizer": optimizers.Adam(0.1),
    }
    model = fnn.Sequential(fnn.Dense(5), jnp.tanh, fnn.Dense(2))
    whole, reported = step(model, batch, 1, **options)
    for accumulate in (2, 8):
        parts, means = step(model, batch, accumulate, **options)
        chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-11)
        chex.assert_trees_all_close(means, reported, rtol=1e-12)


def test_step_agrees_with_the_formula_of_linear_regression(x64):
    rng = np.random.default_rng(2)
    x, y, weights = (rng.normal(size=s) for s in ((12, 3), (12, 1), (12,)))
    weights = weights**2
    model = fnn.Dense(1, bias=False)
    batch = jax.tree.map(jnp.asarray, (x, y, weights))
    after, metrics = step(model, batch, 4, loss=losses.squared_error)
    w = np.asarray(model.init(key(), x[0])[0]["kernel"])
    residual = weights[:, None] * (x @ w - y)
    expected = w - 0.5 * 2 * x.T @ residual / weights.sum()
    np.testing.assert_allclose(after.params["kernel"], expected, rtol=1e-12)
    loss = (residual * (x @ w - y)).sum() / weights.sum()
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-12)


def test_fit_is_the_same_with_a_partial_batch():
    """50 examples make three batches of 16 and one of 2."""

    def fit(accumulate):
        x, y = data(50)
        return fnn.fit(
            fnn.Sequential(fnn.Dense(8), jnp.tanh, fnn.Dense(2)),
            losses.softmax_cross_entropy,
            optimizers.Momentum(0.1),
            (x, y),
            key=key(),
            epochs=3,
            batch_size=16,
            accumulate=accumulate,
            progress=False,
        )

    whole, parts = fit(1), fit(8)
    chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.history["loss"], whole.history["loss"], rtol=1e-5)


def test_statistics_are_those_of_microbatches_in_turn(x64):
    x, y = data()
    model = fnn.Sequential(fnn.BatchNorm(momentum=0.5), fnn.Dense(2))
    after, _ = step(model, (x, y), 3)
    mean, variance = np.zeros(4), np.ones(4)
    for i in range(3):
        part = np.asarray(x)[i::3]
        mean = 0.5 * mean + 0.5 * part.mean(0)
        variance = 0.5 * variance + 0.5 * part.var(0)
    state = after.state["batch_norm_0"]
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["variance"], variance, rtol=1e-12)


def test_what_has_no_weight_counts_nowhere():
    """A microbatch of weight 0 has a mean of 0 / 0."""
    x, y = data(4)
    weights = jnp.array([1.0, 0.0, 1.0, 0.0])
    model = fnn.Dense(2)
    after, metrics = step(model, (x, y, weights), 2)
    alone, expected = step(model, (x[::2], y[::2]), 1)
    chex.assert_trees_all_close(after.params, alone.params, rtol=1e-6)
    chex.assert_trees_all_close(metrics, expected, rtol=1e-6)


def test_each_microbatch_has_a_key_of_its_own():
    seen = []

    def objective(params, state, batch, key):
        data = jax.random.key_data(key)
        jax.debug.callback(lambda words: seen.append(tuple(map(int, words))), data)
        return params["w"] * jnp.mean(batch), (state, {"loss": jnp.mean(batch)})

    take = fnn.make_step(objective, optimizers.SGD(0.1), accumulate=4)
    params = {"w": jnp.ones(())}
    train_state = fnn.TrainState.create(params, {}, take.optimizer, key=key())
    jax.block_until_ready(take(train_state, jnp.arange(8.0)))
    jax.effects_barrier()
    assert len(set(seen)) == 4


def test_an_objective_without_weights_is_averaged():
    def objective(params, state, batch, key):
        loss = jnp.mean(jnp.square(params["w"] - batch))
        return loss, (state, {"loss": loss})

    take = fnn.make_step(objective, optimizers.SGD(0.5), accumulate=3)
    params = {"w": jnp.zeros(())}
    train_state = fnn.TrainState.create(params, {}, take.optimizer, key=key())
    after, metrics = take(train_state, jnp.arange(6.0))
    np.testing.assert_allclose(after.params["w"], 2.5, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], 55 / 6, rtol=1e-6)


def test_gradients_of_narrow_parameters_add_up_in_float32():
    """In bfloat16, where 0.25 + 1/1024 = 0.25, the sum of 1024 parts would stop there."""

    def objective(params, state, batch, key):
        return params["w"].sum(), (state, {})

    take = fnn.make_step(objective, optimizers.SGD(1.0), accumulate=1024)
    params = {"w": jnp.ones(1, "bfloat16")}
    train_state = fnn.TrainState.create(params, {}, take.optimizer, key=key())
    after, _ = take(train_state, jnp.zeros(1024))
    chex.assert_trees_all_equal(after.params, {"w": jnp.zeros(1, "bfloat16")})


def test_microbatches_take_turns():
    batch = {"a": jnp.arange(6), "b": jnp.zeros((6, 2))}
    parts = split(batch, 3)
    np.testing.assert_array_equal(parts["a"], [[0, 3], [1, 4], [2, 5]])
    assert parts["b"].shape == (3, 2, 2)


def test_what_can_not_be_split_is_refused():
    with pytest.raises(ValueError, match=r"accumulate=5 .* a batch of 24 examples"):
        step(fnn.Dense(2), data(), 5)
    for wrong in (0, 2.0, True):
        with pytest.raises(ValueError, match="accumulate must be a positive integer"):
            fnn.make_step(len, optimizers.SGD(0.1), accumulate=wrong)
    with pytest.raises(ValueError, match=r"accumulate=3 .* a batch of 8 examples"):
        fnn.fit(
            fnn.Dense(2),
            losses.softmax_cross_entropy,
            optimizers.SGD(0.1),
            data(),
            key=key(),
            epochs=1,
            batch_size=8,
            accumulate=3,
        )


def test_gradients_of_single_examples_have_microbatches_of_their_own():
    objective = fnn.supervised(fnn.Dense(2), losses.softmax_cross_entropy)
    clip = functools.partial(fnn.per_example.clipped_gradient, max_norm=1.0)
    with pytest.raises(ValueError, match=r"accumulate=2 .* give microbatch to"):
        fnn.make_step(objective, SGD, gradient=clip, accumulate=2)
    scaling = optimizers.DynamicLossScale(SGD)
    params, _ = fnn.Dense(2).init(key(), data()[0][0])
    train_state = fnn.TrainState.create(params, {}, scaling, key=key(1))
    with pytest.raises(ValueError, match="gradient can't be had with DynamicLossScale"):
        fnn.make_step(objective, scaling, gradient=clip)(train_state, data())
