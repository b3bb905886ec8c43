"""The networks in JAX: each a loss of one example, parameters, and a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

import fnn
from fnn.losses import softmax_cross_entropy


class Problem(NamedTuple):
    """`loss(params, *example) -> scalar`, the parameters, and inputs and labels."""

    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, Any]


def normal(key: Any, *shape: int) -> Any:
    """Return a matrix that keeps the size of what it multiplies."""
    return jax.random.normal(key, shape) / jnp.sqrt(jnp.float32(shape[-2]))


def classifier(model: fnn.Sequential, shape: tuple[int, ...], count: int) -> Problem:
    """Return the problem of a model of fnn, on `count` random images of 10 classes."""
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(keys[0], (count, *shape))
    params, _ = jax.jit(model.init)(keys[1], images[0])

    def loss(params: Any, x: Any, label: Any) -> Any:
        return softmax_cross_entropy(model(params, x), label)

    return Problem(loss, params, (images, jax.random.randint(keys[2], (count,), 0, 10)))


def mlp() -> Problem:
    """784-512-512-10, batch 256."""
    return classifier(fnn.models.mlp(512, 512, 10), (784,), 256)


def lenet() -> Problem:
    """LeNet-5, 28x28, batch 128."""
    return classifier(fnn.models.lenet(), (28, 28, 1), 128)


def cnn() -> Problem:
    """Convolutions of 32 and 64 features, 28x28, batch 128."""
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
    return classifier(fnn.Sequential(*convolutions, *head), (28, 28, 1), 128)


def resnet20() -> Problem:
    """ResNet-20 with group norm, 32x32, batch 64."""
    return classifier(fnn.models.resnet_cifar(20, norm="group"), (32, 32, 3), 64)


def transformer() -> Problem:
    """4 blocks, d = 256, 8 heads, T = 128, 64 tokens, batch 16, in plain JAX."""
    d, heads, length, tokens, count = 256, 8, 128, 64, 16
    keys = iter(jax.random.split(jax.random.key(0), 20))

    def dense(inputs: int, outputs: int) -> dict[str, Any]:
        return {"kernel": normal(next(keys), inputs, outputs), "bias": jnp.zeros(outputs)}

    def norm() -> dict[str, Any]:
        return {"scale": jnp.ones(d), "shift": jnp.zeros(d)}

    def block() -> dict[str, Any]:
        layers = {"qkv": (d, 3 * d), "out": (d, d), "up": (d, 4 * d), "down": (4 * d, d)}
        norms = {"norm_0": norm(), "norm_1": norm()}
        return norms | {name: dense(*sizes) for name, sizes in layers.items()}

    params = {
        "tokens": jax.random.normal(next(keys), (tokens, d)),
        "places": jax.random.normal(next(keys), (length, d)),
        "blocks": [block() for _ in range(4)],
        "head": dense(d, tokens),
    }

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
        for layers in params["blocks"]:
            x = x + attention(layers, normed(layers["norm_0"], x))
            h = jax.nn.gelu(apply(layers["up"], normed(layers["norm_1"], x)))
            x = x + apply(layers["down"], h)
        logits = apply(params["head"], x)
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, following))

    ids = jax.random.randint(next(keys), (2, count, length), 0, tokens)
    return Problem(loss, params, (ids[0], ids[1]))


def embedding() -> Problem:
    """The mean of 64 vectors of length 64, out of 50,000, into 10 classes, batch 128."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "table": jax.random.normal(keys[0], (50_000, 64)),
        "head": normal(keys[1], 64, 10),
    }

    def loss(params: Any, ids: Any, label: Any) -> Any:
        logits = jnp.mean(params["table"][ids], 0) @ params["head"]
        return softmax_cross_entropy(logits, label)

    ids = jax.random.randint(keys[2], (128, 64), 0, 50_000)
    return Problem(loss, params, (ids, jax.random.randint(keys[3], (128,), 0, 10)))


def rnn() -> Problem:
    """tanh, 128 units over 64 steps of 32 inputs, into 10 classes, batch 64."""
    keys = jax.random.split(jax.random.key(0), 5)
    params = {
        "input": normal(keys[0], 32, 128),
        "recurrent": normal(keys[1], 128, 128),
        "head": normal(keys[2], 128, 10),
    }

    def loss(params: Any, xs: Any, label: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return jnp.tanh(x @ params["input"] + h @ params["recurrent"]), None

        h, _ = lax.scan(step, jnp.zeros(128), xs)
        return softmax_cross_entropy(h @ params["head"], label)

    xs = jax.random.normal(keys[3], (64, 64, 32))
    return Problem(loss, params, (xs, jax.random.randint(keys[4], (64,), 0, 10)))


def gru() -> Problem:
    """Gated, 128 units over 64 steps of 32 inputs, into 10 classes, batch 64."""
    keys = jax.random.split(jax.random.key(0), 5)
    params = {
        "input": normal(keys[0], 32, 384),
        "recurrent": normal(keys[1], 128, 384),
        "head": normal(keys[2], 128, 10),
    }

    def loss(params: Any, xs: Any, label: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            inputs = jnp.split(x @ params["input"], 3)
            states = jnp.split(h @ params["recurrent"], 3)
            reset, update = (
                jax.nn.sigmoid(a + b) for a, b in zip(inputs[:2], states[:2], strict=True)
            )
            new = jnp.tanh(inputs[2] + reset * states[2])
            return (1 - update) * new + update * h, None

        h, _ = lax.scan(step, jnp.zeros(128), xs)
        return softmax_cross_entropy(h @ params["head"], label)

    xs = jax.random.normal(keys[3], (64, 64, 32))
    return Problem(loss, params, (xs, jax.random.randint(keys[4], (64,), 0, 10)))


NETWORKS: dict[str, Callable[[], Problem]] = {
    "mlp": mlp,
    "lenet": lenet,
    "cnn": cnn,
    "resnet20": resnet20,
    "transformer": transformer,
    "embedding": embedding,
    "rnn": rnn,
    "gru": gru,
}
DENSE = {"mlp", "transformer", "embedding"}
