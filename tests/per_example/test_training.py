"""Per-example gradients in `make_step` and `fit`."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import losses, metrics, optimizers
from fnn.per_example import Clipped, clipped_gradient

MODEL = fnn.Sequential(fnn.Dense(6), jax.nn.tanh, fnn.Dropout(0.3), fnn.Dense(3))
UNCLIPPED = functools.partial(clipped_gradient, max_norm=float("inf"), normalize_by=16.0)


def data(n=32, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype("float32")
    return jnp.asarray(x), jnp.asarray((x[:, 0] + x[:, 1] > 0).astype("int32"))


def noisy(key, x):
    return x + 0.1 * jax.random.normal(key, x.shape)


def fit(**changes):
    arguments = {
        "model": MODEL,
        "loss": losses.softmax_cross_entropy,
        "optimizer": optimizers.Adam(0.01),
        "data": data(),
        "key": jax.random.key(0),
        "epochs": 3,
        "batch_size": 16,
        "progress": False,
    }
    return fnn.fit(**(arguments | changes))


def one_step(model, gradient, batch, **options):
    """Return the train state after a step of size 1, its report, and the parameters."""
    objective = fnn.supervised(model, losses.softmax_cross_entropy, **options)
    step = fnn.make_step(objective, optimizers.SGD(1.0), gradient=gradient)
    params, state = model.init(jax.random.key(0), batch[0][0])
    train_state = fnn.TrainState.create(
        params, state, step.optimizer, key=jax.random.key(1)
    )
    return *jax.jit(step)(train_state, batch), params


@pytest.mark.parametrize("augment", [None, noisy])
def test_unclipped_training_is_ordinary_training(augment):
    """The same keys reach dropout and augmentation, and the penalty counts once."""
    options = {
        "augment": augment,
        "metrics": {"accuracy": metrics.accuracy},
        "regularizer": fnn.regularizers.L2(0.01),
        "validation": data(9, 1),
    }
    ordinary, unclipped = fit(**options), fit(**options, gradient=UNCLIPPED)
    chex.assert_trees_all_close(unclipped.params, ordinary.params, rtol=1e-4, atol=1e-6)
    for name in set(ordinary.history) - {"seconds"}:
        np.testing.assert_allclose(
            unclipped.history[name], ordinary.history[name], rtol=1e-5
        )
    assert set(unclipped.history) - set(ordinary.history) == {"clipped", "gradient_norm"}
    np.testing.assert_array_equal(unclipped.history["clipped"], 0)


def test_step_is_the_clipped_sum_of_the_loop():
    """A linear model, whose gradients are known: x (p - y)ᵀ, p being the softmax."""
    x, y = data()
    model = fnn.Dense(3, bias=False)
    clip = functools.partial(clipped_gradient, max_norm=0.5, normalize_by=8.0)
    after, reported, params = one_step(model, clip, (x, y, jnp.arange(32) < 20))
    w, total, norms = np.asarray(params["kernel"], np.float64), 0, []
    for row, label in zip(np.asarray(x[:20], np.float64), np.asarray(y[:20]), strict=True):
        p = np.exp(row @ w) / np.exp(row @ w).sum()
        g = np.outer(row, p - np.eye(3)[label])
        norms.append(np.linalg.norm(g))
        total = total + g * min(1, 0.5 / norms[-1])
    np.testing.assert_allclose(after.params["kernel"], w - total / 8, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(reported["gradient_norm"], np.mean(norms), rtol=1e-5)
    np.testing.assert_allclose(reported["clipped"], np.mean(np.array(norms) > 0.5))


def test_the_last_batch_counts_each_example_once():
    """24 examples in batches of 16: 8 more fill up the second."""
    clip = functools.partial(clipped_gradient, max_norm=1.0, normalize_by=16.0)
    model = fnn.Dense(3, bias=False)
    options = {"model": model, "data": data(24), "epochs": 1}
    params = {"kernel": jnp.ones((4, 3))}
    frozen = fit(**options, params=params, optimizer=optimizers.SGD(0.0), gradient=clip)
    x, y = (np.asarray(a) for a in data(24))
    g = [np.outer(a, np.full(3, 1 / 3) - np.eye(3)[b]) for a, b in zip(x, y, strict=True)]
    norms = np.array([np.linalg.norm(each) for each in g])
    np.testing.assert_allclose(frozen.history["gradient_norm"], norms.mean(), rtol=1e-5)
    np.testing.assert_allclose(frozen.history["clipped"], np.mean(norms > 1), rtol=1e-5)


def test_examples_that_are_not_finite_may_be_left_out():
    x, y = data()
    poisoned = x.at[3].set(jnp.nan)
    clip = functools.partial(clipped_gradient, max_norm=1.0)
    zeroing = functools.partial(clip, zero_nonfinite=True)
    model = fnn.Dense(3)
    some, reported, _ = one_step(model, zeroing, (poisoned, y))
    without, expected, _ = one_step(model, clip, (x, y, jnp.arange(32) != 3))
    chex.assert_trees_all_close(some.params, without.params, rtol=1e-6)
    chex.assert_trees_all_close(reported, expected, rtol=1e-6)
    _, reported, _ = one_step(model, clip, (poisoned, y))
    assert np.isnan(reported["loss"])


def test_gradient_gets_a_key_that_no_example_has():
    seen = {}

    def watching(loss, *, has_aux):
        def watched(params, x, y, keys, *, mask, key):
            seen.update(keys=jax.random.key_data(keys), key=jax.random.key_data(key))
            each = jnp.zeros(len(x))
            return Clipped(params, each, {}, each, jnp.zeros(()), each == 0, each == 0)

        return watched

    objective = fnn.supervised(fnn.Dense(3), losses.softmax_cross_entropy)
    for augment in (None, noisy):
        augmented = objective.replace(augment=augment)
        augmented.per_example_gradient(watching, {}, {}, data(), jax.random.key(1))
        pair = jax.random.key_data(jax.random.split(jax.random.key(1), 2))
        taken = [*seen["keys"], *pair]
        assert not any(np.array_equal(seen["key"], other) for other in taken)


class Counter(fnn.Layer):
    """It counts the examples that it sees in training."""

    def init(self, key, x):
        return {}, {"seen": jnp.zeros(())}

    def apply(self, params, state, x, *, key=None, train=False):
        return x, {"seen": state["seen"] + 1} if train else state


class Stored(fnn.Layer):
    """Batch normalization by its stored statistics, in training too."""

    norm: fnn.BatchNorm = fnn.BatchNorm()

    def init(self, key, x):
        return self.norm.init(key, x)

    def apply(self, params, state, x, *, key=None, train=False):
        return self.norm.apply(params, state, x)


def test_models_that_change_their_state_or_couple_the_batch_are_refused():
    coupled = fnn.Sequential(fnn.Sequential(fnn.Dense(4), fnn.BatchNorm()), fnn.Dense(3))
    with pytest.raises(ValueError, match=r"fnn.GroupNorm, or train=False") as caught:
        fit(model=coupled, gradient=UNCLIPPED)
    assert "in layer 'sequential_0/batch_norm_0'" in str(caught.value.__notes__)
    counting = fnn.Sequential(fnn.Sequential(fnn.Dense(4), Counter()), fnn.Dense(3))
    message = "'sequential_0/counter_0' changes 'sequential_0/counter_0/seen'"
    with pytest.raises(ValueError, match=message):
        fit(model=counting, gradient=UNCLIPPED)


def test_stored_statistics_are_allowed():
    model = fnn.Sequential(fnn.Dense(4), Stored(), fnn.Dense(3))
    after, _, _ = one_step(model, UNCLIPPED, data())
    np.testing.assert_array_equal(after.state["stored_0"]["variance"], 1)


def test_bad_input():
    x, y = data()
    with pytest.raises(TypeError, match="need weights that are booleans"):
        one_step(fnn.Dense(3), UNCLIPPED, (x, y, jnp.ones(32)))
    with pytest.raises(TypeError, match="a method per_example_gradient"):
        fnn.make_step(lambda *a: a, optimizers.SGD(0.1), gradient=UNCLIPPED)
    with pytest.raises(ValueError, match=r"can't be named \['gradient_norm'\]"):
        fnn.supervised(
            fnn.Dense(3), losses.hinge, metrics={"gradient_norm": metrics.accuracy}
        )


def test_step_with_a_gradient_is_a_value():
    def make():
        gradient = functools.partial(clipped_gradient, max_norm=1.0)
        objective = fnn.supervised(fnn.Dense(2), losses.squared_error)
        return fnn.make_step(objective, optimizers.SGD(0.1), gradient=gradient)

    assert make() == make()
    assert hash(make()) == hash(make())
    shown = eval(repr(make()), {"fnn": fnn, "jax": jax})
    assert shown.gradient.keywords == {"max_norm": 1.0}
