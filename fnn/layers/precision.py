"""Mixed precision: a layer computed in a narrower dtype than its parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.layers.base import Wrapper, spec
from fnn.types import Key, Params, PyTree, State, wide


class MixedPrecision(Wrapper):
    """Compute a layer in a narrower dtype than its parameters are held in.

    Parameters are made, held and updated in float32 at least. For each computation, they
    and the input are converted to `compute_dtype`, and the output back to the dtype of the
    input, so a loss of it is computed in float32. Inside, fnn's normalizing layers take
    their statistics in float32, and state keeps its dtype. Parameters, state and name are
    those of the layer itself, so either can replace the other.

    float16 needs `fnn.optimizers.DynamicLossScale` in training; bfloat16 does not. On most
    CPUs neither is faster than float32.

    Source: Micikevicius et al. 2018, "Mixed precision training".

    Args:
        layer: A layer or a plain callable.
        compute_dtype: The floating-point dtype to compute in.

    Raises:
        TypeError: If `layer` is neither a layer nor a callable, or the dtype is not
            floating-point.

    Example:
        >>> model = fnn.MixedPrecision(fnn.Sequential(fnn.Dense(8), jax.nn.relu))
        >>> x = jax.numpy.ones(4)
        >>> params, state = model.init(jax.random.key(0), x)
        >>> params["dense_0"]["kernel"].dtype.name, model(params, x).dtype.name
        ('float32', 'float32')
        >>> str(jax.make_jaxpr(model)(params, x)).count("bf16[8] = dot_general")
        1
    """

    compute_dtype: Any = "bfloat16"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            dtype = jnp.dtype(self.compute_dtype)
        except TypeError:
            dtype = None
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"compute_dtype must be a floating-point dtype, such as 'bfloat16', "
                f"got {self.compute_dtype!r}"
            )
        self._set(compute_dtype=dtype.name)

    def init(self, key: Key, x: PyTree) -> tuple[Params, State]:
        def widened(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return leaf.update(dtype=wide(leaf.dtype)) if _is_floating(leaf) else leaf

        return self.inner.init(key, jax.tree.map(widened, spec(x)))

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        x = jax.tree.map(jnp.asarray, x)
        narrow = tree.cast((params, x), self.compute_dtype)
        y, new = self.inner.apply(narrow[0], state, narrow[1], key=key, train=train)
        if jax.tree.leaves(new):
            new = jax.tree.map(lambda a, old: a.astype(old.dtype), new, state)
        return tree.cast(y, _dtype_outside(params, x)), new


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _dtype_outside(params: Params, x: PyTree) -> Any:
    """Return the floating dtype of the input, else that of the parameters."""
    for leaves in map(jax.tree.leaves, (x, params)):
        dtypes = [leaf.dtype for leaf in leaves if _is_floating(leaf)]
        if dtypes:
            return max(dtypes, key=lambda dtype: dtype.itemsize)
    return jnp.float32
