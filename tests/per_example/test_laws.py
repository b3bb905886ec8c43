"""Laws for the gradients of any batch, and edge cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.per_example import NETWORKS, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from fnn import per_example

ROWS = [NETWORKS[name] for name in ("mlp", "embedding", "attention")]


@functools.cache
def asker(loss):
    """Return norms and weighted sum, compiled once for all examples of hypothesis."""

    @jax.jit
    def ask(params, weights, *batch):
        g = per_example.gradients(loss)(params, *batch)
        return g.norms(), g.weighted_sum(weights)

    return ask


def ask(row, weights, batch=None, seed=0):
    params, drawn = draw(row, jnp.float32, seed)
    return asker(row.loss)(params, jnp.asarray(weights), *(batch or drawn))


def assert_close(a, b, rtol=2e-4):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(
            x, y, rtol=rtol, atol=rtol * np.max(np.abs(y), initial=1)
        )


WEIGHTS = st.lists(st.floats(-2, 2, width=32), min_size=5, max_size=5)
ORDER = st.permutations(range(5))


@settings(max_examples=10)
@given(row=st.sampled_from(ROWS), u=WEIGHTS, w=WEIGHTS)
def test_weighted_sum_is_linear(row, u, w):
    u, w = np.float32(u), np.float32(w)
    a, b = ask(row, u)[1], ask(row, w)[1]
    assert_close(ask(row, u + 2 * w)[1], {name: a[name] + 2 * b[name] for name in a})


@settings(max_examples=10)
@given(row=st.sampled_from(ROWS), order=ORDER)
def test_order_of_the_examples_does_not_matter(row, order):
    weights, order = np.arange(5, dtype=np.float32), np.array(order)
    _, batch = draw(row, jnp.float32)
    norms, total = ask(row, weights)
    moved = ask(row, weights[order], tuple(np.asarray(x)[order] for x in batch))
    assert_close(moved, (norms[order], total), 1e-5)


@settings(max_examples=10)
@given(row=st.sampled_from(ROWS), example=st.integers(0, 4), seed=st.integers(1, 9))
def test_examples_have_nothing_to_do_with_each_other(row, example, seed):
    """Changing one changes no bit of another's norm."""
    _, batch = draw(row, jnp.float32)
    _, others = draw(row, jnp.float32, seed)
    changed = tuple(np.array(x) for x in batch)
    for x, y in zip(changed, others, strict=True):
        x[example] = np.asarray(y)[0]
    ones = np.ones(5, np.float32)
    before, after = ask(row, ones)[0], ask(row, ones, changed)[0]
    np.testing.assert_array_equal(np.delete(before, example), np.delete(after, example))


@pytest.mark.parametrize("row", ROWS)
def test_duplicate_has_the_same_row(row):
    _, batch = draw(row, jnp.float32)
    doubled = tuple(np.asarray(x)[[0, 1, 2, 3, 1]] for x in batch)
    norms, _ = ask(row, np.ones(5, np.float32), doubled)
    np.testing.assert_allclose(norms[4], norms[1], rtol=1e-6)


def loss(w, x):
    return jnp.sum(jnp.tanh(x @ w) ** 2)


W = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
X = np.linspace(0, 2, 12, dtype=np.float32).reshape(4, 3)


@jax.jit
def norms_of(w):
    return per_example.gradients(loss)(w, X).norms()


def test_one_example():
    @jax.jit
    def ask(w, x):
        g = per_example.gradients(loss)(w, x)
        return g.mean(), g.variance(), jax.grad(loss)(w, x[0])

    mean, variance, gradient = ask(W, np.asarray(X)[:1])
    np.testing.assert_allclose(mean, gradient, rtol=1e-6)
    np.testing.assert_allclose(variance, np.zeros((3, 2)), atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "embedding", "recurrent", "conv, groups", "heads"])
def test_empty_batch_has_empty_answers(name):
    params, batch = draw(NETWORKS[name], jnp.float32)

    @jax.jit
    def ask(params, *batch):
        g = per_example.gradients(NETWORKS[name].loss)(params, *batch)
        sums = g.weighted_sum(jnp.zeros(0)), g.mean()
        return g.norms(), g.gram(), g.inner_products(params), sums, g.materialize()

    empty = (np.asarray(x)[:0] for x in batch)
    norms, gram, products, (zeros, mean), rows = ask(params, *empty)
    assert norms.shape == (0,)
    assert gram.shape == (0, 0)
    assert products.shape == (0,)
    for leaf, parameter in zip(*map(jax.tree.leaves, (zeros, params)), strict=True):
        np.testing.assert_array_equal(leaf, np.zeros_like(parameter))
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(mean))
    assert {x.shape[0] for x in jax.tree.leaves(rows)} == {0}


