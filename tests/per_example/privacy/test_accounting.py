"""The price of private training, against closed forms and published values."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from fnn.per_example import calibrate_noise_multiplier, epsilon
from fnn.per_example.privacy import composition


def tail(z):
    """Return P(standard normal > z)."""
    return math.erfc(z / math.sqrt(2)) / 2


def gaussian_delta(epsilon, sigma, steps, sensitivity):
    """Return δ of the Gaussian mechanism; Balle & Wang 2018, "Improving the Gaussian
    mechanism for differential privacy", theorem 8; steps add up as 1 / σ².
    """
    s = sigma / math.sqrt(steps) / sensitivity
    mean = 1 / (2 * s)
    return tail(epsilon * s - mean) - math.exp(epsilon) * tail(epsilon * s + mean)


def sampled_delta(epsilon, sigma, rate):
    """Return δ of one sampled step: mixture (1 - q) N(0, σ²) + q N(1, σ²), and N(0, σ²).

    Their ratio grows with the outcome x, so that the worst set is a half-line.
    """

    def cross(value):
        """Return the x at which the ratio takes a value."""
        return sigma**2 * math.log((value - 1 + rate) / rate) + 0.5

    def mixture_tail(x):
        return (1 - rate) * tail(x / sigma) + rate * tail((x - 1) / sigma)

    x = cross(math.exp(epsilon))
    removed = mixture_tail(x) - math.exp(epsilon) * tail(x / sigma)
    if math.exp(-epsilon) <= 1 - rate:
        return removed
    x = cross(math.exp(-epsilon))
    added = tail(-x / sigma) - math.exp(epsilon) * (1 - mixture_tail(x))
    return max(removed, added)


@pytest.mark.parametrize(("relation", "sensitivity"), [("zero_out", 1), ("replace", 2)])
@pytest.mark.parametrize(("sigma", "steps"), [(4.0, 1), (20.0, 25)])
def test_full_batches_are_the_gaussian_mechanism(relation, sensitivity, sigma, steps):
    plan = {"sampling_rate": 1.0, "steps": steps, "relation": relation}
    spent = epsilon(sigma, delta=1e-5, **plan)
    assert gaussian_delta(spent, sigma, steps, sensitivity) <= 1e-5 * (1 + 1e-6)
    assert gaussian_delta(spent - 2e-3, sigma, steps, sensitivity) > 1e-5


@pytest.mark.parametrize(("sigma", "rate"), [(1.0, 0.01), (2.0, 0.3)])
def test_one_sampled_step_is_the_closed_form(sigma, rate):
    spent = epsilon(sigma, sampling_rate=rate, steps=1, delta=1e-4)
    assert sampled_delta(spent, sigma, rate) <= 1e-4 * (1 + 1e-6)
    assert sampled_delta(spent - 2e-3, sigma, rate) > 1e-4


def test_published_budgets_hold():
    """TensorFlow Privacy's tutorial on MNIST: batches of 250, σ = 1.3, 15 epochs, δ = 1e-5,
    ε = 1.19 by Rényi accounting, which is an upper bound.
    """
    spent = epsilon(1.3, sampling_rate=250 / 60_000, steps=15 * 240, delta=1e-5)
    assert 0.6 * 1.19 < spent < 1.19


def test_calibration_keeps_the_budget_and_wastes_none():
    plan = {"sampling_rate": 1.0, "steps": 4, "delta": 1e-5}
    sigma = calibrate_noise_multiplier(0.5, **plan)
    assert gaussian_delta(0.5, sigma, 4, 1) <= 1e-5
    assert gaussian_delta(0.5, sigma * 0.998, 4, 1) > 1e-5
    # With probability 1 - 1e-6 the example is not even looked at.
    plan = {"sampling_rate": 1e-6, "steps": 1, "delta": 1e-5}
    assert calibrate_noise_multiplier(0.5, **plan) == 0.125


@pytest.mark.parametrize(
    ("sigma", "steps", "delta"),
    [
        (0.5, 1000, 1e-5),
        (0.125, 10**6, 1e-5),
        (1e6, 1, 1e-8),
        (4.0, 1, 1e-15),
        (10.0, 100, 1e-100),
        (1000.0, 10**6, 1e-10),
    ],
)
@pytest.mark.parametrize("relation", ["add_or_remove", "replace"])
def test_full_batches_are_closed_form_at_every_edge(sigma, steps, delta, relation):
    """Large, small or many: neither infinite nor slow. Checked by logs of the tails."""
    plan = {"sampling_rate": 1.0, "steps": steps, "relation": relation}
    spent = epsilon(sigma, delta=delta, **plan)
    s = sigma / math.sqrt(steps) / (2 if relation == "replace" else 1)
    assert log_gaussian_delta(spent * (1 + 1e-6) + 1e-11, s) <= math.log(delta)
    if spent > 0:
        assert log_gaussian_delta(spent * (1 - 1e-6) - 1e-11, s) >= math.log(delta)
        assert math.isfinite(spent)


def log_gaussian_delta(epsilon, s):
    """Return log δ of one Gaussian mechanism of sensitivity 1."""
    from scipy.special import log_ndtr

    first, second = (
        log_ndtr(1 / (2 * s) - epsilon * s),
        log_ndtr(-1 / (2 * s) - epsilon * s),
    )
    gap = epsilon + second - first
    return float(first + np.log1p(-np.exp(gap))) if gap < 0 else -math.inf


def convolved(sigma, rate, steps, delta):
    """Return ε by losses on a grid, rounded to the nearest, and added by FFT."""
    x = np.linspace(-12 * sigma - 1, 12 * sigma + 1, 2**16)
    removed = np.log1p(rate * np.expm1((x - 0.5) / sigma**2))
    null = np.exp(-((x / sigma) ** 2) / 2)
    found = []
    for density, losses in ((null * np.exp(removed), removed), (null, -removed)):
        masses = density / density.sum()
        mean = masses @ losses
        width = math.sqrt(masses @ (losses - mean) ** 2) / 64
        cells = np.rint((losses - mean) / width).astype(int)
        length = 2**18
        grid = np.bincount(cells % length, masses, minlength=length)
        total = np.fft.irfft(np.fft.rfft(grid) ** steps, length)
        where = np.fft.fftfreq(length, 1 / length)
        assert total[np.abs(where) > 0.49 * length].sum() < delta / 100  # none wraps
        pairs = where * width + steps * mean, np.maximum(total, 0)
        found.append(least(lambda e, pairs=pairs: hockey_stick(e, *pairs) <= delta))
    return max(found)


def hockey_stick(epsilon, losses, masses):
    above = losses > epsilon
    return masses[above] @ -np.expm1(epsilon - losses[above])


def least(holds, low=0.0, high=1e3):
    """Return the least ε at which a condition holds, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta"),
    [
        (0.7, 0.2, 30, 1e-6),
        (2.0, 0.1, 1000, 1e-5),
    ],
)
def test_composed_steps_are_those_of_another_composition(sigma, rate, steps, delta):
    """Which rounds to the nearest, so that it errs to either side, but less."""
    other = convolved(sigma, rate, steps, delta)
    spent = epsilon(sigma, sampling_rate=rate, steps=steps, delta=delta)
    assert other * (1 - 1e-4) <= spent <= other * 1.003


