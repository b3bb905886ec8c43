"""Layers that run another one in fewer bits, or in less memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, tree
from fnn.layers.base import Wrapper, spec
from fnn.types import Key, Params, PyTree, State, wide

POLICIES = (
    "nothing_saveable",
    "everything_saveable",
    "dots_saveable",
    "dots_with_no_batch_dims_saveable",
)


class MixedPrecision(Wrapper):
    """Compute a layer in a narrower dtype than its parameters are held in.

    Parameters are made, held and updated in float32 at least. For each computation they
    and the input are converted to `compute_dtype`, and the output back to the dtype of
    the input, so that a loss behind it is computed in float32. Inside, fnn's normalizing
    layers take their statistics in float32, and state keeps its dtype. Parameters, state
    and name are those of the layer itself: one can be put in the place of the other.

    float16 needs `fnn.optimizers.DynamicLossScale` in training; bfloat16 does not. On
    CPUs neither is faster than float32 as a rule.

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


class Remat(Wrapper):
    """Compute a layer again in the backward pass, instead of keeping what it computed.

    The gradient needs the values inside the layer. With this they are not kept from the
    forward to the backward pass: that saves memory, and costs a second forward pass. It
    pays around each block of a deep network, the inputs of which are kept; around a whole
    network it saves nothing. Outputs, gradients, parameters, state and name are those of
    the layer itself, and random layers get the same key in both passes.

    On the CPU, XLA recognizes the second pass as the first and keeps the values after
    all, except inside of a loop, such as that of `Repeat`.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".

    Args:
        layer: A layer or a plain callable.
        policy: What is kept nevertheless: `"dots_saveable"`, the results of matrix
            products, `"dots_with_no_batch_dims_saveable"`, those of products with
            parameters alone, `"everything_saveable"`, `"nothing_saveable"`, or a function
            made by `jax.checkpoint_policies`. By default nothing is.

    Raises:
        TypeError: If `layer` is neither a layer nor a callable.
        ValueError: If `policy` is neither of these names nor a callable.

    Example:
        >>> block = fnn.Residual(fnn.Sequential(fnn.Dense(4), jax.numpy.tanh))
        >>> model = fnn.Repeat(fnn.Remat(block), 100)
        >>> params, state = model.init(jax.random.key(0), jax.numpy.ones(4))
        >>> params["stack"]["branch"]["dense_0"]["kernel"].shape
        (100, 4, 4)
    """

    policy: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy is not None and not callable(self.policy):
            checks.one_of("policy", self.policy, POLICIES)

    def apply(
        self,
        params: Params,
        state: State,
        x: PyTree,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[PyTree, State]:
        def run(
            params: Params, state: State, x: PyTree, key: Key | None
        ) -> tuple[PyTree, State]:
            return self.inner.apply(params, state, x, key=key, train=train)

        policy = self.policy
        if isinstance(policy, str):
            policy = getattr(jax.checkpoint_policies, policy)
        return jax.checkpoint(run, policy=policy)(params, state, x, key)


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _dtype_outside(params: Params, x: PyTree) -> Any:
    """Return the floating dtype of the input, or, of integers, that of the parameters."""
    for leaves in map(jax.tree.leaves, (x, params)):
        dtypes = [leaf.dtype for leaf in leaves if _is_floating(leaf)]
        if dtypes:
            return max(dtypes, key=lambda dtype: dtype.itemsize)
    return jnp.float32
