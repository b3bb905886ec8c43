"""Many copies of one layer, as a loop over depth."""

import functools

import jax

from fnn import checks
from fnn.layers.base import Layer, as_layer, spec
from fnn.layers.composite import LayerLike
from fnn.layers.running import apply_child, in_one_program, init_child
from fnn.tree import STACK
from fnn.types import Key, Params, PyTree, State


class Repeat(Layer):
    """Apply copies of one layer one after the other: y = f(… f(f(x; θ₁); θ₂) …; θₙ).

    This computes the same as a `Sequential` of the copies, each with its own parameters,
    state and key, but it is one `jax.lax.scan` over depth: the time to compile does not
    grow with `times`. Parameters and state are those of the layer under the name `stack`,
    with a leading axis of length `times`; `jax.tree.map(lambda leaf: leaf[i], params)` are
    those of copy i. This name tells optimizers that act on a layer as a whole to treat
    each copy alone (`fnn.tree.stacked_axes`); your own layer that scans over stacked
    parameters can use it, too. Outside `jax.jit`, every call compiles.

    On the CPU, XLA does not optimize convolutions inside a loop, where their gradients
    can be tens of times slower; there, write `fnn.Sequential(*[layer] * times)` instead.

    Args:
        layer: A layer or a plain callable. Its output must have the shapes and dtypes of
            its input.
        times: The number of copies.

    Raises:
        TypeError: If `layer` is neither a layer nor a callable.
        ValueError: If `times` is not a positive integer, or the layer's output has not
            the shapes and dtypes of its input.

    Example:
        >>> block = fnn.Residual(fnn.Sequential(fnn.Dense(4), jax.nn.relu))
        >>> model = fnn.Repeat(block, 100)
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones(4))
        >>> params["stack"]["branch"]["dense_0"]["kernel"].shape
        (100, 4, 4)
        >>> model(params, jax.numpy.ones(4)).shape
        (4,)
    """

    layer: LayerLike
    times: int

    def __post_init__(self) -> None:
        as_layer(self.layer, "layer of Repeat")
        self._set(times=checks.positive_integer("times", self.times))

    @functools.cached_property
    def children(self) -> dict[str, Layer]:
        """The layer that is copied, by its name."""
        return {STACK: as_layer(self.layer, "layer of Repeat")}

    @property
    def draws(self) -> bool:
        return type(self).apply is not Repeat.apply or self.children[STACK].draws

    @in_one_program
    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        checks.typed_key(key, "Repeat.init")
        x = spec(x)

        def init_copy(key: Key) -> tuple[Params, State]:
            params: Params = {}
            state: State = {}
            y = init_child(STACK, self.children[STACK], key, x, params, state)
            _check_like(x, y)
            return params, state

        return jax.vmap(init_copy)(jax.random.split(key, self.times))

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        keys = None
        if key is not None:
            checks.typed_key(key, "Repeat")
            keys = jax.random.split(key, self.times) if self.draws else None

        def apply_copy(
            x: PyTree, own: tuple[Params, State, Key | None]
        ) -> tuple[PyTree, State]:
            params, state, key = own
            y, new = apply_child(
                STACK, self.children[STACK], params, state, x, key=key, train=train
            )
            _check_like(x, y)
            return y, new

        return jax.lax.scan(apply_copy, x, (params, state, keys), length=self.times)


def _check_like(x: PyTree, y: PyTree) -> None:
    if spec(x) != spec(y):
        raise ValueError(
            f"Repeat needs a layer whose output has the shapes and dtypes of its input; "
            f"it maps {checks.describe(x)} to {checks.describe(y)}"
        )