def test_much_noise_is_gaussian_in_the_limit():
    """A million steps of σ = 1e6 at rate 1/2: a Gaussian of σ / rate / √steps, almost."""
    plan = {"delta": 1e-5, "steps": 10**6}
    limit = epsilon(2e6 - 1e6, sampling_rate=1.0, **plan | {"steps": 250_000})
    assert limit <= epsilon(1e6, sampling_rate=0.5, **plan) < limit * 1.02


def test_hardly_sampled_steps_are_full_ones():
    """With a rate just below 1, the numerical way meets the closed form from above."""
    for sigma, steps, delta in ((1.0, 1, 1e-5), (30.0, 1000, 1e-10), (1e3, 10**6, 1e-8)):
        plan = composition.Plan(1 - 1e-12, steps, delta, "zero_out")
        found = composition._convolved(sigma, plan, composition.DETAIL)
        exact = epsilon(sigma, sampling_rate=1.0, steps=steps, delta=delta)
        assert exact < found < exact * 1.002


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta"),
    [
        (0.5, 0.9, 1000, 1e-5),
        (0.5, 0.9, 1000, 1e-15),
        (0.125, 0.5, 10**6, 1e-5),
        (1e6, 1e-3, 10**6, 1e-5),
        (1e6, 1e-3, 10**6, 1e-30),
        (0.125, 2.0**-32, 1, 1e-15),
        (1.0, 1e-300, 10, 1e-5),
        (1.0, 1 - 1e-16, 10, 1e-5),
    ],
)
def test_every_edge_is_finite_and_below_full_batches(sigma, rate, steps, delta):
    plan = {"steps": steps, "delta": delta}
    full = epsilon(sigma, sampling_rate=1.0, **plan)
    assert 0 <= epsilon(sigma, sampling_rate=rate, **plan) <= full < math.inf


