"""Batches in which no example counts: they take no step, and count nowhere."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import losses, optimizers, schedules

X = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("float32")  # 6 batches
Y = X.sum(-1)
FULL, EMPTY = np.ones(4, np.float32), np.zeros(4, np.float32)
GARBAGE = np.full((4, 3), np.nan, np.float32), np.full(4, np.nan, np.float32), EMPTY
MODEL = fnn.Sequential(
    fnn.Dense(4), fnn.BatchNorm(), jax.nn.tanh, fnn.Dense(1), jnp.ravel, jnp.sum
)
OPTIMIZER = optimizers.Adam(schedules.ExponentialDecay(0.1, 0.5))


def of(*batches):
    """Return batches of a loader: a number is a batch, `None` one that is empty."""
    return [GARBAGE if i is None else (X[i], Y[i], FULL) for i in batches]


def fit(batches, model=MODEL, optimizer=OPTIMIZER, **changes):
    arguments = {"key": jax.random.key(0), "epochs": 2, "progress": False}
    data = lambda _: batches  # noqa: E731
    loss = losses.squared_error
    return fnn.fit(model, loss, optimizer, data, **(arguments | changes))


def without_seconds(result):
    history = {n: v for n, v in result.history.items() if n != "seconds"}
    return result.params, result.state, history


def test_training_is_as_if_they_were_not_there():
    """Neither parameters, statistics, moments, schedules, keys nor means change."""
    found = fit(of(0, None, 1, 2, None, None))
    chex.assert_trees_all_equal(without_seconds(found), without_seconds(fit(of(0, 1, 2))))


def test_a_microbatch_counts_nowhere():
    """Microbatch i has the examples i, i + 2, ...; what is left is one microbatch."""
    half = np.array([1, 0, 1, 0], np.float32)
    x, y = X[0].copy(), Y[0].copy()
    x[1::2], y[1::2] = np.nan, np.nan
    model = fnn.batched(MODEL)
    params, state = model.init(jax.random.key(0), X[0])
    objective = fnn.supervised(MODEL, losses.squared_error)
    start = fnn.TrainState.create(params, state, OPTIMIZER, key=jax.random.key(1))
    step = fnn.make_step(objective, OPTIMIZER, accumulate=2)
    after, metrics = jax.jit(step)(start, (x, y, half))
    alone = fnn.make_step(objective, OPTIMIZER)
    expected, alone_metrics = jax.jit(alone)(start, (x[::2], y[::2], half[::2]))
    chex.assert_trees_all_close(after[:3], expected[:3], rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(metrics, alone_metrics, rtol=1e-5)
    after, metrics = jax.jit(step)(start, GARBAGE)
    chex.assert_trees_all_equal((after[:3], after.step), (start[:3], start.step))
    assert np.isnan(metrics["loss"])


def test_training_that_fails_after_one_goes_back_far_enough():
    """The step before the bad loss is not the empty one."""
    huge = X[1] * 1e12, Y[1], FULL  # its gradient is finite, but far too large
    model, sgd = fnn.Sequential(fnn.Dense(1), jnp.sum), optimizers.SGD(0.1)
    with pytest.warns(RuntimeWarning, match="training stopped in step 3 of epoch 0"):
        result = fit([*of(0), huge, *of(None, 2)], model, sgd, epochs=1)
    chex.assert_trees_all_equal(result.params, fit(of(0), model, sgd, epochs=1).params)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_that_count_for_less_than_nothing_are_refused(weight, number):
    """Also in a later batch, before its step."""
    batches = of(0, 1, 2)
    batches[number] = (*batches[number][:2], np.array([1, 1, weight, 1], np.float32))
    model = fnn.Sequential(fnn.Dense(1), jnp.sum)
    message = "weights of a batch must be finite and not negative, got"
    with pytest.raises(ValueError, match=message):
        fit(batches, model, optimizers.SGD(0.1))


def test_a_private_step_is_taken():
    """That nobody was drawn must not show: there is noise as ever."""
    private = fnn.per_example.private_gradient
    gradient = functools.partial(
        private, max_norm=1.0, noise_multiplier=1.0, normalize_by=4.0
    )
    masked = [(x, y, w.astype(bool)) for x, y, w in of(0, None, 1)]
    model = fnn.Sequential(fnn.Dense(1), jnp.sum)
    result = fit(masked, model, gradient=gradient)
    fewer = fit(masked[::2], model, gradient=gradient)
    assert len(result.history["loss"]) == 2
    assert np.isfinite(result.history["loss"]).all()
    moved = np.abs(result.params["dense_0"]["kernel"] - fewer.params["dense_0"]["kernel"])
    assert moved.max() > 1e-3


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", [dict, tuple])
def test_an_own_objective_says_what_counts_by_its_method(kind, accumulate):
    """Whatever its batches are: also pairs, which are not inputs and targets."""

    def made(x, weights):
        return (x, weights) if kind is tuple else {"x": x, "w": weights}

    def parts(batch):
        return batch if kind is tuple else (batch["x"], batch["w"])

    class Mean(fnn.values.Value):
        def __call__(self, params, state, batch, key):
            x, weights = parts(batch)
            loss = jnp.sum(weights * (params["w"] - x) ** 2) / jnp.sum(weights)
            return loss, (state, {"loss": loss})

        def weight(self, batch):
            return jnp.sum(parts(batch)[1])

    start = fnn.TrainState.create({"w": jnp.ones(())}, {}, OPTIMIZER, key=jax.random.key(0))
    step = jax.jit(fnn.make_step(Mean(), OPTIMIZER, accumulate=accumulate))
    after, metrics = step(start, made(jnp.ones(4), jnp.zeros(4)))
    chex.assert_trees_all_equal((after[:3], after.step), (start[:3], start.step))
    assert np.isnan(metrics["loss"])
    after, _ = step(start, made(jnp.zeros(4), jnp.ones(4)))
    assert after.step == 1
    assert after.params["w"] < 1


@pytest.mark.parametrize("weights", [FULL, None])
def test_a_batch_that_must_count_pays_nothing(weights):
    """Only a batch with weights has the choice between two states in its program."""
    model = fnn.Sequential(fnn.Dense(1), jnp.sum)
    params, state = model.init(jax.random.key(0), X[0, 0])
    start = fnn.TrainState.create(params, state, optimizers.SGD(0.1), key=jax.random.key(1))
    step = fnn.make_step(fnn.supervised(model, losses.squared_error), optimizers.SGD(0.1))
    batch = (X[0], Y[0]) if weights is None else (X[0], Y[0], weights)
    text = str(jax.make_jaxpr(step)(start, batch))
    assert ("select_n" in text) is (weights is not None)
