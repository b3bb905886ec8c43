"""Per-example gradients of every kind of network, against a loop over single examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import over
from contracts.per_example import NETWORKS, draw

from fnn import per_example

# The second forms next to nothing and works on one example at a time.
BUDGETS = [2**26, 64]


def loop(loss, params, batch):
    """Return the losses, and the gradients as trees with a leading axis, one by one."""
    gradient = jax.jit(jax.value_and_grad(loss))
    results = [gradient(params, *example) for example in zip(*batch, strict=True)]
    losses, grads = zip(*results, strict=True)
    return np.stack(losses), jax.tree.map(lambda *g: np.stack(g).astype(np.float64), *grads)


def answers(g, weights, v):
    """Return all answers there are."""
    return {
        "losses": g.losses,
        "norms": g.norms(),
        "norms per leaf": g.norms(per_leaf=True),
        "weighted_sum": g.weighted_sum(weights),
        "mean": g.mean(),
        "inner_products": g.inner_products(v),
        "gram": g.gram(),
        "second_moment": g.second_moment(),
        "variance": g.variance(),
        "materialize": g.materialize(),
        "some": g.materialize(jnp.array([3, 1, 3])),
    }


def flat(grads):
    return np.concatenate([g.reshape(g.shape[0], -1) for g in jax.tree.leaves(grads)], 1)


def expected(losses, grads, weights, v):
    """Return all answers, in NumPy, from the gradients one by one."""
    rows = flat(grads)
    direction = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(v)])
    return {
        "losses": losses,
        "norms": np.linalg.norm(rows, axis=1),
        "norms per leaf": jax.tree.map(
            lambda g: np.linalg.norm(g.reshape(g.shape[0], -1), axis=1), grads
        ),
        "weighted_sum": jax.tree.map(lambda g: np.tensordot(weights, g, 1), grads),
        "mean": jax.tree.map(lambda g: g.mean(0), grads),
        "inner_products": rows @ direction,
        "gram": rows @ rows.T,
        "second_moment": jax.tree.map(lambda g: (g**2).mean(0), grads),
        "variance": jax.tree.map(lambda g: g.var(0), grads),
        "materialize": grads,
        "some": jax.tree.map(lambda g: g[[3, 1, 3]], grads),
    }


def assert_close(got, wanted, tolerance):
    for name, value in wanted.items():
        for x, y in zip(jax.tree.leaves(got[name]), jax.tree.leaves(value), strict=True):
            assert x.shape == np.shape(y), name
            limit = tolerance * max(1.0, np.max(np.abs(y), initial=0.0))
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=limit, err_msg=name)


@pytest.mark.parametrize("budget", BUDGETS, ids=["ample", "scarce"])
@over(NETWORKS)
def test_every_answer_is_that_of_the_loop(row, budget, x64):
    params, batch = draw(row)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=5)
    v = {name: rng.normal(size=shape) for name, shape in row.params.items()}

    @jax.jit
    def ask(params, *batch):
        g = per_example.gradients(row.loss, memory_budget=budget)(params, *batch)
        return answers(g, weights, v)

    wanted = expected(*loop(row.loss, params, batch), weights, v)
    assert_close(ask(params, *batch), wanted, 1e-10)


@over(NETWORKS)
def test_rule_is_the_cheapest(row):
    params, batch = draw(row, jnp.float32)
    g = jax.eval_shape(per_example.gradients(row.loss), params, *batch)
    rows = {leaf.path: leaf for leaf in g.explain().rows}
    assert {path: leaf.rule for path, leaf in rows.items()} == row.rules
    for leaf in rows.values():
        assert leaf.why or leaf.rule != "formed"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@over(NETWORKS)
def test_dtypes_are_kept_and_norms_are_at_least_float32(row, dtype):
    params, batch = draw(row, dtype)

    def ask(params, *batch):
        g = per_example.gradients(row.loss)(params, *batch)
        return g.weighted_sum(jnp.ones(5)), g.mean(), g.materialize(), g.norms()

    *trees, norms = jax.eval_shape(ask, params, *batch)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trees)} == {dtype}
    assert norms.dtype == jnp.float32


@over(
    {name: NETWORKS[name] for name in ("mlp", "attention", "tied embedding", "recurrent")}
)
def test_float32_agrees_too(row):
    params, batch = draw(row, jnp.float32)
    losses, grads = loop(row.loss, params, batch)
    g = jax.jit(per_example.gradients(row.loss))(params, *batch)
    np.testing.assert_allclose(g.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(g.norms(), np.linalg.norm(flat(grads), axis=1), rtol=1e-5)
