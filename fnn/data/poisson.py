"""Batches that hold each example with the same probability, independently."""

import bisect
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn import checks
from fnn.types import Array, Key

WORD = 2**32


class PoissonSample(NamedTuple):
    """The result of `poisson_sample`, of a fixed length.

    `indices`, (size,), int32, are the drawn examples in ascending order, followed by zeros.
    `mask`, (size,), is true for the drawn examples. `overflow`, (), int32, is the number of
    drawn examples that did not fit into `size`; they were left out at random.
    """

    indices: Array
    mask: Array
    overflow: Array


def poisson_sample(key: Key, examples: int, rate: float, size: int) -> PoissonSample:
    """Draw a batch that holds each example with probability `rate`, independently.

    Private training samples this way, because its guarantee is then stronger. The number of
    examples drawn is random, with the mean examples · rate. The arrays have a fixed length
    and a mask. If more than `size` examples are drawn, `size` of them are kept; all subsets
    are equally likely. This is truncated Poisson sampling, which costs more privacy: pass
    `examples` and `size` to `fnn.per_example.epsilon`. `poisson_size` gives a length that
    is rarely exceeded.

    Source: Mironov et al. 2019, "Rényi differential privacy of the sampled Gaussian
    mechanism"; Ganesh 2025, "Tighter privacy analysis for truncated Poisson sampling".

    Args:
        key: A typed key.
        examples: The number of examples to draw from.
        rate: The probability of each, above 0 and at most 1; rounded down to a multiple
            of 2⁻³².
        size: The length of the batch.

    Returns:
        Indices, mask, and the number of examples that were left out.

    Raises:
        ValueError: If `examples` or `size` is not a positive integer, or the rate is out of
            range.

    Example:
        >>> batch = fnn.data.poisson_sample(jax.random.key(0), 1000, 0.004, size=8)
        >>> print(batch.indices, batch.mask.sum(), batch.overflow)
        [288 428 526 561 699 954   0   0] 6 0
    """
    checks.typed_key(key, "poisson_sample")
    checks.positive_integer("examples", examples)
    checks.positive_integer("size", size)
    _check_rate(rate)
    words = jax.random.bits(key, (examples,), jnp.uint32)
    drawn = words <= jnp.uint32(int(rate * WORD) - 1)
    count = jnp.sum(drawn.astype(jnp.int32))
    if size < examples:
        # No word uses this block of the generator, so the key is independent of the words.
        spare = jax.random.fold_in(jax.random.clone(key), WORD - 1)
        # Pass the key as numbers: under `vmap`, `cond` reads its operands twice.
        data, impl = jax.random.key_data(spare), jax.random.key_impl(spare)
        kept = functools.partial(_first, size, words, data, impl)
        drawn = lax.cond(count > size, kept, lambda: drawn)
    (indices,) = jnp.nonzero(drawn, size=size, fill_value=0)
    mask = jnp.arange(size, dtype=jnp.int32) < count
    return PoissonSample(indices.astype(jnp.int32), mask, jnp.maximum(count - size, 0))


def _first(size: int, words: Array, key_data: Array, impl: Any) -> Array:
    """Return the positions of the `size` smallest words; ties are in random order.

    The words of the drawn examples are independent and uniform, so all subsets are equally
    likely.
    """
    key = jax.random.wrap_key_data(key_data, impl=impl)
    ties = jax.random.bits(key, words.shape, jnp.uint32)
    places = lax.iota(jnp.int32, words.size)
    _, _, order = lax.sort((words, ties, places), num_keys=2)
    return jnp.zeros(words.shape, bool).at[order[:size]].set(True)


def poisson_size(examples: int, rate: float, overflow: float = 1e-12) -> int:
    """Return a length of batches that `poisson_sample` exceeds with small probability.

    By Chernoff's bound, P(more than m of n) ≤ exp(-n KL((m + 1) / n ‖ rate)). Over T steps,
    truncation then adds at most T · overflow · (1 + e^ε) to the δ of private training, and
    `fnn.per_example.epsilon` accounts for it if it is given `examples` and `size`.

    Args:
        examples: The number of examples to draw from, n.
        rate: The probability of each, above 0 and at most 1.
        overflow: The largest probability that one batch is too short.

    Returns:
        The least m, at most n, for which the bound is at most `overflow`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> fnn.data.poisson_size(60_000, 1 / 240)  # 250 on average
        376
    """
    checks.positive_integer("examples", examples)
    _check_rate(rate)
    checks.between("overflow", overflow, 0, 1)
    target = math.inf if overflow == 0 else -math.log(overflow)

    def rare(size: int) -> bool:
        share = (size + 1) / examples
        return share > rate and examples * _divergence(share, rate) >= target

    return bisect.bisect_left(range(examples), True, lo=1, key=rare)


def _check_rate(rate: float) -> None:
    checks.between("rate", rate, 1 / WORD, 1)


def _divergence(p: float, q: float) -> float:
    """Return the Kullback-Leibler divergence of coins with probabilities p and q."""
    if q == 1:
        return 0.0 if p == 1 else math.inf
    inside = p * math.log(p / q)
    return inside if p == 1 else inside + (1 - p) * math.log((1 - p) / (1 - q))
