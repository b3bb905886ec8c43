"""Per-example norms and clipped gradients, against the gradient of the mean loss.

Run `python -m benchmarks.per_example`. All rivals on one network are compiled in one
process and run in turns; the figures are medians, and ratios to the median time of the
gradient of the mean loss. Memory is XLA's temporary memory. Compilation is apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnn import per_example

MAX_NORM = 1.0


def cross_entropy(logits: Any, label: Any) -> Any:
    """Return -log softmax at the label."""
    return jax.nn.logsumexp(logits) - logits[label]


def normal(key: Any, *shape: int) -> Any:
    """Return an array of Glorot's size."""
    return jax.random.normal(key, shape) / jnp.sqrt(jnp.float32(shape[-2]))


def dense_network(key: Any) -> tuple[Any, Any, Any]:
    """784-512-512-10, batch 256."""
    keys = jax.random.split(key, 5)
    sizes = [784, 512, 512, 10]
    params = [
        {"kernel": normal(k, n, m), "bias": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes, sizes[1:], strict=False)
    ]
    batch = (
        jax.random.normal(keys[3], (256, 784)),
        jax.random.randint(keys[4], (256,), 0, 10),
    )

    def loss(params: Any, x: Any, label: Any) -> Any:
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        return cross_entropy(x @ params[-1]["kernel"] + params[-1]["bias"], label)

    return loss, params, batch


def convolutional_network(key: Any) -> tuple[Any, Any, Any]:
    """3x3 convolutions of 32 and 64 features on 28x28, and 128-10, batch 128."""
    keys = jax.random.split(key, 6)
    shapes = [(3, 3, 1, 32), (3, 3, 32, 64)]
    params = {
        "convs": [
            (jax.random.normal(k, s) / (3 * s[2] ** 0.5), jnp.zeros(s[3]))
            for k, s in zip(keys, shapes, strict=False)
        ],
        "dense": [(normal(keys[2], 7 * 7 * 64, 128), jnp.zeros(128))],
        "head": (normal(keys[3], 128, 10), jnp.zeros(10)),
    }
    images = jax.random.normal(keys[4], (128, 28, 28, 1))

    def loss(params: Any, x: Any, label: Any) -> Any:
        x = x[None]
        for kernel, bias in params["convs"]:
            numbers = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=numbers
            )
            x = jax.nn.relu(x + bias)
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = x.reshape(-1)
        for kernel, bias in params["dense"]:
            x = jax.nn.relu(x @ kernel + bias)
        kernel, bias = params["head"]
        return cross_entropy(x @ kernel + bias, label)

    return loss, params, (images, jax.random.randint(keys[5], (128,), 0, 10))


