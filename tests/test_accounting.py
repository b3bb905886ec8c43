"""The price of private training, against closed forms and published values."""

import math

import pytest

from fnn.per_example import calibrate_noise_multiplier, epsilon


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
    ("changes", "message"),
    [
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
