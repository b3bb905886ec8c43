"""Random orders, drawn on the device in time proportional to their length."""

import math

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.types import Array, Key

ROUNDS = 8
# Below this length a cipher has too few states to reach all orders equally often.
SHORT = 1024


def permutation(key: Key, n: int) -> Array:
    """Return the numbers from 0 to n - 1 in random order, (n,), int32.

    Short orders are `jax.random.permutation`'s, which sorts random numbers. Longer ones
    come from a cipher on {0, …, n - 1}, a Feistel network over pairs of digits whose
    rounds are drawn from the key; no sort is needed, and the order is the same on every
    backend. It is meant for shuffling, not for secrets.

    Source: Black & Rogaway 2002, "Ciphers with arbitrary finite domains"; Mitchell et
    al. 2021, "Bandwidth-optimal random shuffling for GPUs".

    Args:
        key: A typed key.
        n: From 1 to 2³¹ - 1.

    Raises:
        ValueError: If n is not a positive integer.

    Example:
        >>> order = permutation(jax.random.key(0), 60_000)
        >>> bool((jax.numpy.sort(order) == jax.numpy.arange(60_000)).all())
        True
    """
    checks.typed_key(key, "permutation")
    n = checks.positive_integer("n", n)
    if n <= SHORT:
        return jax.random.permutation(key, n).astype(jnp.int32)
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    round_keys = jax.random.bits(key, (ROUNDS,), jnp.uint32)

    def encipher(i: Array) -> Array:
        row, column = i // columns, i % columns
        for k in range(0, ROUNDS, 2):
            row = _add(row, _hash(column + round_keys[k]), rows)
            column = _add(column, _hash(row + round_keys[k + 1]), columns)
        return row * columns + column

    # The few results from n on are enciphered again until all are below n.
    order = jax.lax.while_loop(
        lambda i: jnp.any(i >= n),
        lambda i: jnp.where(i >= n, encipher(i), i),
        encipher(jnp.arange(n, dtype=jnp.uint32)),
    )
    return order.astype(jnp.int32)


def _add(digit: Array, noise: Array, base: int) -> Array:
    """Return (digit + noise) mod base, after scaling the noise to the base."""
    total = digit + (((noise >> 16) * jnp.uint32(base)) >> 16)
    return jnp.where(total >= base, total - jnp.uint32(base), total)


def _hash(x: Array) -> Array:
    """Mix the bits of 32-bit words (Wellons 2018, "Hash function prospector")."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