def test_weights_may_differ_from_leaf_to_leaf():
    params, batch = draw(NETWORKS["mlp"], jnp.float32)
    weights = {name: np.full(5, i, np.float32) for i, name in enumerate(params)}

    @jax.jit
    def ask(params, weights, *batch):
        g = per_example.gradients(NETWORKS["mlp"].loss)(params, *batch)
        each = {name: g.weighted_sum(w)[name] for name, w in weights.items()}
        return g.weighted_sum(weights), each

    total, each = ask(params, weights, *batch)
    for name in weights:
        np.testing.assert_array_equal(total[name], each[name])


def test_gram_of_two_batches():
    @jax.jit
    def grams(w, x):
        whole, first, last = (
            per_example.gradients(loss)(w, part) for part in (x, x[:1], x[1:])
        )
        return whole.gram(), first.gram(last)

    whole, across = grams(W, X)
    np.testing.assert_allclose(across, whole[:1, 1:], rtol=1e-5)


def test_signal_to_noise():
    """Gradients 1 and 3: mean 2, deviation 1. Where all are 0, it is 0."""
    x = jnp.array([[1.0, 0.0], [3.0, 0.0]])
    g = per_example.gradients(lambda w, x: w @ x)(jnp.zeros(2), x)
    np.testing.assert_allclose(g.signal_to_noise(), [2.0, 0.0])


def test_aux_is_kept_for_each_example():
    def with_aux(w, x):
        return loss(w, x), {"sum": jnp.sum(x), "first": x[0] > 1}

    g = jax.jit(per_example.gradients(with_aux, has_aux=True))(W, X)
    np.testing.assert_allclose(g.aux["sum"], X.sum(1), rtol=1e-6)
    np.testing.assert_array_equal(g.aux["first"], X[:, 0] > 1)
    expected = per_example.gradients(loss)(W, X).norms()
    np.testing.assert_allclose(g.norms(), expected, rtol=2.5e-7)


def test_it_is_a_pytree_that_leaves_jit():
    g = jax.jit(per_example.gradients(loss))(W, X)
    norms = np.asarray(g.norms())
    expected = per_example.gradients(loss)(W, X).norms()
    np.testing.assert_allclose(norms, expected, rtol=2.5e-7)
    np.testing.assert_allclose(g.take([2]).norms(), norms[2:3], rtol=2.5e-7)


def test_a_population_is_mapped_over():
    population = np.stack([W, 2 * W, -W])
    together = jax.jit(jax.vmap(norms_of))(population)
    np.testing.assert_allclose(together, [norms_of(w) for w in population], rtol=1e-6)
    g = jax.jit(jax.vmap(lambda w: per_example.gradients(loss)(w, X)))(population)
    found = jax.jit(jax.vmap(lambda g: g.norms()))(g)
    np.testing.assert_allclose(found, together, rtol=1e-6)


def test_an_outer_axis_name_may_be_used():
    def coupled(w, x):
        return loss(w - jax.lax.pmean(w, "population"), x)

    population = np.stack([W, 2 * W])

    def norms(w):
        return per_example.gradients(coupled)(w, X).norms()

    mapped = jax.jit(jax.vmap(norms, axis_name="population"))(population)
    assert mapped.shape == (2, 4)


def test_steps_in_a_scan():
    def step(w, x):
        g = per_example.gradients(loss)(w, x)
        return w - 0.1 * g.mean(), g.norms()

    w, norms = jax.jit(lambda w: jax.lax.scan(step, w, np.stack([X, 2 * X])))(W)
    first, _ = jax.jit(step)(W, X)
    second, last = jax.jit(step)(first, 2 * X)
    np.testing.assert_allclose(w, second, rtol=1e-5)
    np.testing.assert_allclose(norms[1], last, rtol=1e-5)


def test_norms_can_be_differentiated():
    """By forward mode and backward mode, through the factors and custom rules."""

    def penalty(w):
        def one(w, x):
            return jnp.sum(jax.nn.softplus(x @ w))

        return jnp.sum(per_example.gradients(one)(w, X).squared_norms())

    check_grads(jax.jit(penalty), (W,), order=1, modes=("fwd", "rev"), rtol=1e-2)


def test_randomness_has_a_key_for_each_example():
    def noisy(w, x, key):
        return loss(w, x + jax.random.normal(key, x.shape))

    keys = jax.random.split(jax.random.key(0), 4)
    norms = jax.jit(lambda *args: per_example.gradients(noisy)(*args).norms())
    gradient = jax.jit(jax.grad(noisy))
    each = [gradient(W, x, key) for x, key in zip(X, keys, strict=True)]
    wanted = [np.linalg.norm(e) for e in each]
    np.testing.assert_allclose(norms(W, X, keys), wanted, rtol=1e-5)


def test_frozen_parameters_cost_nothing():
    def frozen(params, x):
        return loss(jax.lax.stop_gradient(params["a"]) @ params["b"], x)

    params = {"a": jnp.ones((3, 3)), "b": W}
    g = per_example.gradients(frozen)(params, X)
    row = g.explain().rows[0]
    assert (row.path, row.rule, row.flops, row.nbytes) == ("a", "no gradient", 0, 0)
    np.testing.assert_array_equal(g.mean()["a"], jnp.zeros((3, 3)))
