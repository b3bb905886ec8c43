"""Tables of vectors that are looked up by id."""

import jax.numpy as jnp

from fnn import checks
from fnn.initializers import VarianceScaling
from fnn.layers.base import Layer
from fnn.types import Array, Initializer, Key, Params, State


class Embedding(Layer):
    """Look up the vector of each id: y = table[x].

    This is the product of one-hot vectors with `table`, (vocabulary, features), but the
    one-hot vectors are never made. x are integers of any shape, such as the words of one
    sentence.

    On concrete arrays the layer checks that the ids are from 0 to vocabulary - 1. Inside
    `jit` and `vmap` the values are not known: there the vector of an id out of range is
    NaN, and no row of the table gets a gradient from it.

    The table has JAX's default floating dtype, because integers do not determine one;
    `fnn.tree.cast` gives it another.

    Source: Bengio et al. 2003, "A neural probabilistic language model".

    Args:
        vocabulary: The number of ids.
        features: The length of each vector.
        table_init: Makes the table; called `(key, shape, dtype)`. By default it draws from
            N(0, 1 / features), so the expected squared length of a vector is 1.

    Raises:
        TypeError: If x are not integers.
        ValueError: If an id is out of range, outside `jit` and `vmap`.

    Example:
        >>> layer = fnn.Embedding(100, 8)
        >>> words = jax.numpy.array([3, 14, 3])
        >>> params, _ = layer.init(jax.random.key(0), words)
        >>> params["table"].shape, layer(params, words).shape
        ((100, 8), (3, 8))
    """

    vocabulary: int
    features: int
    table_init: Initializer = VarianceScaling(1.0, "out", "normal")

    def __post_init__(self) -> None:
        checks.options(self)
        self._set(vocabulary=checks.positive_integer("vocabulary", self.vocabulary))
        self._set(features=checks.positive_integer("features", self.features))

    def init(self, key: Key, x: Array) -> tuple[Params, State]:
        checks.typed_key(key, "Embedding.init")
        _check_integers(x)
        shape = (self.vocabulary, self.features)
        return {"table": self.table_init(key, shape, jnp.result_type(float))}, {}

    def forward(self, params: Params, x: Array) -> Array:
        _check_integers(x)
        table = jnp.asarray(params["table"])
        ids, valid = checks.classes_of(x, table.shape[0], "ids")
        rows = table.at[jnp.where(valid, ids, table.shape[0])]
        return rows.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def _check_integers(x: Array) -> None:
    dtype = getattr(x, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(
            f"Embedding takes integer ids, got {checks.describe(x)}; if these are ids, "
            f"convert them by x.astype('int32')"
        )
