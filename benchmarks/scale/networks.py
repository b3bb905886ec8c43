"""Two networks of the size that one trains on many chips, as losses of one example."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fnn
from fnn.losses import softmax_cross_entropy


class Problem(NamedTuple):
    """A loss of one example, how its parameters begin, and the specs of one example."""

    loss: Callable[..., Any]
    init: Callable[[Any], Any]
    example: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]
    batch_per_chip: int


def bottleneck(features: int, stride: int, *, project: bool) -> fnn.Residual:
    """1x1, 3x3 and 1x1 convolutions with group norms, around which the input goes."""
    branch = fnn.Sequential(
        fnn.Conv(features, (1, 1), bias=False),
        fnn.GroupNorm(32),
        jax.nn.relu,
        fnn.Conv(features, (3, 3), stride=stride, padding=1, bias=False),
        fnn.GroupNorm(32),
        jax.nn.relu,
        fnn.Conv(4 * features, (1, 1), bias=False),
        fnn.GroupNorm(32),
    )
    shortcut = fnn.Sequential(
        fnn.Conv(4 * features, (1, 1), stride=stride, bias=False), fnn.GroupNorm(32)
    )
    return fnn.Residual(branch, shortcut=shortcut) if project else fnn.Residual(branch)


def resnet50() -> Problem:
    """ResNet-50 with group norms, 224x224, 1000 classes, 32 images a chip."""
    layers: list[Any] = [
        fnn.Conv(64, (7, 7), stride=2, padding=3, bias=False),
        fnn.GroupNorm(32),
        jax.nn.relu,
        fnn.MaxPool((3, 3), 2, padding=1),
    ]
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers += [bottleneck(64 * 2**stage, stride, project=not block), jax.nn.relu]
    model = fnn.Sequential(*layers, fnn.GlobalPool("mean"), fnn.Dense(1000))
    image = jax.ShapeDtypeStruct((224, 224, 3), jnp.float32)

    def loss(params: Any, x: Any, label: Any) -> Any:
        return softmax_cross_entropy(model(params, x), label)

    label = jax.ShapeDtypeStruct((), jnp.int32)
    return Problem(loss, lambda key: model.init(key, image)[0], (image, label), 32)


def transformer() -> Problem:
    """12 blocks, d = 768, 12 heads, T = 512, 32,000 tokens (135 million weights)."""
    d, heads, length, tokens, blocks = 768, 12, 512, 32_000, 12
    sizes = {"qkv": (d, 3 * d), "out": (d, d), "up": (d, 4 * d), "down": (4 * d, d)}

    def init(_: Any) -> Any:
        def block() -> Any:
            kernels = {name: {"kernel": jnp.zeros(size)} for name, size in sizes.items()}
            return {**kernels, "norm_0": jnp.ones(d), "norm_1": jnp.ones(d)}

        tables = {"tokens": jnp.zeros((tokens, d)), "places": jnp.zeros((length, d))}
        named = {f"block_{i}": block() for i in range(blocks)}
        return {**tables, **named, "head": {"kernel": jnp.zeros((d, tokens))}}

    def normed(scale: Any, x: Any) -> Any:
        return scale * jax.nn.standardize(x, epsilon=1e-5)

    def attention(layers: Any, x: Any) -> Any:
        qkv = (x @ layers["qkv"]["kernel"]).reshape(length, 3, heads, -1)
        q, k, v = jnp.moveaxis(qkv, 1, 0)
        scores = jnp.einsum("thk,shk->hts", q, k) * (d // heads) ** -0.5
        scores = jnp.where(jnp.tri(length, dtype=bool), scores, -jnp.inf)
        mixed = jnp.einsum("hts,shk->thk", jax.nn.softmax(scores), v)
        return mixed.reshape(length, d) @ layers["out"]["kernel"]

    def loss(params: Any, ids: Any, following: Any) -> Any:
        x = params["tokens"][ids] + params["places"]
        for i in range(blocks):
            layers = params[f"block_{i}"]
            x = x + attention(layers, normed(layers["norm_0"], x))
            h = jax.nn.gelu(normed(layers["norm_1"], x) @ layers["up"]["kernel"])
            x = x + h @ layers["down"]["kernel"]
        logits = x @ params["head"]["kernel"]
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, following))

    ids = jax.ShapeDtypeStruct((length,), jnp.int32)
    return Problem(loss, init, (ids, ids), 4)


NETWORKS = {"resnet50": resnet50, "transformer": transformer}
