"""The ε that private training spends, and the least noise that keeps within a budget."""

import math

from fnn import checks
from fnn.per_example.privacy import composition
from fnn.per_example.privacy.clipping import RELATIONS
from fnn.per_example.privacy.composition import Plan

# With less noise, ε is of no use: a single full batch spends 65 at δ = 1e-5. With more,
# float64 has too few digits.
LEAST_MULTIPLIER, LARGEST_MULTIPLIER = 0.125, 1e6
EPSILONS = (1e-3, 100.0)
TOLERANCE = 1e-4
# A coarse accountant, with fewer intervals than `composition.DETAIL`, overestimates ε: it
# brackets the search cheaply.
COARSE = 4


def epsilon(
    noise_multiplier: float,
    *,
    sampling_rate: float,
    steps: int,
    delta: float,
    relation: str = "add_or_remove",
    examples: int | None = None,
    size: int | None = None,
) -> float:
    """Return the ε of the (ε, δ)-differential privacy of training with noisy gradients.

    For any neighbouring data sets D and D', and any set S of outcomes, an outcome being the
    parameters after all steps,

        P(outcome of D in S) ≤ e^ε P(outcome of D' in S) + δ.

    Each step is a Gaussian mechanism on a batch drawn by `fnn.data.poisson_sample`. The
    result is never below the true ε. With a sampling rate of 1 it is exact, by the closed
    form of one Gaussian mechanism with σ / √steps. Otherwise the distributions of privacy
    losses are composed numerically, rounded upwards: about three digits are right. Rounding
    limits that to δ of at least 1e-12 and 1e-15 · steps. For a smaller δ, ε comes from
    Rényi divergences, and is typically larger by a tenth.

    **Truncation.** If `poisson_sample` draws more than `size` examples, it leaves some out.
    That is not Poisson sampling, and costs privacy. Pass `examples` and `size`, and ε
    covers it: with τ = P(more than `size` of `examples` are drawn), truncation adds at
    most steps · τ · (1 + e^ε) to δ. One percent of δ is set aside for it. If that does not
    suffice, truncation is part of the privacy losses. With the default of
    `fnn.data.poisson_size`, τ is at most 1e-12. Without `size`, ε is for batches of all
    examples that were drawn.

    Source: Balle and Wang 2018, "Improving the Gaussian mechanism for differential
    privacy"; Koskela et al. 2020, "Computing tight differential privacy guarantees using
    FFT"; Doroshenko et al. 2022, "Connect the dots: tighter discrete approximations of
    privacy loss distributions"; Ganesh 2025, "Tighter privacy analysis for truncated
    Poisson sampling".

    Args:
        noise_multiplier: σ, as `private_gradient` takes it, at least 1/8.
        sampling_rate: The probability with which an example is in a batch; 1 if each step
            uses all examples.
        steps: The number of gradients.
        delta: δ, above 0 and at most 1, and much smaller than one over the number of
            examples.
        relation: Which data sets are neighbours: `"add_or_remove"`, `"replace"` or
            `"zero_out"`; see `private_gradient`.
        examples: The number of training examples, if batches have a fixed `size`.
        size: The length of the batches, as `poisson_sample` takes it. A batch that has
            room for all training examples is never truncated.

    Raises:
        ImportError: If dp-accounting, the extra `privacy`, is not installed.
        ValueError: If a number is out of range, the relation is unknown, one of `examples`
            and `size` is given without the other, or δ is too small to account for the
            truncation or for `relation="replace"`.

    Example:
        >>> plan = {"sampling_rate": 256 / 60_000, "steps": 14_040, "delta": 1e-5}
        >>> print(f"{fnn.per_example.epsilon(1.12, **plan):.2f}")
        2.31
        >>> truncated = plan | {"examples": 60_000, "size": 300}
        >>> print(f"{fnn.per_example.epsilon(1.12, **truncated):.2f}")
        3.27
    """
    low, high = LEAST_MULTIPLIER, LARGEST_MULTIPLIER
    checks.between("noise_multiplier", noise_multiplier, low, high)
    plan = _plan(sampling_rate, steps, delta, relation, examples, size)
    spent = composition.spent(noise_multiplier, plan)
    if spent == math.inf:
        whole = composition.spent(noise_multiplier, plan._replace(examples=None, size=None))
        reason = composition.uncovered(plan, whole)
        raise ValueError(
            reason
            or f"no finite epsilon can be computed for noise_multiplier="
            f"{noise_multiplier}, {steps} steps and delta={delta}; raise one of the numbers"
        )
    return spent


