"""Haiku and Optax."""

from collections.abc import Callable, Iterator
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jmp

from benchmarks.suite import Program, RefusedError
from benchmarks.training import networks
from benchmarks.training.optax_step import adam_program


def pool(x: Any) -> Any:
    """Return the maxima of 2x2 windows."""
    return hk.max_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def lenet(x: Any) -> Any:
    """LeNet-5."""
    x = pool(jax.nn.relu(hk.Conv2D(6, 5, padding=(2, 2))(x)))
    x = pool(jax.nn.relu(hk.Conv2D(16, 5, padding="VALID")(x)))
    return hk.nets.MLP((120, 84, 10))(hk.Flatten()(x))


def cnn(x: Any) -> Any:
    """Two convolutions, each with pooling, and two dense layers."""
    for features in (32, 64):
        x = pool(jax.nn.relu(hk.Conv2D(features, 3)(x)))
    return hk.nets.MLP((128, 10))(hk.Flatten()(x))


def resnet20(x: Any) -> Any:
    """ResNet-20."""

    def normed(x: Any, size: int, features: int, stride: int) -> Any:
        margins = (size // 2, size // 2)
        conv = hk.Conv2D(features, size, stride, padding=margins, with_bias=False)
        norm = hk.BatchNorm(True, True, decay_rate=0.9, eps=networks.EPS)
        return norm(conv(x), is_training=True)

    x = jax.nn.relu(normed(x, 3, 16, 1))
    for block in networks.blocks("resnet20"):
        y = jax.nn.relu(normed(x, 3, block.features, block.stride))
        y = normed(y, 3, block.features, 1)
        x = jax.nn.relu(y + (normed(x, 1, block.features, 2) if block.projects else x))
    return hk.Linear(10)(x.mean((1, 2)))


def network(name: str) -> Callable[[Any], Any]:
    """Return the network of a name."""
    match name:
        case "lenet":
            return lenet
        case "cnn":
            return cnn
        case "resnet20":
            return resnet20

    def mlp(x: Any) -> Any:
        return hk.nets.MLP(networks.WIDTHS[name][1:])(x)

    return mlp


def filled(params: Any, arrays: Iterator[Any]) -> Any:
    """Return a tree of these arrays, in the order in which its layers were made.

    A norm's `offset` comes before its `scale` by name, but after it in the list.
    """
    tree: dict[str, dict[str, Any]] = {}
    for module, leaves in params.items():
        names = sorted(leaves, key=lambda name: name in {"b", "offset"})
        tree[module] = {name: jnp.asarray(next(arrays)) for name in names}
        for name in names:
            assert tree[module][name].size == leaves[name].size
            tree[module][name] = tree[module][name].reshape(leaves[name].shape)
    return tree


def build(name: str) -> Program:
    """Return the step of a case."""
    case = networks.Case.parse(name)
    if case.network == "resnet50":
        raise RefusedError("not written for this network")
    x, y = jax.tree.map(jnp.asarray, networks.batch(case))
    model = hk.without_apply_rng(hk.transform_with_state(network(case.network)))
    if case.bfloat16:
        policy = jmp.get_policy("params=float32,compute=bfloat16,output=float32")
        for kind in (hk.Conv2D, hk.Linear, hk.nets.MLP):
            hk.mixed_precision.set_policy(kind, policy)
    params, state = model.init(jax.random.key(0), x[:2])
    params = filled(params, iter(networks.weights(case.network)))
    return adam_program(case, model.apply, params, state, (x, y))
