"""Values are drawn as their distributions say; settings land where their paths lead."""

import decimal

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

import fnn
from fnn import search
from fnn.search.setups import with_setting
from fnn.search.spaces import grid_settings, quasi_random_settings, random_settings

SPACE = {"rate": search.LogUniform(1e-5, 1e-1), "momentum": search.Uniform(0.5, 1.0)}


@pytest.fixture(scope="module")
def drawn():
    return random_settings(SPACE, 500, jax.random.key(0))


def test_logarithms_and_numbers_are_uniform(drawn):
    rates = np.log10([setting["rate"] for setting in drawn])
    assert stats.kstest(rates, "uniform", (-5, 4)).pvalue > 0.01
    momenta = [setting["momentum"] for setting in drawn]
    assert stats.kstest(momenta, "uniform", (0.5, 0.5)).pvalue > 0.01
    assert abs(np.corrcoef(rates, momenta)[0, 1]) < 0.15


def test_integers_and_choices_are_equally_likely():
    space = {"n": search.Integers(2, 4), "c": search.Choice(("a", "b"))}
    settings = random_settings(space, 600, jax.random.key(1))
    pairs, counts = np.unique([f"{s['n']}{s['c']}" for s in settings], return_counts=True)
    assert list(pairs) == ["2a", "2b", "3a", "3b", "4a", "4b"]
    assert stats.chisquare(counts).pvalue > 0.01


def test_quasi_random_points_are_more_even(drawn):
    unit = {name: search.Uniform(0.0, 1.0) for name in "xyz"}

    def discrepancy(draw, seed):
        settings = draw(unit, 64, jax.random.key(seed))
        return qmc.discrepancy([list(setting.values()) for setting in settings])

    even = [discrepancy(quasi_random_settings, seed) for seed in range(5)]
    rough = [discrepancy(random_settings, seed) for seed in range(5)]
    assert max(even) < min(rough)


RANGES = [(0.0, 1.0), (0.1, 0.3), (-0.3, 0.1), (1e-300, 1e300), (-1e308, 1e308), (1, 3)]
RANGES += [(1e-5, 1e-1), (0.1, np.nextafter(0.1, 1)), (5e-324, 1.7e308), (3e-7, 0.7)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_ranges_end_exactly(low, high):
    """A grid has both ends; what is drawn is at least the lower and at most the upper."""
    below = np.nextafter(1.0, 0.0)
    shares = [0.0, 2.0**-53, 0.1, 1 / 3, 0.5, 0.9, 1 - 2.0**-24, below]
    for kind in (search.Uniform, search.LogUniform) if low > 0 else (search.Uniform,):
        distribution = kind(low, high)
        grid = distribution.values(7)
        assert (grid[0], grid[-1]) == (low, high)
        assert all(isinstance(value, float) for value in grid)
        drawn = [distribution.quantile(share) for share in shares]
        assert all(low <= value <= high for value in drawn)
        assert drawn == sorted(drawn)
        for share, value in zip(shares, drawn, strict=True):
            exact = quantile_by_decimals(low, high, share, kind is search.LogUniform)
            size = 0.0 if kind is search.LogUniform else max(abs(low), abs(high))
            assert value == pytest.approx(exact, rel=1e-11, abs=1e-15 * size)


def quantile_by_decimals(low, high, share, logarithmic):
    """Return the value with 40 digits."""
    with decimal.localcontext(prec=40):
        low, high, share = map(decimal.Decimal, map(float, (low, high, share)))
        if not logarithmic:
            return float(low + share * (high - low))
        return float((low.ln() + share * (high.ln() - low.ln())).exp())


def test_integers_have_both_ends():
    for low, high in ((0, 0), (-3, 4), (2**40, 2**40 + 6)):
        whole = search.Integers(low, high)
        assert whole.values(2) == (low, high)
        assert whole.values(whole.count) == tuple(range(low, high + 1))
        assert whole.quantile(0.0) == low
        assert whole.quantile(np.nextafter(1.0, 0.0)) == high


def test_a_grid_has_every_combination():
    space = {"a": search.LogUniform(1e-2, 1.0), "b": search.Integers(1, 2)}
    settings = grid_settings(space, 3)
    np.testing.assert_allclose([s["a"] for s in settings], [0.01, 0.01, 0.1, 0.1, 1, 1])
    assert [s["b"] for s in settings] == [1, 2] * 3


@pytest.mark.parametrize("count", [1, 2, 3, 7, 49, 1000])
def test_a_grid_has_all_integers_and_options(count):
    """However many points a range of numbers has."""
    space = {"n": search.Integers(-3, count - 4)}
    assert [s["n"] for s in grid_settings(space, 2)] == list(range(-3, count - 3))
    space = {"c": search.Choice(tuple(map(str, range(count))))}
    assert [s["c"] for s in grid_settings(space, 5)] == list(map(str, range(count)))


def test_values_are_at_equal_steps():
    assert search.Uniform(0.0, 2.0).values(5) == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert search.Integers(2, 10).values(3) == (2, 6, 10)
    assert search.Choice(("a", "b", "c", "d", "e")).values(3) == ("a", "c", "e")
    assert search.Integers(2, 10).values(1) == (2,)


def test_paths_replace_fields():
    model = fnn.Sequential(fnn.Dense(8), fnn.Dropout(0.1), fnn.Dense(2))
    penalty = fnn.regularizers.L2(0.1)
    objective = fnn.supervised(model, fnn.losses.squared_error, regularizer=penalty)
    setting = {
        "optimizer.learning_rate": 0.5,
        "model.layers.1.rate": 0.3,
        "model.layers.0": fnn.Dense(16),
        "regularizer.strength": 0.2,
    }
    assert with_setting((objective, fnn.optimizers.SGD(0.1)), setting) == (
        fnn.supervised(
            fnn.Sequential(fnn.Dense(16), fnn.Dropout(0.3), fnn.Dense(2)),
            fnn.losses.squared_error,
            regularizer=fnn.regularizers.L2(0.2),
        ),
        fnn.optimizers.SGD(0.5),
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("optimizer.rate", r"SGD\(0.1\) has no field 'rate'; its fields are \['learning"),
        ("model.layers.2.rate", "needs a number below 1 in place of '2'"),
        ("rate", "has no field 'rate'; its fields are .'model', 'loss'"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path, message):
    objective = fnn.supervised(fnn.Sequential(fnn.Dense(1)), fnn.losses.squared_error)
    with pytest.raises(ValueError, match=message):
        with_setting((objective, fnn.optimizers.SGD(0.1)), {path: 0.1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: search.Uniform(1.0, 0.0), "low must be below high"),
        (lambda: search.LogUniform(0.0, 1.0), "above 0 for a logarithm"),
        (lambda: search.Integers(0.5, 2), "must be integers"),
        (lambda: search.Choice(()), "options must be a non-empty tuple"),
    ],
)
def test_bad_distributions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_space_holds_distributions():
    with pytest.raises(TypeError, match=r"space\['rate'\] must be a distribution.*got 0.1"):
        random_settings({"rate": 0.1}, 2, jax.random.key(0))
