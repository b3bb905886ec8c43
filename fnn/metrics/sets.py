"""The error of a set's metric that is given one example."""

from typing import Any

from fnn import checks


def of_a_set(name: str, output: Any, target: Any, instead: str) -> ValueError:
    """Return the error of a metric that was given the output and target of one example."""
    return ValueError(
        f"{name} is a metric of a whole set, not a mean over examples; it "
        f"was given one example, {checks.describe(output)} and {checks.describe(target)}. "
        f"Call it once on fnn.predict's result for all examples; as a metric of fit or "
        f"evaluate, use one for an example, such as {instead}"
    )
