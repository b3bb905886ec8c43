"""Upper bounds of the ε of many noisy steps: a closed form, and two numerical bounds."""

import bisect
import math
from typing import Any, NamedTuple

import numpy as np

# The most intervals of privacy losses, in one step, and in the sum of all steps.
STEP_POINTS, SUM_POINTS = 2**15, 2**19
# Intervals in one deviation of a step's privacy loss: enough for three digits or more.
DETAIL = 32
# dp-accounting truncates a mass of 1e-15; its Fourier transforms err by about 1e-17 a step.
LEAST_DELTA, ROUNDING = 1e-12, 1e-16
# The share of δ that is set aside for truncation. If it suffices, nothing else is needed.
SHARE = 0.01
# A higher sampling rate costs more privacy, so smaller rates are rounded up to these.
# Divergences below about (rate / σ)² would be lost in rounding.
LEAST_RATE, LEAST_RATE_OVER_SIGMA = 2.0**-32, 1e-6
ORDERS = np.unique(np.geomspace(2, 4096, 64).astype(int))


class Plan(NamedTuple):
    """The steps of training and their δ; see `accounting.epsilon`."""

    sampling_rate: float
    steps: int
    delta: float
    relation: str
    examples: int | None = None
    size: int | None = None

    @property
    def largest(self) -> int:
        """Return the number of examples in the larger of the neighbours."""
        return (self.examples or 0) + (self.relation == "add_or_remove")

    @property
    def truncated(self) -> bool:
        """Return whether more examples may be drawn than a batch has room for."""
        return self.size is not None and self.size < (self.examples or 0)

    @property
    def least_delta(self) -> float:
        """Return the δ below which rounding spoils the numerical composition."""
        return max(LEAST_DELTA, 10 * ROUNDING * self.steps)


def spent(noise_multiplier: float, plan: Plan, detail: float = DETAIL) -> float:
    """Return the least upper bound of ε; infinity if `uncovered` returns a reason."""
    if plan.sampling_rate == 0:
        return 0.0
    if not plan.truncated:
        return _sampled(noise_multiplier, plan, detail)
    reduced = plan._replace(delta=(1 - SHARE) * plan.delta)
    value = _sampled(noise_multiplier, reduced, detail)
    if _log_truncation(plan, value) <= math.log(SHARE * plan.delta):
        return value
    if plan.delta < plan.least_delta:
        return math.inf
    return _convolved(noise_multiplier, plan, detail)


def uncovered(plan: Plan, epsilon: float) -> str:
    """Return why truncated batches can't keep within a budget (ε, δ), or ""."""
    if not plan.truncated or plan.delta >= plan.least_delta:
        return ""
    target = math.log(SHARE * plan.delta)
    added = _log_truncation(plan, epsilon)
    if added <= target:
        return ""
    enough = bisect.bisect_left(
        range(plan.largest),
        -target,
        key=lambda size: -_log_truncation(plan._replace(size=size), epsilon),
    )
    return (
        f"with size={plan.size} of {plan.examples} examples at sampling_rate="
        f"{plan.sampling_rate:.4g}, truncation over {plan.steps} steps alone adds about "
        f"{math.exp(min(added, 0)):.1e} to delta, which is {plan.delta}; choose "
        f"size={enough}, or a delta of at least {plan.least_delta:.0e}"
    )


def log_overflow(examples: int, rate: float, size: int) -> float:
    """Return an upper bound of log P(more than m of n are drawn), tight above the mean.

    The terms P(m + 1), P(m + 2), ... of the binomial distribution fall faster than a
    geometric series of ratio r = P(m + 2) / P(m + 1).
    """
    n, k = examples, size + 1
    if k > n:
        return -math.inf
    if rate == 1:
        return 0.0
    ratio = (n - k) * rate / ((k + 1) * (1 - rate))
    if ratio >= 1:
        return 0.0
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    first = ways + k * math.log(rate) + (n - k) * math.log1p(-rate)
    return min(first - math.log1p(-ratio), 0.0)


def _log_truncation(plan: Plan, epsilon: float) -> float:
    """Return log(steps · P(overflow) · (1 + e^ε)), which truncation adds to δ at most.

    If no batch overflows, the steps are those of Poisson sampling. For either of two
    neighbours, the probability that one overflows is at most steps · P(overflow).
    """
    assert plan.size is not None
    each = log_overflow(plan.largest, plan.sampling_rate, plan.size)
    return float(math.log(plan.steps) + each + np.logaddexp(0, epsilon))


def _sampled(noise_multiplier: float, plan: Plan, detail: float) -> float:
    """Return ε for batches that hold all examples that were drawn."""
    whole = _gaussian(noise_multiplier, plan)
    if plan.sampling_rate == 1 or whole == 0:
        return whole
    if plan.delta >= plan.least_delta:
        untruncated = plan._replace(examples=None, size=None)
        return min(whole, _convolved(noise_multiplier, untruncated, detail))
    if plan.relation == "replace":
        raise ValueError(
            f"delta must be at least {plan.least_delta:.0e} for relation='replace', "
            f"{plan.steps} steps and sampling_rate below 1, got {plan.delta}"
        )
    return min(whole, _renyi(noise_multiplier, plan))


