"""Race the optimizers over surfaces that are hard for gradient descent.

    python examples/optimizers.py

A long bowl, a curved valley (Rosenbrock), a plateau, a saddle point, local minima, and
Beale's function, which has some of each. All optimizers start at the same point, with the
rate of a grid that keeps them lowest on average, and take 150 steps. Draws their paths
into the folder `outputs`.
"""

import argparse
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt

import fnn
from fnn.optimizers import SGD, Adagrad, Adam, Momentum, Nadam, Nesterov, RMSProp

RATES = jnp.geomspace(1e-4, 0.2, 30)
OPTIMIZERS: tuple[Any, ...] = (SGD, Momentum, Nesterov, Adagrad, RMSProp, Adam, Nadam)
Point: TypeAlias = tuple[float, float]


class Surface(NamedTuple):
    """A function of w = (x, y); where to start, a minimum, and the corners to draw."""

    function: Callable[[jax.Array], jax.Array]
    points: tuple[Point, Point, Point, Point]


def beale(w: jax.Array) -> jax.Array:
    """Join a flat middle, a narrow valley and steep corners."""
    x, y = w
    parts = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return jnp.sum(jnp.square(jnp.array(parts)))


SURFACES = {
    "long bowl": Surface(
        lambda w: w[0] ** 2 / 2 + 25 * w[1] ** 2,
        ((-4, 1), (0, 0), (-4.5, -1.5), (1.5, 1.5)),
    ),
    "curved valley": Surface(
        lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2,
        ((-1.2, 1), (1, 1), (-1.6, -0.6), (1.6, 1.6)),
    ),
    "plateau": Surface(
        lambda w: 1 - jnp.exp(-(w @ w) / 2), ((-3.5, 1.5), (0, 0), (-4, -2), (1.5, 2.5))
    ),
    "saddle point": Surface(
        lambda w: w[0] ** 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4,
        ((-1.5, 1e-5), (0, 1), (-1.8, -0.6), (1, 1.6)),
    ),
    "local minima": Surface(
        lambda w: w[0] ** 2 / 10 + w[1] ** 2 / 2 + (1 - jnp.cos(3 * w[0])) / 5,
        ((-5, 1), (0, 0), (-5.8, -2), (2, 2)),
    ),
    "Beale": Surface(beale, ((1, 1.5), (3, 0.5), (-0.5, -1), (4, 2))),
}


def main(steps: int = 150, outputs: str = "outputs") -> dict[str, dict[str, jax.Array]]:
    """Return the paths, (steps + 1, 2), by surface and by optimizer."""
    names = [make.__name__ for make in OPTIMIZERS]
    print(f"{'height at the end':18}" + "".join(f"{name:>10}" for name in names))
    found = {}
    for name, surface in SURFACES.items():
        found[name] = dict(zip(names, race(surface, steps), strict=True))
        ends = [float(surface.function(path[-1])) for path in found[name].values()]
        print(f"{name:18}" + "".join(f"{end:10.1e}" for end in ends))
    draw(found, Path(outputs))
    return found


@functools.partial(jax.jit, static_argnums=(0, 1))
def race(surface: Surface, steps: int) -> list[jax.Array]:
    """Return each optimizer's path at the rate with which it is lowest on average."""
    best = []
    for make in OPTIMIZERS:
        found = jax.vmap(functools.partial(path, surface, make, steps))(RATES)
        heights = jax.vmap(jax.vmap(surface.function))(found)
        best.append(found[jnp.nanargmin(heights.mean(1))])
    return best


def path(surface: Surface, make: Any, steps: int, rate: jax.Array) -> jax.Array:
    """Return the points, (steps + 1, 2), of a descent."""

    def step(carry: Any, _: None) -> Any:
        w, state = carry
        updates, state = make(rate).update(jax.grad(surface.function)(w), state, w)
        return (fnn.optimizers.apply_updates(w, updates), state), w

    w = jnp.array(surface.points[0], jnp.float32)
    return jax.lax.scan(step, (w, make(rate).init(w)), length=steps + 1)[1]


def draw(found: Mapping[str, Mapping[str, jax.Array]], folder: Path) -> None:
    """Draw the paths over the contours of each surface."""
    folder.mkdir(parents=True, exist_ok=True)
    with fnn.plots.theme("light"):
        figure, panels = plt.subplots(2, 3, figsize=(10, 6.4))
        for axes, (name, by_optimizer) in zip(panels.flat, found.items(), strict=False):
            function, (start, minimum, low, high) = SURFACES[name]
            fnn.plots.paths(
                function, by_optimizer, low=low, high=high, minimum=minimum, axes=axes
            )
            axes.plot(*start, "ks")
            axes.set(title=name, xlabel="", ylabel="")
            axes.get_legend().remove()
        lines, names = axes.get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=len(names))
        figure.savefig(folder / "optimizers.png", dpi=110)
        plt.close(figure)
    print(f"wrote {folder / 'optimizers.png'}")


if __name__ == "__main__":
    mpl.use("agg")  # pictures go to files, so no screen is needed
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--outputs", default="outputs", help="folder for the picture")
    main(outputs=parser.parse_args().outputs)
