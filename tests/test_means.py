"""Means over a data set: exact for every dtype and every number of examples."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key

import fnn
from fnn import optimizers, search
from fnn.metrics import WeightedMean

BILLION = 1_000_000_000
DTYPES = ("float32", "bfloat16", "float16")


def value(output, target):
    """Return the output, a number or a boolean, as the metric."""
    return output


def mean_of(values, batch_size=256):
    target = jnp.zeros(len(values))
    model = fnn.Sequential(operator.pos) if values.dtype != bool else fnn.Sequential(_same)
    data = values, target
    return fnn.evaluate(model, {}, {}, data, {"v": value}, batch_size=batch_size)["v"]


def _same(x):
    return x


@pytest.mark.parametrize("dtype", [*DTYPES, "int32"])
def test_evaluate_is_exact(dtype):
    """A sum of ones stands still at 256 in bfloat16; one of 170,000 is beyond float16."""
    values = jnp.concatenate([jnp.full(50_000, 3), jnp.full(20_000, 1)]).astype(dtype)
    assert mean_of(values) == pytest.approx(17 / 7, rel=1e-6)
    assert mean_of(values, 70_000) == pytest.approx(17 / 7, rel=1e-6)


def test_evaluate_takes_booleans_and_large_integers():
    assert mean_of(jnp.arange(1000) < 250) == 0.25
    assert mean_of(jnp.full(300, BILLION, jnp.int32)) == pytest.approx(BILLION, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_is_exact(dtype):
    """The gradient of the mean is 1 / 70,000 for each, rounded to the dtype."""
    values = jnp.full(70_000, 3, dtype)
    objective = fnn.supervised(fnn.Sequential(operator.pos), value)
    batch = values, jnp.zeros(70_000), jnp.arange(70_000) < 60_000
    for members in (batch[:2], batch):
        loss, (_, metrics) = objective({}, {}, members, jax.random.key(0))
        assert metrics["loss"].dtype == loss.dtype == jnp.float32
        assert float(loss) == pytest.approx(3, rel=1e-6)


def bias_and_data(dtype):
    """Return a model that a rate of 0 leaves at 0, and its constant loss, 1 or 3."""
    x = np.repeat([1.0, 3.0], [3000, 1000])[:, None].astype(dtype)
    return fnn.Sequential(fnn.Dense(1, kernel_init=jax.nn.initializers.zeros)), x


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_histories_of_fit_and_train_are_exact(dtype):
    model, x = bias_and_data(jnp.dtype(dtype))
    loss = lambda output, target: jnp.sum(target - output)  # noqa: E731
    data = jnp.asarray(x), jnp.asarray(x)
    arguments = {"key": jax.random.key(0), "epochs": 1, "batch_size": 3}
    arguments["validation"] = data
    history = fnn.fit(
        model, loss, optimizers.SGD(0.0), data, progress=False, **arguments
    ).history
    arguments["key"] = jax.random.key(0)
    objective = fnn.supervised(model, loss)
    trained = fnn.train(objective, optimizers.SGD(0.0), data, **arguments)
    for found in (history, trained.history):
        assert found["loss"] == pytest.approx(1.5, rel=1e-6)
        assert found["val_loss"] == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_figures_of_searches_are_exact(dtype):
    """Sums of 100 and 300 stand still in bfloat16, and overflow in float16."""
    x = jnp.asarray(bias_and_data(jnp.dtype(dtype))[1])
    loss = lambda output, target: jnp.sum(target - output) * 100  # noqa: E731
    objective = fnn.supervised(fnn.Dense(1, kernel_init=jax.nn.initializers.zeros), loss)
    setup = objective, optimizers.SGD(0.0)
    arguments = {"epochs": 1, "batch_size": 400, "progress": False}
    space = {"optimizer.learning_rate": search.Choice((0.0,))}
    study = search.Study(setup, (x, x), (x, x), **arguments)
    searched = study.random(space, 1, key=key(0))
    assert searched.rows[0]["val_loss"] == pytest.approx(150, rel=1e-6)
    # The mean over two halves of equal size is that of all.
    folded = search.cross_validate(setup, [{}], (x, x), k=2, key=key(1), **arguments)
    assert folded.rows[0]["val_loss"] == pytest.approx(150, rel=1e-6)


def loops():
    """Return loops that add a batch `times` times, each compiled as one."""

    def by_scan(add, mean, times):
        return jax.lax.scan(lambda m, _: (add(m), None), mean, length=times)[0]

    def by_fori(add, mean, times):
        return jax.lax.fori_loop(0, times, lambda _, m: add(m), mean)

    return [by_scan, by_fori]


@pytest.mark.parametrize("loop", loops())
def test_a_billion_examples_are_exact_to_a_millionth(loop):
    """From 10⁹ on, of mean 1/2, come 2²⁶ ones: float32 alone would not see them."""
    start = WeightedMean.init().include(jnp.float32(0.5), jnp.float32(BILLION))
    ones, times = jnp.ones(64), 2**20
    add = lambda mean: mean.update(ones)  # noqa: E731
    merge = lambda mean: mean + WeightedMean.init().update(ones)  # noqa: E731
    for one in (add, merge):
        found = jax.jit(functools.partial(loop, one), static_argnums=1)(start, times)
        expected = (BILLION / 2 + 64 * times) / (BILLION + 64 * times)
        assert float(found.result()) == pytest.approx(expected, rel=1e-6)
        assert sum(map(float, found.weight)) == BILLION + 64 * times


def test_single_examples_count_beyond_two_float32():
    """Errors that only add up stand still at 2²⁵."""
    start = WeightedMean.init().include(jnp.float32(1), jnp.float32(2**25))
    ones = jnp.ones(1)
    add = jax.jit(lambda m: jax.lax.fori_loop(0, 10_001, lambda _, m: m.update(ones), m))
    assert sum(map(float, add(add(start)).weight)) == 2**25 + 20_002


def test_merging_is_exact_and_tree_add_merges():
    many = WeightedMean.init().include(jnp.float32(1), jnp.float32(2**24))
    one = WeightedMean.init().update(jnp.array([7.0]))
    expected = (2**24 + 3 * 7) / (2**24 + 3)
    for add in (operator.add, lambda a, b: fnn.tree.add({"m": a}, {"m": b})["m"]):
        merged = functools.reduce(add, [many, one, one, one])
        assert isinstance(merged, WeightedMean)
        assert sum(map(float, merged.weight)) == 2**24 + 3
        assert sum(map(float, merged.total)) == 2**24 + 21
        assert float(merged.result()) == pytest.approx(expected, rel=2e-7)
    with pytest.raises(TypeError, match="can be added to another"):
        many + 1.0


def test_means_that_are_not_finite_stay_what_they_are():
    mean = WeightedMean.init().update(jnp.array([jnp.inf, 1.0])).update(jnp.ones(2))
    assert mean.result() == jnp.inf
    assert jnp.isnan((mean + WeightedMean.init().update(jnp.array([jnp.nan]))).result())


def test_float64_stays_float64(x64):
    values = jnp.array([1.0, 1.0 + 1e-12])
    mean = WeightedMean.init(values.dtype).update(values).result()
    assert mean.dtype == jnp.float64
    assert float(mean) - 1 == pytest.approx(5e-13, rel=1e-3)
    assert mean_of(values) - 1 == pytest.approx(5e-13, rel=1e-3)