def calibrate_noise_multiplier(
    epsilon: float,
    *,
    sampling_rate: float,
    steps: int,
    delta: float,
    relation: str = "add_or_remove",
    examples: int | None = None,
    size: int | None = None,
) -> float:
    """Return the least noise multiplier σ with which training spends at most ε.

    Args:
        epsilon: ε, from 0.001 to 100.
        sampling_rate: As for `epsilon`, like those below.
        steps: The number of gradients.
        delta: δ.
        relation: Which data sets are neighbours.
        examples: The number of training examples, if batches have a fixed `size`.
        size: The length of the batches.

    Returns:
        σ, whose `epsilon` is at most ε. It exceeds the least such σ by at most a
        ten-thousandth, and is at least 1/8.

    Raises:
        ImportError: If dp-accounting, the extra `privacy`, is not installed.
        ValueError: As for `epsilon`, and if no σ up to 1e6 keeps within the budget.

    Example:
        >>> plan = {"sampling_rate": 1.0, "steps": 100, "delta": 1e-5}
        >>> noise_multiplier = fnn.per_example.calibrate_noise_multiplier(0.5, **plan)
        >>> print(f"{fnn.per_example.epsilon(noise_multiplier, **plan):.3f}")
        0.500
    """
    checks.between("epsilon", epsilon, *EPSILONS)
    plan = _plan(sampling_rate, steps, delta, relation, examples, size)
    if reason := composition.uncovered(plan, epsilon):
        raise ValueError(reason)
    if sampling_rate == 1 and not plan.truncated:
        least = composition.least_gaussian(epsilon, plan) * (1 + 1e-9)
        return max(least, LEAST_MULTIPLIER)
    return _search(epsilon, plan)


def _search(epsilon: float, plan: Plan) -> float:
    """Return the least σ within a budget, by bisection and secants on log σ."""
    from scipy import optimize

    high = 1.0
    while composition.spent(high, plan, COARSE) > epsilon:
        high *= 2
        if high > LARGEST_MULTIPLIER:
            raise ValueError(
                f"no noise multiplier up to {LARGEST_MULTIPLIER:.0e} keeps "
                f"epsilon={epsilon} with {plan}"
            )
    for detail in (COARSE, composition.DETAIL):
        while high > LEAST_MULTIPLIER and composition.spent(high / 2, plan, detail) <= (
            epsilon
        ):
            high /= 2
    if high == LEAST_MULTIPLIER:
        return high

    def excess(log_multiplier: float) -> float:
        spent = composition.spent(math.exp(log_multiplier), plan)
        return math.log(min(max(spent / epsilon, 1e-3), 1e3))

    bracket = math.log(high / 2), math.log(high)
    root = optimize.brentq(excess, *bracket, xtol=TOLERANCE / 4, rtol=1e-15)
    found = math.exp(root)
    while composition.spent(found, plan) > epsilon:
        found *= 1 + TOLERANCE / 4
    return found


def _plan(
    sampling_rate: float,
    steps: int,
    delta: float,
    relation: str,
    examples: int | None,
    size: int | None,
) -> Plan:
    checks.between("sampling_rate", sampling_rate, 0, 1)
    checks.positive_integer("steps", steps)
    checks.between("delta", delta, 0, 1)
    if delta == 0:
        raise ValueError(
            "delta must be above 0: with Gaussian noise, no finite epsilon has delta=0"
        )
    checks.one_of("relation", relation, RELATIONS)
    for name, value in (("examples", examples), ("size", size)):
        if value is not None:
            checks.positive_integer(name, value)
    if (examples is None) != (size is None):
        raise ValueError(
            f"examples and size go together, to account for batches that are truncated; "
            f"got examples={examples}, size={size}"
        )
    try:
        import dp_accounting  # noqa: F401
    except ImportError as error:
        error.add_note("accounting needs dp-accounting: pip install 'fnn[privacy]'")
        raise
    return Plan(sampling_rate, steps, delta, relation, examples, size)
