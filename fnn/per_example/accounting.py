"""What private training costs in privacy, by the package dp-accounting."""

from typing import Any

from fnn import checks
from fnn.per_example.clipping import RELATIONS

# Below, the numerical composition takes minutes, and nothing worth the name is private.
LEAST_MULTIPLIER = 0.125
EPSILONS = (1e-3, 100.0)
TOLERANCE = 1e-4
# The steps in which dp-accounting holds a distribution of privacy losses.
COARSE, FINE = 1e-2, 1e-4


def epsilon(
    noise_multiplier: float,
    *,
    sampling_rate: float,
    steps: int,
    delta: float,
    relation: str = "add_or_remove",
) -> float:
    """Return the ε of the (ε, δ)-differential privacy of training with noisy gradients.

    For any neighbouring data sets D and D', and any set S of outcomes, which here are all
    the parameters that were passed through,

        P(outcome of D in S) ≤ e^ε P(outcome of D' in S) + δ.

    Each step is a Gaussian mechanism on a batch that `fnn.data.poisson_sample` has drawn.
    Their privacy loss distributions are composed numerically, rounded upwards.

    Source: Koskela et al. 2020, "Computing tight differential privacy guarantees using
    FFT"; Doroshenko et al. 2022, "Connect the dots: tighter discrete approximations of
    privacy loss distributions".

    Args:
        noise_multiplier: σ, as `private_gradient` takes it, at least 1/8.
        sampling_rate: The probability with which an example is in a batch; 1 where each
            step sees all.
        steps: How many gradients were taken.
        delta: δ, from 0 to 1, and much smaller than one over the number of examples.
        relation: Which data sets are neighbours: `"add_or_remove"`, `"replace"` or
            `"zero_out"`; see `private_gradient`.

    Raises:
        ImportError: If dp-accounting, the extra `privacy`, is not installed.
        ValueError: If a number is out of range, or the relation is none of these.

    Example:
        >>> plan = {"sampling_rate": 256 / 60_000, "steps": 14_040, "delta": 1e-5}
        >>> print(f"{fnn.per_example.epsilon(1.12, **plan):.2f}")
        2.31
    """
    checks.between("noise_multiplier", noise_multiplier, LEAST_MULTIPLIER, 1e6)
    _check(sampling_rate, steps, delta, relation)
    return _epsilon(noise_multiplier, sampling_rate, steps, delta, relation, FINE)


def calibrate_noise_multiplier(
    epsilon: float,
    *,
    sampling_rate: float,
    steps: int,
    delta: float,
    relation: str = "add_or_remove",
) -> float:
    """Return the least noise multiplier σ with which training keeps a budget ε.

    Args:
        epsilon: ε, from 0.001 to 100.
        sampling_rate: As for `epsilon`, like those below.
        steps: How many gradients will be taken.
        delta: δ.
        relation: Which data sets are neighbours.

    Returns:
        σ, at most 1e-4 of itself above the least, and not below 1/8.

    Raises:
        ImportError: If dp-accounting, the extra `privacy`, is not installed.
        ValueError: If a number is out of range, or the relation is none of these.

    Example:
        >>> plan = {"sampling_rate": 1.0, "steps": 100, "delta": 1e-5}
        >>> noise_multiplier = fnn.per_example.calibrate_noise_multiplier(0.5, **plan)
        >>> print(f"{fnn.per_example.epsilon(noise_multiplier, **plan):.3f}")
        0.500
    """
    checks.between("epsilon", epsilon, *EPSILONS)
    _check(sampling_rate, steps, delta, relation)
    import dp_accounting

    def spent(noise_multiplier: float, interval: float) -> float:
        plan = sampling_rate, steps, delta, relation
        return _epsilon(noise_multiplier, *plan, interval)

    # Coarsely, which never spends less, one finds quickly where to search.
    high = 1.0
    while spent(high, COARSE) > epsilon:
        high *= 2
    for interval in (COARSE, FINE):
        while high > LEAST_MULTIPLIER and spent(high / 2, interval) <= epsilon:
            high /= 2
    if high == LEAST_MULTIPLIER:
        return high
    return float(
        dp_accounting.calibrate_dp_mechanism(
            lambda: _accountant(relation, FINE),
            lambda noise_multiplier: _event(noise_multiplier, sampling_rate, steps),
            epsilon,
            delta,
            dp_accounting.ExplicitBracketInterval(high / 2, high),
            tol=TOLERANCE * high / 2,
        )
    )


def _epsilon(
    noise_multiplier: float,
    sampling_rate: float,
    steps: int,
    delta: float,
    relation: str,
    interval: float,
) -> float:
    accountant = _accountant(relation, interval)
    accountant.compose(_event(noise_multiplier, sampling_rate, steps))
    return float(accountant.get_epsilon(delta))


def _accountant(relation: str, interval: float) -> Any:
    import dp_accounting

    relations = dp_accounting.NeighboringRelation
    neighbours = {
        "add_or_remove": relations.ADD_OR_REMOVE_ONE,
        "replace": relations.REPLACE_ONE,
        "zero_out": relations.REPLACE_SPECIAL,
    }
    return dp_accounting.pld.PLDAccountant(neighbours[relation], interval)


def _event(noise_multiplier: float, sampling_rate: float, steps: int) -> Any:
    """Return what dp-accounting calls the steps."""
    import dp_accounting

    step: Any = dp_accounting.GaussianDpEvent(noise_multiplier)
    if sampling_rate < 1:
        step = dp_accounting.PoissonSampledDpEvent(sampling_rate, step)
    return dp_accounting.SelfComposedDpEvent(step, steps)


def _check(sampling_rate: float, steps: int, delta: float, relation: str) -> None:
    checks.between("sampling_rate", sampling_rate, 0, 1)
    checks.positive_integer("steps", steps)
    checks.between("delta", delta, 0, 1)
    checks.one_of("relation", relation, RELATIONS)
    try:
        import dp_accounting  # noqa: F401
    except ImportError as error:
        error.add_note("accounting needs dp-accounting: pip install 'fnn[privacy]'")
        raise
