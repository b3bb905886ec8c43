"""Per-example gradients of every kind of network, against a loop over single examples."""

import jax
import jax.numpy as jnp
import numpy as np
from contracts import over
from contracts.per_example import NETWORKS, draw

from fnn import per_example

# Nothing fits into it: gradients are not kept, and examples are worked on one by one.
SCARCE = 64
MAIN = ("norms", "weighted_sum", "inner_products", "gram", "second_moment", "materialize")
AMPLE = ("mlp", "heads", "norm", "embedding", "tied embedding", "recurrent", "conv, groups")
QUICK = {"xla_backend_optimization_level": 0}  # to compile, not to run


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


def check_answers(row, budget, names=None):
    params, batch = draw(row)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=5)
    v = {name: rng.normal(size=shape) for name, shape in row.params.items()}

    def ask(params, *batch):
        g = per_example.gradients(row.loss, memory_budget=budget)(params, *batch)
        every = answers(g, weights, v)
        return {name: every[name] for name in names or every}

    got = jax.jit(ask, compiler_options=QUICK)(params, *batch)
    wanted = expected(*loop(row.loss, params, batch), weights, v)
    assert_close(got, {name: wanted[name] for name in got}, 1e-10)


@over(NETWORKS)
def test_every_answer_is_that_of_the_loop(row, x64):
    check_answers(row, SCARCE, MAIN)


@over({name: NETWORKS[name] for name in AMPLE})
def test_every_answer_is_that_of_the_loop_where_memory_is_ample(row, x64):
    check_answers(row, 2**26)


@over(NETWORKS)
def test_rule_is_the_cheapest_and_dtypes_are_kept(row):
    """Of the parameters, that is; norms have at least float32."""
    params, batch = draw(row, jnp.bfloat16)

    def ask(params, *batch):
        g = per_example.gradients(row.loss)(params, *batch)
        return g, g.norms(), (g.weighted_sum(jnp.ones(5)), g.mean(), g.materialize())

    g, norms, trees = jax.eval_shape(ask, params, *batch)
    rows = {leaf.path: leaf for leaf in g.explain().rows}
    assert {path: leaf.rule for path, leaf in rows.items()} == row.rules
    assert all(leaf.why or leaf.rule != "formed" for leaf in rows.values())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(trees)} == {"bfloat16"}
    assert norms.dtype == jnp.float32


@over({name: NETWORKS[name] for name in AMPLE})
def test_norms_are_right_in_float32(row):
    params, batch = draw(row, jnp.float32)
    _, grads = loop(row.loss, params, batch)
    norms = jax.jit(lambda *args: per_example.gradients(row.loss)(*args).norms())
    wanted = np.linalg.norm(flat(grads), axis=1)
    np.testing.assert_allclose(norms(params, *batch), wanted, rtol=2e-5)
