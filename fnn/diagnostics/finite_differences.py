"""The gradient of a loss against differences of its values, in float64."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, tree
from fnn.tables import rich_table, text_table
from fnn.types import Array, Key, NDArray, PyTree

HEADER = ("parameter", "shape", "verdict", "directions", "coordinates", "kinks")
# Rounding error of the loss, in units in the last place.
ROUNDING = 100 * np.finfo(np.float64).eps


class LeafCheck(NamedTuple):
    """One parameter: its path and shape, and the largest relative error of its gradient.

    `directions` is the error of derivatives along random directions, `coordinates` the
    error of single elements; NaN if none was tried. `kinks` counts derivatives at a kink.
    """

    path: str
    shape: tuple[int, ...]
    directions: float
    coordinates: float
    kinks: int

    @property
    def error(self) -> float:
        """Return the larger of the two errors."""
        return float(np.fmax(self.directions, self.coordinates))


class GradientCheck(NamedTuple):
    """The result of `gradient_check`: a row for each parameter; prints as a table."""

    rows: tuple[LeafCheck, ...]
    tolerance: float

    @property
    def worst(self) -> str:
        """Return the path of the parameter with the largest error."""
        return max(self.rows, key=lambda row: row.error).path

    @property
    def largest(self) -> float:
        """Return the largest error."""
        return max(row.error for row in self.rows)

    @property
    def passed(self) -> bool:
        """Return whether no error exceeds the tolerance."""
        return self.largest <= self.tolerance

    def __str__(self) -> str:
        return f"{text_table(HEADER, self._cells(), numbers=3)}\n\n{self._conclusion()}"

    def __rich__(self) -> Any:
        wrong = [row.error > self.tolerance for row in self.rows]
        cells, caption = self._cells(), self._conclusion()
        return rich_table(HEADER, cells, numbers=3, marked=wrong, caption=caption)

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.path,
                f"[{','.join(map(str, row.shape))}]",
                "right" if row.error <= self.tolerance else "wrong",
                "-" if math.isnan(row.directions) else f"{row.directions:.1e}",
                "-" if math.isnan(row.coordinates) else f"{row.coordinates:.1e}",
                str(row.kinks),
            )
            for row in self.rows
        ]

    def _conclusion(self) -> str:
        verdict = "right" if self.passed else "wrong"
        worst = f"the largest error is {self.largest:.1e}, of {self.worst or 'params'}"
        return f"{verdict}: {worst} (tolerance {self.tolerance:.0e})"


def gradient_check(
    loss: Callable[..., Any],
    params: PyTree,
    *arguments: Any,
    key: Key,
    has_aux: bool = False,
    directions: int = 2,
    coordinates: int | None = 8,
    step: float = 1e-6,
    tolerance: float = 1e-5,
) -> GradientCheck:
    """Compare `jax.grad` with (L(θ + h d) - L(θ - h d)) / 2h, in float64.

    Each parameter is moved alone: along random directions d of length 1, which reveal any
    error of its gradient, and along single coordinates.

    At a kink, as of ReLU and max-pooling, the derivative does not exist, and the
    differences to both sides, (L(θ + h d) - L(θ)) / h and (L(θ) - L(θ - h d)) / h, are not
    equal. Any value between them is right there (it is a subgradient). Where the loss is
    smooth, both agree. So the error is the distance to the interval between them. It is
    relative to the derivative, or to the rounding error if that is larger.

    Source: Goodfellow et al. 2016, "Deep learning", section 11.5; Clarke 1975,
    "Generalized gradients and applications".

    Args:
        loss: `loss(params, *arguments)`, a scalar, or `(scalar, aux)`. An
            objective of `fnn.supervised` is one: its arguments are state, batch and key.
        params: The parameters, all floating-point; they are converted to float64.
        *arguments: The loss's other arguments; floating-point arrays are converted too.
        key: A typed key, for directions and coordinates.
        has_aux: Whether the loss returns a pair.
        directions: Number of random directions for each parameter.
        coordinates: Number of random elements of each parameter; `None` for all.
        step: The step length h.
        tolerance: The largest relative error that passes.

    Returns:
        The errors of each parameter, the worst by its path, and whether all pass. Print it.

    Raises:
        ValueError: If the loss is not a finite scalar, `directions` or `coordinates` are
            negative, or both 0.

    Example:
        >>> model = fnn.Sequential(fnn.Dense(4), jax.nn.relu, fnn.Dense(1))
        >>> x, y = jax.numpy.ones((8, 3)), jax.numpy.ones((8, 1))
        >>> params, state = model.init(jax.random.key(0), x[0])
        >>> check = fnn.diagnostics.gradient_check(
        ...     fnn.supervised(model, fnn.losses.squared_error),
        ...     params,
        ...     state,
        ...     (x, y),
        ...     jax.random.key(1),
        ...     key=jax.random.key(2),
        ...     has_aux=True,
        ... )
        >>> check.passed
        True
    """
    checks.typed_key(key, "gradient_check")
    if directions < 0 or (coordinates or 0) < 0 or directions == coordinates == 0:
        raise ValueError(
            f"gradient_check needs directions or coordinates to try, got "
            f"directions={directions} and coordinates={coordinates}"
        )
    seed = np.asarray(jax.random.bits(key, (4,), jnp.uint32))

    def value(params: PyTree, *arguments: Any) -> Array:
        result = loss(params, *jax.tree.map(_same_noise, arguments))
        return result[0] if has_aux else result

    with jax.enable_x64(True):
        wide = tree.cast(jax.tree.map(jnp.asarray, (params, arguments)), jnp.float64)
        params, arguments = wide
        centre, grads = jax.jit(jax.value_and_grad(value))(params, *arguments)
        if not jnp.isfinite(centre):
            raise ValueError(f"gradient_check needs a finite loss, got {centre}")
        compiled = jax.jit(value)
        leaves, structure = jax.tree.flatten(params)
        rows = []
        for i, (path, grad) in enumerate(tree.flatten(grads).items()):

            def along(direction: NDArray, length: float, i: int = i) -> float:
                moved = leaves[i] + length * direction
                parts = [*leaves[:i], moved, *leaves[i + 1 :]]
                return float(compiled(jax.tree.unflatten(structure, parts), *arguments))

            differ = functools.partial(
                _difference, along, float(centre), np.asarray(grad), step, tolerance
            )
            rng = np.random.default_rng([*seed, i])
            rows.append(_check_leaf(path, grad.shape, differ, rng, directions, coordinates))
    return GradientCheck(tuple(rows), tolerance)


def _check_leaf(
    path: str,
    shape: tuple[int, ...],
    differ: Callable[[NDArray], tuple[float, bool]],
    rng: np.random.Generator,
    directions: int,
    coordinates: int | None,
) -> LeafCheck:
    size = math.prod(shape)
    along = [_unit(rng.normal(size=shape)) for _ in range(directions)]
    tried = size if coordinates is None else min(coordinates, size)
    chosen = rng.choice(size, tried, replace=False)
    errors, kinks = [], 0
    for d in (*along, *(_coordinate(i, shape) for i in chosen)):
        error, kink = differ(d)
        errors.append(error)
        kinks += kink
    largest, single = (
        max(part, default=math.nan) for part in (errors[:directions], errors[directions:])
    )
    return LeafCheck(path, shape, largest, single, kinks)


def _difference(
    along: Callable[[NDArray, float], float],
    centre: float,
    grad: NDArray,
    step: float,
    tolerance: float,
    direction: NDArray,
) -> tuple[float, bool]:
    """Return the relative error along a direction, and whether there is a kink."""
    derivative = float(np.sum(grad * direction))
    forward = (along(direction, step) - centre) / step
    backward = (centre - along(direction, -step)) / step
    central = (forward + backward) / 2
    low, high = sorted((forward, backward))
    outside = max(low - derivative, derivative - high, 0.0)
    hidden = ROUNDING * max(abs(centre), 1.0) / step
    scale = max(abs(derivative), abs(central), hidden / tolerance)
    off = abs(central - derivative) > tolerance * scale
    return outside / scale, off and outside <= tolerance * scale


def _same_noise(leaf: Array) -> Array:
    """Return an argument with keys cloned: all evaluations draw the same on purpose."""
    return jax.random.clone(leaf) if checks.is_key(leaf) else leaf


def _unit(vector: NDArray) -> NDArray:
    return vector / np.linalg.norm(vector)


def _coordinate(i: int, shape: tuple[int, ...]) -> NDArray:
    vector = np.zeros(shape)
    vector.flat[i] = 1.0
    return vector
