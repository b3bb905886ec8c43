"""Rematerialization: a layer computed again in the backward pass, to save memory."""

from collections.abc import Callable
from typing import Any

import jax

from fnn import checks
from fnn.layers.base import Wrapper
from fnn.types import Key, Params, PyTree, State

POLICIES = (
    "nothing_saveable",
    "everything_saveable",
    "dots_saveable",
    "dots_with_no_batch_dims_saveable",
)


class Remat(Wrapper):
    """Compute a layer again in the backward pass, instead of keeping what it computed.

    The gradient needs the values inside the layer. This layer does not keep them from the
    forward to the backward pass, which saves memory and costs a second forward pass. Use
    it around each block of a deep network: only the blocks' inputs are kept. Around a
    whole network it saves nothing. Outputs, gradients, parameters, state and name are
    those of the layer itself, and random layers get the same key in both passes.

    On the CPU, XLA recognizes the second pass as the first and keeps the values anyway,
    except inside a loop, such as that of `Repeat`.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".

    Args:
        layer: A layer or a plain callable.
        policy: The values to keep: `"dots_saveable"`, the results of matrix products;
            `"dots_with_no_batch_dims_saveable"`, those of products with parameters only;
            `"everything_saveable"`; `"nothing_saveable"`, the default; or a function made
            by `jax.checkpoint_policies`.

    Raises:
        TypeError: If `layer` is neither a layer nor a callable.
        ValueError: If `policy` is neither one of these names nor a callable.

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
