"""The networks in JAX: each a loss of one example, parameters, and a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

import fnn
from benchmarks.per_example import draws
from fnn.losses import softmax_cross_entropy


class Problem(NamedTuple):
    """`loss(params, *example) -> scalar`, the parameters, and inputs and labels."""

    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, Any]


def params_like(specs: Any) -> Any:
    """Return the weights that are drawn for each path of a tree."""
    return fnn.tree.map_with_path(
        lambda path, leaf: jnp.asarray(draws.weights(path, leaf.shape)), specs
    )


def spec(*shape: int) -> Any:
    """Return what stands for an array of parameters."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def labelled(inputs: Any) -> tuple[Any, Any]:
    """Return inputs with labels of 10 classes."""
    labels = draws.integers("labels", draws.CLASSES, len(inputs))
    return jnp.asarray(inputs), jnp.asarray(labels)


def classifier(model: fnn.Sequential, count: int, *shape: int) -> Problem:
    """Return the problem of a model of fnn, on `count` random images of 10 classes."""
    specs, _ = jax.eval_shape(model.init, jax.random.key(0), spec(*shape))

    def loss(params: Any, x: Any, label: Any) -> Any:
        return softmax_cross_entropy(model(params, x), label)

    return Problem(loss, params_like(specs), labelled(draws.normal(count, *shape)))


def mlp(count: int) -> Problem:
    """784-512-512-10."""
    return classifier(fnn.models.mlp(512, 512, 10), count, 784)


def lenet(count: int) -> Problem:
    """LeNet-5, 28x28."""
    return classifier(fnn.models.lenet(), count, 28, 28, 1)


def cnn(count: int) -> Problem:
    """Convolutions of 32 and 64 features, 28x28."""
    convolutions = [
        part
        for features in (32, 64)
        for part in (
            fnn.Conv(features, (3, 3), padding="same"),
            jax.nn.relu,
            fnn.MaxPool((2, 2)),
        )
    ]
    head = fnn.Flatten(), fnn.Dense(128), jax.nn.relu, fnn.Dense(10)
    return classifier(fnn.Sequential(*convolutions, *head), count, 28, 28, 1)


def resnet20(count: int) -> Problem:
    """ResNet-20 with group norm, 32x32."""
    return classifier(fnn.models.resnet_cifar(20, norm="group"), count, 32, 32, 3)


def language_model(
    count: int, *, d: int, heads: int, blocks: int, length: int, tokens: int
) -> Problem:
    """Blocks of causal attention and two dense layers, in plain JAX."""

    def dense(inputs: int, outputs: int) -> dict[str, Any]:
        return {"kernel": spec(inputs, outputs), "bias": spec(outputs)}

    def norm() -> dict[str, Any]:
        return {"scale": spec(d), "shift": spec(d)}

    def block() -> dict[str, Any]:
        layers = {"qkv": (d, 3 * d), "out": (d, d), "up": (d, 4 * d), "down": (4 * d, d)}
        norms = {"norm_0": norm(), "norm_1": norm()}
        return norms | {name: dense(*sizes) for name, sizes in layers.items()}

    params = params_like(
        {
            "tokens": spec(tokens, d),
            "places": spec(length, d),
            "blocks": {f"block_{i}": block() for i in range(blocks)},
            "head": dense(d, tokens),
        }
    )

    def apply(layer: Any, x: Any) -> Any:
        return x @ layer["kernel"] + layer["bias"]

    def normed(layer: Any, x: Any) -> Any:
        return layer["scale"] * jax.nn.standardize(x, epsilon=1e-5) + layer["shift"]

    def attention(layers: Any, x: Any) -> Any:
        q, k, v = jnp.moveaxis(apply(layers["qkv"], x).reshape(length, 3, heads, -1), 1, 0)
        scores = jnp.einsum("thk,shk->hts", q, k) * (d // heads) ** -0.5
        scores = jnp.where(jnp.tri(length, dtype=bool), scores, -jnp.inf)
        mixed = jnp.einsum("hts,shk->thk", jax.nn.softmax(scores), v)
        return apply(layers["out"], mixed.reshape(length, d))

    def loss(params: Any, ids: Any, following: Any) -> Any:
        x = params["tokens"][ids] + params["places"]
        for i in range(blocks):
            layers = params["blocks"][f"block_{i}"]
            x = x + attention(layers, normed(layers["norm_0"], x))
            h = jax.nn.gelu(apply(layers["up"], normed(layers["norm_1"], x)))
            x = x + apply(layers["down"], h)
        logits = apply(params["head"], x)
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, following))

    ids = jnp.asarray(draws.integers("ids", tokens, 2, count, length))
    return Problem(loss, params, (ids[0], ids[1]))


def transformer(count: int) -> Problem:
    """4 blocks, d = 256, 8 heads, T = 128, 64 tokens."""
    return language_model(count, d=256, heads=8, blocks=4, length=128, tokens=64)


def gpt2(count: int, blocks: int = 12) -> Problem:
    """12 blocks, d = 768, 12 heads, T = 512, 25,600 tokens: 125 million weights."""
    return language_model(count, d=768, heads=12, blocks=blocks, length=512, tokens=25_600)


def embedding(count: int) -> Problem:
    """The mean of 64 vectors of length 64, out of 50,000, into 10 classes."""
    params = params_like({"table": spec(50_000, 64), "head": {"kernel": spec(64, 10)}})

    def loss(params: Any, ids: Any, label: Any) -> Any:
        logits = jnp.mean(params["table"][ids], 0) @ params["head"]["kernel"]
        return softmax_cross_entropy(logits, label)

    return Problem(loss, params, labelled(draws.integers("ids", 50_000, count, 64)))


def recurrent(count: int, step: Callable[..., Any], gates: int) -> Problem:
    """Return the problem of a cell of 128 units over 64 steps of 32 inputs."""
    params = params_like(
        {
            "input": {"kernel": spec(32, 128 * gates)},
            "recurrent": {"kernel": spec(128, 128 * gates)},
            "head": {"kernel": spec(128, 10)},
        }
    )

    def loss(params: Any, xs: Any, label: Any) -> Any:
        def scanned(h: Any, x: Any) -> Any:
            inputs = x @ params["input"]["kernel"]
            return step(h, inputs, h @ params["recurrent"]["kernel"]), None

        h, _ = lax.scan(scanned, jnp.zeros(128), xs)
        return softmax_cross_entropy(h @ params["head"]["kernel"], label)

    return Problem(loss, params, labelled(draws.normal(count, 64, 32)))


def rnn(count: int) -> Problem:
    """tanh, 128 units over 64 steps of 32 inputs, into 10 classes."""
    return recurrent(count, lambda _, inputs, states: jnp.tanh(inputs + states), 1)


def gru(count: int) -> Problem:
    """Gated, 128 units over 64 steps of 32 inputs, into 10 classes."""

    def step(h: Any, inputs: Any, states: Any) -> Any:
        parts = zip(jnp.split(inputs, 3), jnp.split(states, 3), strict=True)
        (a, b), (c, d), (e, f) = parts
        reset, update = jax.nn.sigmoid(a + b), jax.nn.sigmoid(c + d)
        return (1 - update) * jnp.tanh(e + reset * f) + update * h

    return recurrent(count, step, 3)


NETWORKS: dict[str, Callable[[int], Problem]] = {
    "mlp": mlp,
    "lenet": lenet,
    "cnn": cnn,
    "resnet20": resnet20,
    "transformer": transformer,
    "gpt2": gpt2,
    "embedding": embedding,
    "rnn": rnn,
    "gru": gru,
}
