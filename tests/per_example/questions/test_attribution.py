"""Influence of training examples upon test examples (TracIn)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.answers import one_by_one
from contracts.per_example import NETWORKS, draw

import fnn
from fnn import per_example

ROW = NETWORKS["mlp"]
RATES = (0.5, 0.1)
LAST = ("w2",)


@pytest.fixture(scope="module")
def case():
    """Return two checkpoints, five examples to train on and three to test, in float64."""
    with jax.enable_x64(True):
        params = [draw(ROW, seed=seed)[0] for seed in (0, 1)]
        train, test = (draw(ROW, seed=seed)[1] for seed in (2, 3))
        test = tuple(x[:3] for x in test)
        return list(zip(params, RATES, strict=True)), train, test


def rows(params, batch, names=tuple(ROW.params)):
    """Return the gradients of one example after the other, flat, (B, P)."""
    return np.array(
        [
            np.concatenate([np.ravel(gradient[name]) for name in sorted(names)])
            for gradient in one_by_one(ROW.loss, params, batch)
        ]
    )


@pytest.mark.parametrize("block_size", [256, 2])
@pytest.mark.parametrize(("on", "names"), [(None, tuple(ROW.params)), ("w2", LAST)])
def test_influence_is_that_of_a_loop(case, on, names, block_size, x64):
    checkpoints, train, test = case
    influence = per_example.tracin(
        ROW.loss, checkpoints, train, test, on=on, block_size=block_size
    )
    expected = sum(
        rate * rows(params, train, names) @ rows(params, test, names).T
        for params, rate in checkpoints
    )
    np.testing.assert_allclose(influence, expected, rtol=1e-10, atol=1e-12)
    own = per_example.self_influence(
        ROW.loss, checkpoints, train, on=on, block_size=block_size
    )
    expected = sum(
        rate * np.sum(rows(params, train, names) ** 2, 1) for params, rate in checkpoints
    )
    np.testing.assert_allclose(own, expected, rtol=1e-10)


def test_influence_on_itself_is_symmetric_with_self_influence_on_the_diagonal(case, x64):
    checkpoints, train, _ = case
    influence = np.asarray(per_example.tracin(ROW.loss, checkpoints, train, train))
    np.testing.assert_allclose(influence, influence.T, rtol=1e-12)
    own = per_example.self_influence(ROW.loss, checkpoints, train)
    np.testing.assert_allclose(np.diag(influence), own, rtol=1e-12)


def test_influence_foretells_what_a_step_does_to_the_loss(case, x64):
    """A small step of gradient descent on one example, by Taylor's theorem."""
    ((params, _), _), train, test = case
    rate = 1e-7
    influence = per_example.tracin(ROW.loss, [(params, rate)], train, test)
    loss = jax.jit(jax.vmap(ROW.loss, (None, 0, 0)))
    for i, gradient in enumerate(one_by_one(ROW.loss, params, train)):
        stepped = jax.tree.map(lambda w, g: w - rate * g, params, gradient)
        fall = loss(params, *test) - loss(stepped, *test)
        np.testing.assert_allclose(influence[i], fall, rtol=1e-4, atol=1e-11)


def test_checkpoints_may_come_one_by_one(case, x64):
    """A generator, as for files; one compiled program serves all checkpoints."""
    checkpoints, train, test = case
    traced = []

    def loss(params, *example):
        traced.append(0)
        return ROW.loss(params, *example)

    per_example.tracin(loss, checkpoints[:1], train, test)
    once = len(traced)
    influence = per_example.tracin(loss, (pair for pair in checkpoints), train, test)
    assert len(traced) == once
    np.testing.assert_array_equal(
        influence, per_example.tracin(ROW.loss, checkpoints, train, test)
    )


def test_influence_under_jit_and_of_a_model_that_is_partly_chosen():
    model = fnn.models.mlp(5, 3)
    x, y = jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.array([0, 1, 2, 0])
    params, _ = model.init(jax.random.key(0), x[0])

    def loss(params, x, y):
        return fnn.losses.softmax_cross_entropy(model(params, x), y)

    def influence(params, on):
        return per_example.tracin(loss, [(params, 0.1)], (x, y), (x, y), on=on)

    parts = [influence(params, pattern) for pattern in ("dense_0/*", "dense_1/*")]
    np.testing.assert_allclose(
        jax.jit(influence, static_argnums=1)(params, None), sum(parts), rtol=1e-5, atol=1e-7
    )


def test_proponents_and_opponents():
    influence = jnp.array([[0.5, -1.0], [-2.0, 4.0], [3.0, 2.0], [1.0, -3.0]])
    best = per_example.proponents(influence, 2)
    np.testing.assert_array_equal(best.examples, [[2, 3], [1, 2]])
    np.testing.assert_array_equal(best.scores, [[3, 1], [4, 2]])
    worst = per_example.opponents(influence, 3)
    np.testing.assert_array_equal(worst.examples, [[1, 0, 3], [3, 0, 2]])
    np.testing.assert_array_equal(worst.scores, [[-2, 0.5, 1], [-3, -1, 2]])


def test_no_examples_have_no_influence():
    none = (jnp.zeros((0, 2)),)
    some = (jnp.ones((3, 2)),)
    checkpoints = [(jnp.zeros(2), 1.0)]
    loss = jnp.dot
    assert per_example.tracin(loss, checkpoints, some, none).shape == (3, 0)
    assert per_example.tracin(loss, checkpoints, none, some).shape == (0, 3)
    assert per_example.self_influence(loss, checkpoints, none).shape == (0,)


PAIR = [(jnp.zeros(2), 1.0)]
EXAMPLES = (jnp.ones((3, 2)),)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            ValueError,
            "checkpoints must hold a pair .*got none",
            lambda: per_example.tracin(jnp.dot, [], EXAMPLES, EXAMPLES),
        ),
        (
            TypeError,
            r"must be a pair \(params, learning_rate\), got float32\[2\]",
            lambda: per_example.self_influence(jnp.dot, [jnp.zeros(2)], EXAMPLES),
        ),
        (
            TypeError,
            r"test must be a tuple of the arrays .* got float32\[3,2\]",
            lambda: per_example.tracin(jnp.dot, PAIR, EXAMPLES, EXAMPLES[0]),
        ),
        (
            ValueError,
            "train must have as many examples in all leaves",
            lambda: per_example.tracin(jnp.dot, PAIR, (jnp.ones(2), jnp.ones(3)), EXAMPLES),
        ),
        (
            ValueError,
            "block_size must be a positive integer, got 0",
            lambda: per_example.tracin(jnp.dot, PAIR, EXAMPLES, EXAMPLES, block_size=0),
        ),
        (
            ValueError,
            "no leaf matches 'head/",
            lambda: per_example.self_influence(jnp.dot, PAIR, EXAMPLES, on="head/*"),
        ),
        (
            ValueError,
            r"influence must be \(N, M\), got float32\[2\]",
            lambda: per_example.proponents(jnp.ones(2), 1),
        ),
        (
            ValueError,
            "k must be at most the number of training examples, 3, got 4",
            lambda: per_example.opponents(jnp.ones((3, 2)), 4),
        ),
    ],
)
def test_refuses(error, message, call):
    with pytest.raises(error, match=message):
        call()