def test_tiny_delta_goes_on_from_larger_ones():
    """ε grows as δ falls, through the change from convolution to Rényi divergences."""
    plan = {"sampling_rate": 0.01, "steps": 100}
    deltas = (1e-8, 1e-11, 1e-13, 1e-20)
    spent = [epsilon(1.0, delta=delta, **plan) for delta in deltas]
    assert spent == sorted(spent)
    assert spent[-1] < 3 * spent[1]


def truncated_densities(values, rate, size, sigma, x):
    """Return the density of the noisy sum of a batch, `size` of which are kept."""
    weights = {}
    for drawn in itertools.product((0, 1), repeat=len(values)):
        batch = [v for v, d in zip(values, drawn, strict=True) if d]
        p = math.prod(rate if d else 1 - rate for d in drawn)
        kept = list(itertools.combinations(batch, min(size, len(batch))))
        for choice in kept:
            total = sum(choice)
            weights[total] = weights.get(total, 0) + p / len(kept)
    return sum(
        p * np.exp(-(((x - m) / sigma) ** 2) / 2) / sigma / math.sqrt(2 * math.pi)
        for m, p in weights.items()
    )


@pytest.mark.parametrize(
    ("relation", "data", "neighbours"),
    [
        ("add_or_remove", (1, -1, -1), [(-1, -1), (1, -1), (1, -1, -1, -1)]),
        ("replace", (1, -1, -1), [(-1, -1, -1), (1, 1, -1)]),
        ("zero_out", (1, -1, -1), [(0, -1, -1), (1, 0, -1)]),
    ],
)
@pytest.mark.parametrize(("rate", "size"), [(0.4, 1), (0.5, 2)])
def test_truncated_steps_keep_their_budget(relation, data, neighbours, rate, size):
    """All batches enumerated: the budget holds, and that of Poisson sampling does not."""
    sigma, delta = 1.5, 1e-3
    plan = {"sampling_rate": rate, "steps": 1, "delta": delta, "relation": relation}
    spent = epsilon(sigma, examples=len(data), size=size, **plan)
    x = np.linspace(-15, 15, 20_001)
    mine = truncated_densities(data, rate, size, sigma, x)

    def worst(epsilon):
        others = [truncated_densities(d, rate, size, sigma, x) for d in neighbours]
        pairs = [(mine, other) for other in others] + [(other, mine) for other in others]
        excess = [np.maximum(p - math.exp(epsilon) * q, 0) for p, q in pairs]
        return max(map(np.sum, excess)) * (x[1] - x[0])

    assert worst(spent) <= delta
    if relation != "replace" and size == 1:
        assert worst(epsilon(sigma, **plan)) > delta