def transformer(key: Any) -> tuple[Any, Any, Any]:
    """2 blocks, d = 128, 4 heads, T = 64, next of 64 tokens, batch 32."""
    d, heads, t, tokens = 128, 4, 64, 64
    keys = iter(jax.random.split(key, 20))

    def block() -> dict[str, Any]:
        return {
            "qkv": normal(next(keys), d, 3 * d).reshape(d, 3, heads, d // heads),
            "out": normal(next(keys), d, d),
            "up": normal(next(keys), d, 4 * d),
            "down": normal(next(keys), 4 * d, d),
            "scales": jnp.ones((2, d)),
        }

    params = {
        "table": jax.random.normal(next(keys), (tokens, d)),
        "places": jax.random.normal(next(keys), (t, d)),
        "blocks": [block(), block()],
        "head": normal(next(keys), d, tokens),
    }

    def normed(x: Any, scale: Any) -> Any:
        x = x - jnp.mean(x, -1, keepdims=True)
        return scale * x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5)

    def loss(params: Any, ids: Any, following: Any) -> Any:
        x = params["table"][ids] + params["places"]
        for weights in params["blocks"]:
            h = normed(x, weights["scales"][0])
            q, k, v = jnp.einsum("td,dchk->cthk", h, weights["qkv"])
            scores = jnp.einsum("thk,shk->hts", q, k) * (d // heads) ** -0.5
            scores = jnp.where(jnp.tri(t, dtype=bool), scores, -1e9)
            mixed = jnp.einsum("hts,shk->thk", jax.nn.softmax(scores), v)
            x = x + mixed.reshape(t, d) @ weights["out"]
            h = normed(x, weights["scales"][1])
            x = x + jax.nn.gelu(h @ weights["up"]) @ weights["down"]
        return jnp.mean(jax.vmap(cross_entropy)(x @ params["head"], following))

    ids = jax.random.randint(next(keys), (2, 32, t), 0, tokens)
    return loss, params, (ids[0], ids[1])


def embedding_classifier(key: Any) -> tuple[Any, Any, Any]:
    """The mean of 64 vectors of length 64, out of 50,000, into 10 classes, batch 128."""
    keys = jax.random.split(key, 4)
    params = {
        "table": jax.random.normal(keys[0], (50_000, 64)),
        "head": normal(keys[1], 64, 10),
    }

    def loss(params: Any, ids: Any, label: Any) -> Any:
        return cross_entropy(jnp.mean(params["table"][ids], 0) @ params["head"], label)

    ids = jax.random.randint(keys[2], (128, 64), 0, 50_000)
    return loss, params, (ids, jax.random.randint(keys[3], (128,), 0, 10))


def recurrent_network(key: Any) -> tuple[Any, Any, Any]:
    """tanh, 128 units over 64 steps of 32 inputs, into 10 classes, batch 64."""
    keys = jax.random.split(key, 5)
    params = {
        "input": normal(keys[0], 32, 128),
        "recurrent": normal(keys[1], 128, 128),
        "bias": jnp.zeros(128),
        "head": normal(keys[2], 128, 10),
    }

    def loss(params: Any, xs: Any, label: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = jnp.tanh(x @ params["input"] + h @ params["recurrent"] + params["bias"])
            return h, None

        h, _ = lax.scan(step, jnp.zeros(128), xs)
        return cross_entropy(h @ params["head"], label)

    xs = jax.random.normal(keys[3], (64, 64, 32))
    return loss, params, (xs, jax.random.randint(keys[4], (64,), 0, 10))


NETWORKS = {
    "dense": dense_network,
    "convolutional": convolutional_network,
    "transformer": transformer,
    "embedding": embedding_classifier,
    "recurrent": recurrent_network,
}


def rivals(loss: Any, batch_size: int) -> dict[str, Callable[..., Any]]:
    """Return what is compared, by name, the ordinary gradient first."""
    axes = (None, 0, 0)

    def ordinary(params: Any, *batch: Any) -> Any:
        return jax.grad(lambda p: jnp.mean(jax.vmap(loss, axes)(p, *batch)))(params)

    def norms(params: Any, *batch: Any) -> Any:
        return per_example.gradients(loss)(params, *batch).norms()

    def clipped(params: Any, *batch: Any) -> Any:
        g = per_example.gradients(loss)(params, *batch)
        return g.weighted_sum(jnp.minimum(1, MAX_NORM / g.norms()))

    def formed(params: Any, *batch: Any) -> Any:
        return jax.vmap(jax.grad(loss), axes)(params, *batch)

    def norms_of(grads: Any) -> Any:
        squares = [
            jnp.sum(g.reshape(batch_size, -1) ** 2, 1) for g in jax.tree.leaves(grads)
        ]
        return jnp.sqrt(sum(squares))

    def norms_formed(params: Any, *batch: Any) -> Any:
        return norms_of(formed(params, *batch))

    def clipped_formed(params: Any, *batch: Any) -> Any:
        grads = formed(params, *batch)
        factor = jnp.minimum(1, MAX_NORM / norms_of(grads))
        return jax.tree.map(lambda g: jnp.tensordot(factor, g, 1), grads)

    return {
        "ordinary": ordinary,
        "norms": norms,
        "clipped": clipped,
        "norms, vmap(grad)": norms_formed,
        "clipped, vmap(grad)": clipped_formed,
    }


def measure(name: str, rounds: int, verbose: bool) -> None:
    """Compile and time all rivals on one network, and print a line for each."""
    loss, params, batch = NETWORKS[name](jax.random.key(0))
    batch_size = batch[0].shape[0]
    compiled, seconds = {}, {}
    for rival, function in rivals(loss, batch_size).items():
        began = time.perf_counter()
        compiled[rival] = jax.jit(function).lower(params, *batch).compile()
        seconds[rival] = time.perf_counter() - began
        jax.block_until_ready(compiled[rival](params, *batch))
    samples: dict[str, list[float]] = {rival: [] for rival in compiled}
    for _ in range(rounds):
        for rival, run in compiled.items():
            began = time.perf_counter()
            jax.block_until_ready(run(params, *batch))
            samples[rival].append(time.perf_counter() - began)
    print(f"\n{name}: {NETWORKS[name].__doc__}")
    if verbose:
        print(jax.eval_shape(per_example.gradients(loss), params, *batch).explain())
    ordinary = statistics.median(samples["ordinary"])
    for rival, values in samples.items():
        analysis = compiled[rival].memory_analysis()
        memory = analysis.temp_size_in_bytes / 2**20 if analysis else float("nan")
        median = statistics.median(values)
        print(
            f"{rival:20} {1e3 * median:8.2f} ms  {median / ordinary:6.2f} of ordinary  "
            f"{memory:7.1f} MiB  compiled in {seconds[rival]:.1f} s"
        )


def main() -> None:
    """Measure the networks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--explain", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {arguments.rounds} rounds"
    )
    for name in arguments.networks:
        measure(name, arguments.rounds, arguments.explain)


if __name__ == "__main__":
    main()