def _gaussian(noise_multiplier: float, plan: Plan) -> float:
    """Return ε of full batches: T steps are one Gaussian mechanism of σ / √T.

    It is an upper bound for sampled batches too, as sampling can only lower ε.

    Source: Balle and Wang 2018, "Improving the Gaussian mechanism for differential
    privacy", theorem 8.
    """
    from dp_accounting import gaussian_mechanism

    sensitivity = 2 if plan.relation == "replace" else 1
    sigma = noise_multiplier / sensitivity / math.sqrt(plan.steps)
    with np.errstate(divide="ignore"):  # the log of a δ that is 0
        return float(gaussian_mechanism.get_epsilon_gaussian(sigma, plan.delta))


def least_gaussian(epsilon: float, plan: Plan) -> float:
    """Return the least noise multiplier of full batches."""
    from dp_accounting import gaussian_mechanism

    sensitivity = 2 if plan.relation == "replace" else 1
    sigma = gaussian_mechanism.get_sigma_gaussian(epsilon, plan.delta)
    return float(sigma * sensitivity * math.sqrt(plan.steps))


def _renyi(noise_multiplier: float, plan: Plan) -> float:
    """Return ε by Rényi divergences, which are accurate for small δ too.

    Source: Mironov et al. 2019, "Rényi differential privacy of the sampled Gaussian
    mechanism".
    """
    import dp_accounting

    accountant = dp_accounting.rdp.RdpAccountant(ORDERS, _relation(plan))
    step = dp_accounting.GaussianDpEvent(noise_multiplier)
    rate = max(plan.sampling_rate, LEAST_RATE_OVER_SIGMA * noise_multiplier)
    step = dp_accounting.PoissonSampledDpEvent(min(rate, 1.0), step)
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, plan.steps))
    return float(accountant.get_epsilon(plan.delta))


def _convolved(noise_multiplier: float, plan: Plan, detail: float) -> float:
    """Return ε by convolving the distribution of privacy losses, rounded upwards.

    Source: Koskela et al. 2020, "Computing tight differential privacy guarantees using
    FFT"; Doroshenko et al. 2022, "Connect the dots: tighter discrete approximations of
    privacy loss distributions"; Ganesh 2025, "Tighter privacy analysis for truncated
    Poisson sampling".
    """
    from dp_accounting.pld import privacy_loss_distribution as losses

    options: dict[str, Any] = {
        "value_discretization_interval": _interval(noise_multiplier, plan, detail),
        "neighboring_relation": _relation(plan),
    }
    if plan.size is None:
        step = losses.from_gaussian_mechanism(
            noise_multiplier, sampling_prob=_rate(plan), **options
        )
    else:
        step = losses.from_truncated_subsampled_gaussian_mechanism(
            plan.largest, _rate(plan), plan.size, noise_multiplier, **options
        )
    # The mixture with itself is the same distribution in dense form. The sparse form takes
    # seconds to find out that it should be dense.
    whole = step.compute_mixture(step, 0.5).self_compose(plan.steps)
    return float(whole.get_epsilon_for_delta(plan.delta - ROUNDING * plan.steps))


def _interval(noise_multiplier: float, plan: Plan, detail: float) -> float:
    """Return the finest affordable interval of privacy losses.

    Any interval gives an upper bound, since losses are rounded upwards.
    """
    replaced = plan.relation == "replace"
    rate = _rate(plan)
    shapes = [(1.0, *_losses(noise_multiplier, min(rate, 1 - 1e-9), replaced))]
    if plan.size is not None:
        share = math.exp(log_overflow(plan.largest - 1, rate, plan.size - 1))
        if rate == 1:
            rate = plan.size / plan.largest
        shapes.append((share, *_losses(noise_multiplier / 2, rate, True)))
    masses = np.concatenate([share * mass for share, mass, _ in shapes])
    losses = np.concatenate([loss for _, _, loss in shapes])
    masses /= np.sum(masses)
    deviation = math.sqrt(np.sum(masses * (losses - np.sum(masses * losses)) ** 2))
    width = float(np.ptp(losses))
    # The range of the sum that dp-accounting keeps, by Chernoff's bound.
    orders = np.arange(1, 21) / width
    tail = math.log(2 / 1e-15)
    low, high = (
        np.min((plan.steps * _log_moments(masses, sign * losses, orders) + tail) / orders)
        for sign in (-1, 1)
    )
    finest = max(deviation / DETAIL, width / STEP_POINTS, (low + high) / SUM_POINTS)
    return finest * DETAIL / detail


def _losses(sigma: float, rate: float, replaced: bool) -> tuple[Any, Any]:
    """Return the masses and the privacy losses of one step on a grid of outcomes."""
    x = np.linspace(-10 * sigma - 1, 10 * sigma + 1, 4097)
    removed = np.log1p(rate * np.expm1((x - 0.5) / sigma**2))
    losses = removed - np.flip(removed) if replaced else removed
    masses = np.exp(removed - x**2 / (2 * sigma**2))
    return masses / np.sum(masses), losses


def _log_moments(masses: Any, losses: Any, orders: Any) -> Any:
    """Return log Σ mass · exp(order · loss) for each order."""
    exponents = orders[:, None] * losses + np.log(np.maximum(masses, 1e-300))
    top = np.max(exponents, 1, keepdims=True)
    return top[:, 0] + np.log(np.sum(np.exp(exponents - top), 1))


def _rate(plan: Plan) -> float:
    return max(plan.sampling_rate, LEAST_RATE)


def _relation(plan: Plan) -> Any:
    import dp_accounting

    relations = dp_accounting.NeighboringRelation
    return {
        "add_or_remove": relations.ADD_OR_REMOVE_ONE,
        "replace": relations.REPLACE_ONE,
        "zero_out": relations.REPLACE_SPECIAL,
    }[plan.relation]
