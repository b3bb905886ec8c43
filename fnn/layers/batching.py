"""A layer over a batch of examples."""

import jax

from fnn import checks
from fnn.layers.base import Layer, as_layer, spec
from fnn.layers.composite import LayerLike
from fnn.layers.running import applied, initial, located
from fnn.types import Key, Params, PyTree, State


class Batched(Layer):
    """Apply a layer to every example of a batch: yᵢ = f(xᵢ).

    Parameters and state are those of the layer itself. Every example gets its own key.
    Layers that couple the examples do so over the named axis. The state that they return
    must be the same for all examples, and comes back unbatched.

    Args:
        layer: A layer or a plain callable, for one example.
        axis_name: The name of the batch axis inside the layer.

    Raises:
        ValueError: When applied, if a leaf of x has no leading axis, or if the leading
            axes differ.

    Example:
        >>> model = fnn.Batched(fnn.Dense(2))
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones((5, 3)))
        >>> params["kernel"].shape, model(params, jax.numpy.ones((5, 3))).shape
        ((3, 2), (5, 2))
    """

    layer: LayerLike
    axis_name: str = "batch"

    def __post_init__(self) -> None:
        as_layer(self.layer, "layer of Batched")

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        checks.leading_length(x, "x of a batched model")
        example = jax.tree.map(lambda leaf: leaf.update(shape=leaf.shape[1:]), spec(x))
        layer = as_layer(self.layer, "layer")
        with located(None, layer, example, init=True):
            return initial(layer, key, example)

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        size = checks.leading_length(x, "x of a batched model")
        layer = as_layer(self.layer, "layer")
        if key is not None:
            checks.typed_key(key, "a batched model")
            key = jax.random.split(key, size) if layer.draws else None

        def one(x: PyTree, key: Key | None) -> tuple[PyTree, State]:
            with located(None, layer, x, params, state):
                return applied(layer, params, state, x, key=key, train=train)

        try:
            return jax.vmap(one, out_axes=(0, None), axis_name=self.axis_name)(x, key)
        except ValueError as error:
            if "out_axes" in str(error):
                error.add_note(
                    f"a layer's new state must be the same for all examples of a batch: "
                    f"average it by jax.lax.pmean(..., {self.axis_name!r})"
                )
            raise


def batched(layer: LayerLike, axis_name: str = "batch") -> Batched:
    """Return the same layer over a leading batch axis.

    Args:
        layer: A layer or a plain callable, for one example.
        axis_name: The name of the batch axis inside the layer.

    Example:
        >>> model = fnn.Dense(2)
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones(3))
        >>> fnn.batched(model)(params, jax.numpy.ones((5, 3))).shape
        (5, 2)
    """
    return Batched(layer, axis_name)