def test_rare_truncation_costs_what_the_coupling_bound_says():
    """δ + steps τ (1 + e^ε), with the exact τ; and what is set aside is 1 % of δ."""
    plan = {"sampling_rate": 0.05, "steps": 200, "delta": 1e-5}
    bare = epsilon(1.0, **plan)
    size = 110  # of 1,000, of which 50 are drawn on average
    tau = exceeding(1001, Fraction(1, 20), size)
    assert composition.log_overflow(1001, 0.05, size) == pytest.approx(
        math.log(tau), abs=0.02
    )
    added = 200 * float(tau) * (1 + math.exp(bare))
    assert added < 1e-9
    truncated = {"examples": 1000, "size": size}
    assert bare < epsilon(1.0, **truncated, **plan) < bare + 5e-3
    # With a size that is often too small, ε covers it, and grows.
    costs = [epsilon(1.0, examples=1000, size=size, **plan) for size in (80, 60)]
    assert costs == sorted(costs)
    assert costs[-1] > 1.5 * bare
    # As many as there are cannot be too many.
    assert epsilon(1.0, examples=1000, size=1000, **plan) == bare


def exceeding(n, rate, size):
    """Return P(binomial > size), exactly."""
    return sum(
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(size + 1, n + 1)
    )


def test_overflow_is_bounded_from_above_everywhere():
    for n, rate in ((1, Fraction(1, 2)), (40, Fraction(3, 10)), (30, Fraction(9, 10))):
        for size in range(1, n + 1):
            exact = exceeding(n, rate, size)
            bound = composition.log_overflow(n, float(rate), size)
            assert bound >= math.log(exact) - 1e-12 if exact else bound == -math.inf
    assert composition.log_overflow(10, 1.0, 9) == 0
    assert composition.log_overflow(60_000, 1e-9, 50_000) < -1e5  # no underflow


def test_what_has_no_accounting_is_refused():
    plan = {"sampling_rate": 0.05, "steps": 200, "delta": 1e-14}
    with pytest.raises(ValueError, match=r"size=60 of 1000 examples .* size=") as caught:
        epsilon(1.0, examples=1000, size=60, **plan)
    enough = int(str(caught.value).split("choose size=")[1].split(",")[0])
    assert 100 < enough < 150
    assert epsilon(1.0, examples=1000, size=enough, **plan) > 0
    with pytest.raises(ValueError, match="choose size="):
        calibrate_noise_multiplier(1.0, examples=1000, size=60, **plan)
    with pytest.raises(ValueError, match="at least 1e-12 for relation='replace'"):
        epsilon(1.0, relation="replace", **plan)


def test_what_has_no_finite_budget_says_so(monkeypatch):
    monkeypatch.setattr(composition, "spent", lambda *_: math.inf)
    with pytest.raises(ValueError, match="no finite epsilon can be computed for noise_mul"):
        epsilon(1.0, sampling_rate=0.1, steps=10, delta=1e-5)


def test_calibration_covers_truncation():
    plan = {"sampling_rate": 0.2, "steps": 2, "delta": 1e-4}  # short, as σ is searched
    truncated = plan | {"examples": 20, "size": 5}
    sigma = calibrate_noise_multiplier(2.0, **truncated)
    assert 1.99 < epsilon(sigma, **truncated) <= 2
    assert epsilon(sigma, **plan) < 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta": 0.0}, "delta must be above 0: with Gaussian noise"),
        ({"examples": 10}, "examples and size go together.*examples=10, size=None"),
        ({"size": 10}, "examples and size go together"),
        ({"examples": 10, "size": 0}, "size must be a positive integer, got 0"),
        ({"noise_multiplier": 0.0}, r"noise_multiplier must be in \[0.125, "),
        ({"sampling_rate": 1.5}, r"sampling_rate must be in \[0, 1\], got 1.5"),
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"delta": -0.1}, r"delta must be in \[0, 1\]"),
        ({"relation": "swap"}, "relation must be one of"),
    ],
)
def test_bad_input(changes, message):
    plan = {"noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 1, "delta": 1e-5}
    with pytest.raises(ValueError, match=message):
        epsilon(**(plan | changes))


def test_budgets_out_of_range():
    with pytest.raises(ValueError, match=r"epsilon must be in \[0.001, 100.0\], got 0"):
        calibrate_noise_multiplier(0, sampling_rate=0.1, steps=1, delta=1e-5)


def test_the_extra_is_named_where_it_lacks(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting", None)
    with pytest.raises(ImportError) as caught:
        epsilon(1.0, sampling_rate=0.1, steps=1, delta=1e-5)
    assert "fnn[privacy]" in caught.value.__notes__[0]
