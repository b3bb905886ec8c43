"""`train` gives what `fit` gives, alone and mapped over a population."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

# Without a bias, as a normalization would leave its gradient to be rounding errors.
MODEL = fnn.Sequential(
    fnn.Dense(4, bias=False), fnn.BatchNorm(), fnn.Dropout(0.2), fnn.Dense(3)
)
METRICS = {"accuracy": fnn.metrics.accuracy}
RATES = jnp.array([1e-3, 3e-2], jnp.float32)
SIZES = {"epochs": 3, "batch_size": 16}
close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6)


def examples(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    return x, (x[:, :3]).argmax(1)


DATA, VALIDATION = examples(50, 0), examples(23, 1)  # neither divided by the batch size


def trained(rate, key, strength=1e-3, **options):
    objective = fnn.supervised(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        metrics=METRICS,
        regularizer=fnn.regularizers.L2(strength),
    )
    options = SIZES | options
    adam = fnn.optimizers.Adam(rate)
    return fnn.train(objective, adam, DATA, key=key, validation=VALIDATION, **options)


def keys():
    return jax.random.split(jax.random.key(5), 2)


@pytest.fixture(scope="module")
def population():
    """Return params, state, steps and history of each member."""
    (params, state, _, _, step, _), history = jax.jit(jax.vmap(trained))(RATES, keys())
    everything = params, state, step, history
    return [jax.tree.map(lambda leaf, i=i: leaf[i], everything) for i in range(2)]


@pytest.mark.parametrize("member", [0, 1])
def test_members_of_a_population_are_those_of_fit(population, member):
    fit = fnn.fit(
        MODEL,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(float(RATES[member])),
        DATA,
        key=keys()[member],
        validation=VALIDATION,
        metrics=METRICS,
        regularizer=fnn.regularizers.L2(1e-3),
        progress=False,
        **SIZES,
    )
    params, state, step, history = population[member]
    jax.tree.map(close, params, fit.params)
    jax.tree.map(close, state, fit.state)
    assert step == 12
    assert set(history) == set(fit.history) - {"seconds"}
    for name, values in history.items():
        close(values, fit.history[name], err_msg=name)


def test_training_goes_on_from_a_train_state(population):
    first = trained(RATES[1], keys()[1], epochs=1)
    rest = trained(RATES[1], keys()[1], epochs=2, train_state=first.train_state)
    params, _, _, history = population[1]
    jax.tree.map(close, rest.train_state.params, params)
    losses = np.concatenate([first.history["loss"], rest.history["loss"]])
    close(losses, history["loss"])


def line(slope, **options):
    """Train w x towards 2 x by gradient descent; return what `train` returns."""
    x = jnp.arange(1.0, 5.0)[:, None] / 4
    objective = fnn.supervised(fnn.Dense(1, bias=False), fnn.losses.squared_error)
    sizes = {"epochs": 3, "batch_size": 4, "params": {"kernel": slope}}
    sgd = fnn.optimizers.SGD(0.1)
    return fnn.train(objective, sgd, (x, 2 * x), key=jax.random.key(0), **sizes, **options)


def test_initial_parameters_can_be_mapped():
    """Of w ← w - 0.1 · 2 (w - 2) mean(x²), whose steps are few enough to be written out."""
    slopes = np.array([0.0, 1.0, 5.0])
    result = jax.vmap(line)(jnp.asarray(slopes, jnp.float32)[:, None, None])
    losses = []
    mean_square = np.mean((np.arange(1, 5) / 4) ** 2)
    for _ in range(3):
        losses.append((slopes - 2) ** 2 * mean_square)
        slopes = slopes - 0.2 * (slopes - 2) * mean_square
    close(result.train_state.params["kernel"][:, 0, 0], slopes)
    close(result.history["loss"], np.transpose(losses))


def test_any_objective_can_be_trained():
    def objective(params, state, batch, key):
        loss = jnp.mean((batch[0][:, 0] * params - batch[1]) ** 2)
        return loss, (state, {"loss": loss})

    x = jnp.ones((4, 1))
    sgd, sizes = fnn.optimizers.SGD(0.25), {"epochs": 2, "batch_size": 4}
    data = x, 2 * x[:, 0]
    result = fnn.train(objective, sgd, data, key=jax.random.key(0), params=0.0, **sizes)
    close(result.train_state.params, 1.5)
    close(result.history["loss"], [4.0, 1.0])
    with pytest.raises(TypeError, match=r"that fnn.supervised makes, or params; got"):
        fnn.train(objective, sgd, data, key=jax.random.key(0), **sizes)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="params or train_state"):
        line(jnp.ones((1, 1)), train_state=line(jnp.ones((1, 1))).train_state)
    objective = fnn.supervised(fnn.Dense(3), fnn.losses.softmax_cross_entropy)
    sgd = fnn.optimizers.SGD(0.1)
    sizes = {"epochs": 1, "batch_size": 8}
    data = jnp.ones((8, 2)), jnp.full(8, 3)
    with pytest.raises(ValueError, match="0 to 2, got 3"):
        fnn.train(objective, sgd, data, key=jax.random.key(0), **sizes)
    data = jnp.ones((4, 2)), jnp.zeros(4, int)
    with pytest.raises(ValueError, match="at most the number of examples, 4"):
        fnn.train(objective, sgd, data, key=jax.random.key(0), **sizes)
