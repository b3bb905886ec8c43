"""Per-example gradients of models that fnn did not make: Flax and Equinox.

    python examples/foreign_models.py

Needs both libraries: pip install flax equinox. The calls are the same for each, because
`fnn.per_example` takes any JAX function of parameters and an example. Prints the norms of
the gradients, how they are computed, and how far they are from a loop in float64.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from fnn import per_example

try:
    import equinox as eqx
    from flax import linen as nn
except ImportError as error:
    raise SystemExit(f"{error}; this example needs: pip install flax equinox") from error

Loss = Callable[[Any, jax.Array, jax.Array], jax.Array]


class FlaxCNN(nn.Module):
    """A small convolutional network."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits of one image."""
        x = nn.relu(nn.GroupNorm(num_groups=4)(nn.Conv(16, (3, 3))(x)))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        return nn.Dense(10)(x.reshape(-1))


def flax_loss(x: jax.Array) -> tuple[Loss, Any]:
    """Return the loss of a Flax model, and its parameters."""
    model = FlaxCNN()

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return fnn.losses.softmax_cross_entropy(model.apply(params, x), y)

    return loss, model.init(jax.random.key(0), x)


def equinox_loss(x: jax.Array) -> tuple[Loss, Any]:
    """Return the loss of an Equinox model, and its parameters."""
    model = eqx.nn.MLP(x.size, 10, width_size=128, depth=2, key=jax.random.key(0))
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = eqx.combine(params, rest)(x.reshape(-1))
        return fnn.losses.softmax_cross_entropy(logits, y)

    return loss, params


def main(examples: int = 64) -> dict[str, tuple[float, float]]:
    """Return, for each, the error against vmap(grad) and the largest that `check` finds."""
    images, labels = fnn.data.digits()
    x, y = jnp.asarray(images[:examples]), jnp.asarray(labels[:examples])
    results = {}
    for name, make in (("Flax", flax_loss), ("Equinox", equinox_loss)):
        loss, params = make(x[0])
        compute = jax.jit(per_example.gradients(loss))
        g = compute(params, x, y)
        norms = g.norms()
        ordinary = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(params, x, y)
        expected = jax.vmap(fnn.tree.norm)(ordinary)
        report = per_example.check(loss, params, x[:4], y[:4])
        error = float(jnp.max(jnp.abs(norms - expected) / expected))
        results[name] = error, report.largest

        print(
            f"{name}: norms from {norms.min():.3f} to {norms.max():.3f}, mean loss "
            f"{g.losses.mean():.3f}; within {error:.0e} of vmap(grad)\n"
        )
        print(g.explain(), "\n")
        print(report, "\n")
    return results


if __name__ == "__main__":
    main()
