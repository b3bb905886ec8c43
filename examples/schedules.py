"""Every learning-rate schedule in one picture.

    python examples/schedules.py

Left, rates that decay, as functions of the step. Right, rates that rise first or come in
pieces, and two rules that look at the loss, which falls here and stays from step 40 on,
but for every tenth step, where it rises: one lowers the rate on the plateau, the other
raises it as the loss falls and halves it as it rises. Draws them into the folder `outputs`.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt

import fnn
from fnn import schedules

STEPS = 100
DECAYS: dict[str, fnn.types.Schedule] = {
    "Constant": schedules.Constant(0.1),
    "InverseTimeDecay": schedules.InverseTimeDecay(0.1, decay=0.05),
    "StepDecay": schedules.StepDecay(0.1, factor=0.5, period=25),
    "ExponentialDecay": schedules.ExponentialDecay(0.1, factor=0.97),
    "PolynomialDecay": schedules.PolynomialDecay(0.1, steps=STEPS),
    "CosineDecay": schedules.CosineDecay(0.1, steps=STEPS),
}
OTHERS: dict[str, fnn.types.Schedule] = {
    "Warmup, CosineDecay": schedules.Warmup(schedules.CosineDecay(0.1, STEPS - 20), 20),
    "OneCycle": schedules.OneCycle(0.1, steps=STEPS),
    "Piecewise": schedules.Piecewise((30, 70), (0.05, 0.1, 0.02)),
}
RULES = {
    "ReduceOnPlateau": schedules.ReduceOnPlateau(factor=0.5, patience=15),
    "BoldDriver": schedules.BoldDriver(growth=1.05, shrink=0.5),
}


def main(outputs: str = "outputs") -> dict[str, jax.Array]:
    """Return the rates that each schedule has over the steps, (100,)."""
    followed = {name: following(rule) for name, rule in RULES.items()}
    folder = Path(outputs)
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
        fnn.plots.schedules(DECAYS, STEPS, axes=left)
        fnn.plots.schedules(OTHERS | followed, STEPS, axes=right)
        figure.savefig(folder / "schedules.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'schedules.png'}")
    everything = DECAYS | OTHERS | followed
    return {name: jax.vmap(f)(jnp.arange(STEPS)) for name, f in everything.items()}


def loss(step: jax.Array) -> jax.Array:
    """Fall to a plateau at step 40, and rise in every tenth step."""
    return jnp.where(step % 10 == 9, 0.1, 0.0) + jnp.maximum(1 - step / 40, 0)


def following(rule: Any) -> fnn.types.Schedule:
    """Return the rate that a rule has when it sees that loss, as a schedule."""

    def advance(state: Any, step: jax.Array) -> Any:
        return rule.update(state, loss(step))

    _, scales = jax.lax.scan(advance, rule.init(), jnp.arange(STEPS))
    return lambda step: 0.1 * scales[step]


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
