"""Influence of training examples on a model's losses (TracIn), and rankings by it."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn import checks, tree
from fnn.per_example.factored import MEMORY_BUDGET, FactoredGradients, gradients
from fnn.tree import Pattern
from fnn.types import Array, PyTree


class Ranking(NamedTuple):
    """The k training examples with the most influence on each of M test examples.

    Attributes:
        examples: Numbers of training examples, (M, k).
        scores: Their influence, (M, k).
    """

    examples: Array
    scores: Array


def tracin(
    loss: Callable[..., Any],
    checkpoints: Iterable[tuple[PyTree, float]],
    train: tuple[PyTree, ...],
    test: tuple[PyTree, ...],
    *,
    on: Pattern | None = None,
    block_size: int = 256,
    memory_budget: int = MEMORY_BUDGET,
) -> Array:
    """Estimate the influence of training on test examples, Σₜ ηₜ ⟨gᵢ(wₜ), hⱼ(wₜ)⟩.

    A step of gradient descent on training example i, whose gradient is gᵢ, lowers the loss
    of test example j, whose gradient is hⱼ, by about η ⟨gᵢ, hⱼ⟩. The sum over checkpoints
    estimates by how much training on i lowered that loss in all. It is positive for a
    proponent of j, and negative for an opponent.

    Checkpoints are used one at a time, and examples in blocks. If they are large, pass a
    generator that reads checkpoints from files, and NumPy arrays. The function compiles
    its work; it need not be called in `jax.jit`.

    Source: Pruthi et al. 2020, "Estimating training data influence by tracing gradient
    descent".

    Args:
        loss: `loss(params, *example) -> scalar`, of one example.
        checkpoints: Pairs of the parameters wₜ and the learning rate ηₜ there. As the sum
            stands for one over all steps, multiply ηₜ by the number of steps to the next.
        train: N training examples, as the tuple of arrays that the loss takes.
        test: M test examples, likewise.
        on: Which parameters count, by a glob on their paths (see `fnn.tree`) or several;
            by default all. Often the last layers are enough, and cheaper.
        block_size: The number of examples that are computed at a time.
        memory_budget: As for `gradients`.

    Returns:
        The influence of each training example on each test example, (N, M).

    Raises:
        TypeError: If the examples are not given as tuples of arrays.
        ValueError: If `checkpoints` is empty, or no parameter matches `on`.

    Example:
        >>> def loss(w, x, y):
        ...     return 0.5 * (w @ x - y) ** 2
        >>> w = jax.numpy.zeros(2)
        >>> train = jax.numpy.array([[1.0, 0.0], [0.0, 1.0]]), jax.numpy.array([2.0, 3.0])
        >>> test = jax.numpy.array([[1.0, -1.0]]), jax.numpy.array([1.0])
        >>> fnn.per_example.tracin(loss, [(w, 0.1)], train, test)  # 0.1 · 2 and 0.1 · -3
        Array([[ 0.2],
               [-0.3]], dtype=float32)
    """
    question = _Question(loss, on, memory_budget)
    train, test = _examples("train", train), _examples("test", test)
    checks.positive_integer("block_size", block_size)

    def products(params: PyTree) -> Array:
        columns = []
        for tested in _blocks(test, block_size):
            h = _gradients(question, params, tested)
            rows = [_gram(question, params, z, h) for z in _blocks(train, block_size)]
            columns.append(jnp.concatenate(rows))
        return jnp.concatenate(columns, 1)

    return _over_checkpoints(products, checkpoints)


def self_influence(
    loss: Callable[..., Any],
    checkpoints: Iterable[tuple[PyTree, float]],
    examples: tuple[PyTree, ...],
    *,
    on: Pattern | None = None,
    block_size: int = 256,
    memory_budget: int = MEMORY_BUDGET,
) -> Array:
    """Estimate the influence of each example on itself, Σₜ ηₜ ‖gᵢ(wₜ)‖².

    It is large for examples that no other example explains: rare ones, and those with a
    wrong label.

    Source: Pruthi et al. 2020, "Estimating training data influence by tracing gradient
    descent".

    Args:
        loss: `loss(params, *example) -> scalar`, of one example.
        checkpoints: As for `tracin`.
        examples: N examples, as the tuple of arrays that the loss takes.
        on: Which parameters count, as for `tracin`.
        block_size: The number of examples that are computed at a time.
        memory_budget: As for `gradients`.

    Returns:
        The influence of each example, (N,), at least 0.

    Raises:
        TypeError: If the examples are not given as a tuple of arrays.
        ValueError: If `checkpoints` is empty, or no parameter matches `on`.

    Example:
        >>> def loss(w, x, y):
        ...     return 0.5 * (w @ x - y) ** 2
        >>> w, x = jax.numpy.zeros(2), jax.numpy.array([[1.0, 0.0], [0.0, 1.0]])
        >>> examples = x, jax.numpy.array([2.0, 3.0])
        >>> fnn.per_example.self_influence(loss, [(w, 1.0)], examples)
        Array([4., 9.], dtype=float32)
    """
    question = _Question(loss, on, memory_budget)
    examples = _examples("examples", examples)
    checks.positive_integer("block_size", block_size)

    def squared_norms(params: PyTree) -> Array:
        parts = _blocks(examples, block_size)
        return jnp.concatenate([_squared_norms(question, params, z) for z in parts])

    return _over_checkpoints(squared_norms, checkpoints)


def proponents(influence: Array, k: int) -> Ranking:
    """Find the k training examples that helped each test example most.

    Args:
        influence: (N, M), as `tracin` returns it.
        k: At most N.

    Returns:
        The training examples and their influence, the largest first.

    Raises:
        ValueError: If the influence is not (N, M), or k is not from 1 to N.

    Example:
        >>> influence = jax.numpy.array([[0.5], [-2.0], [3.0]])  # on one test example
        >>> ranking = fnn.per_example.proponents(influence, 2)
        >>> ranking.examples, ranking.scores
        (Array([[2, 0]], dtype=int32), Array([[3. , 0.5]], dtype=float32))
    """
    scores, examples = lax.top_k(_ranked(influence, k).T, k)
    return Ranking(examples, scores)


def opponents(influence: Array, k: int) -> Ranking:
    """Find the k training examples that hurt each test example most.

    Args:
        influence: (N, M), as `tracin` returns it.
        k: At most N.

    Returns:
        The training examples and their influence, the most negative first.

    Raises:
        ValueError: If the influence is not (N, M), or k is not from 1 to N.

    Example:
        >>> influence = jax.numpy.array([[0.5], [-2.0], [3.0]])  # on one test example
        >>> ranking = fnn.per_example.opponents(influence, 1)
        >>> ranking.examples, ranking.scores
        (Array([[1]], dtype=int32), Array([[-2.]], dtype=float32))
    """
    scores, examples = lax.top_k(-_ranked(influence, k).T, k)
    return Ranking(examples, -scores)


class _Question(NamedTuple):
    """The loss, and which of its parameters, to compare gradients of."""

    loss: Callable[..., Any]
    on: Pattern | None
    memory_budget: int


# Compiled once for each question and shape, for all checkpoints and calls.
_compiled = functools.partial(jax.jit, static_argnums=0)


@_compiled
def _gradients(question: _Question, params: PyTree, batch: PyTree) -> FactoredGradients:
    loss, on, budget = question
    if on is None:
        return gradients(loss, memory_budget=budget)(params, *batch)
    chosen, others = tree.partition(params, on)

    def loss_of_chosen(chosen: PyTree, *example: PyTree) -> Any:
        return loss(tree.merge(chosen, others), *example)

    return gradients(loss_of_chosen, memory_budget=budget)(chosen, *batch)


@_compiled
def _gram(
    question: _Question, params: PyTree, batch: PyTree, h: FactoredGradients
) -> Array:
    return _gradients(question, params, batch).gram(h)


@_compiled
def _squared_norms(question: _Question, params: PyTree, batch: PyTree) -> Array:
    return _gradients(question, params, batch).squared_norms()


def _over_checkpoints(
    compute: Callable[[PyTree], Array], checkpoints: Iterable[Any]
) -> Array:
    """Return Σₜ ηₜ compute(wₜ)."""
    total: Array | None = None
    for checkpoint in checkpoints:
        if not isinstance(checkpoint, tuple) or len(checkpoint) != 2:
            raise TypeError(
                f"a checkpoint must be a pair (params, learning_rate), "
                f"got {checks.describe(checkpoint)}"
            )
        params, rate = checkpoint
        value = compute(params)
        value = jnp.asarray(rate, value.dtype) * value
        total = value if total is None else total + value
    if total is None:
        raise ValueError("checkpoints must hold a pair (params, learning_rate), got none")
    return total


def _examples(name: str, batch: Any) -> tuple[PyTree, ...]:
    if not isinstance(batch, tuple):
        raise TypeError(
            f"{name} must be a tuple of the arrays that the loss takes after params, "
            f"got {checks.describe(batch)}"
        )
    checks.leading_length(batch, name)
    return batch


def _blocks(batch: tuple[PyTree, ...], size: int) -> Iterator[tuple[PyTree, ...]]:
    """Yield blocks of `size` examples of a batch; for an empty batch, one empty block."""
    count = checks.leading_length(batch, "the batch")
    for start in range(0, max(count, 1), size):
        yield jax.tree.map(lambda x, start=start: x[start : start + size], batch)


def _ranked(influence: Array, k: int) -> Array:
    influence = jnp.asarray(influence)
    if influence.ndim != 2:
        raise ValueError(f"influence must be (N, M), got {checks.describe(influence)}")
    if checks.positive_integer("k", k) > influence.shape[0]:
        raise ValueError(
            f"k must be at most the number of training examples, {influence.shape[0]}, "
            f"got {k}"
        )
    return influence
