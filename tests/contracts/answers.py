"""All that per-example gradients are asked, answered by a loop over single examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from contracts.per_example import draw
from fnn import per_example

QUICK = {"xla_backend_optimization_level": 0}  # to compile, not to run


def on_host(x):
    """Return an array whose rows are taken without a compilation, unless it is of keys."""
    return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


@functools.cache
def compiled_gradient(loss):
    return jax.jit(jax.grad(loss))


def one_by_one(loss, params, batch):
    """Return the gradients of one example after the other."""
    examples = zip(*map(on_host, batch), strict=True)
    return [compiled_gradient(loss)(params, *example) for example in examples]


@functools.cache
def compiled_loss_and_gradient(loss):
    return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)


def loop(loss, params, batch):
    """Return the losses, and the gradients as trees with a leading axis, one by one."""
    gradient = compiled_loss_and_gradient(loss)
    examples = zip(*map(on_host, batch), strict=True)
    results = [gradient(params, *example) for example in examples]
    losses, grads = zip(*results, strict=True)
    return np.stack(losses), jax.tree.map(lambda *g: np.stack(g).astype(np.float64), *grads)


def answers(g, weights, v):
    """Return all answers there are."""
    second, variance = g.second_moment(), g.variance()
    return {
        "losses": g.losses,
        "norms": g.norms(),
        "norms per leaf": g.norms(per_leaf=True),
        "weighted_sum": g.weighted_sum(weights),
        "mean": g.mean(),
        "inner_products": g.inner_products(v),
        "gram": g.gram(),
        "gram of two": g.gram(g.take(jnp.array([2, 0]))),
        "second_moment": second,
        "variance": variance,
        "signal_to_noise": jax.tree.map(
            lambda ratio, *moments: jnp.where(noisy(*moments), ratio, 0),
            g.signal_to_noise(),
            second,
            variance,
        ),
        "materialize": g.materialize(),
        "some": g.materialize(jnp.array([2, 1, 2])),
    }


def flat(grads):
    return np.concatenate([g.reshape(g.shape[0], -1) for g in jax.tree.leaves(grads)], 1)


def noisy(second, variance):
    """Return where neither number is what rounding leaves of 0."""
    return (variance > 1e-4 * second) & (second > 1e-24)


def expected(losses, grads, weights, v):
    """Return all answers, in NumPy, from the gradients one by one."""
    rows = flat(grads)
    direction = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(v)])

    def signal_to_noise(g):
        variance, second = g.var(0), (g**2).mean(0)
        ratio = np.abs(g.mean(0)) / np.sqrt(np.where(variance > 0, variance, 1))
        return np.where(noisy(second, variance), ratio, 0)

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
        "gram of two": rows @ rows[[2, 0]].T,
        "second_moment": jax.tree.map(lambda g: (g**2).mean(0), grads),
        "variance": jax.tree.map(lambda g: g.var(0), grads),
        "signal_to_noise": jax.tree.map(signal_to_noise, grads),
        "materialize": grads,
        "some": jax.tree.map(lambda g: g[[2, 1, 2]], grads),
    }


def assert_close(got, wanted, tolerance):
    for name, value in wanted.items():
        for x, y in zip(jax.tree.leaves(got[name]), jax.tree.leaves(value), strict=True):
            assert x.shape == np.shape(y), name
            limit = tolerance * max(1.0, np.max(np.abs(y), initial=0.0))
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=limit, err_msg=name)


def check_loss(loss, params, batch, budget=2**26, names=None):
    """Compare all answers, or those named, with those of the loop, to 1e-10."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=len(jax.tree.leaves(batch)[0]))
    v = jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)), params)

    def ask(params, *batch):
        g = per_example.gradients(loss, memory_budget=budget)(params, *batch)
        every = answers(g, weights, v)
        return {name: every[name] for name in names or every}

    got = jax.jit(ask, compiler_options=QUICK)(params, *batch)
    wanted = expected(*loop(loss, params, batch), weights, v)
    assert_close(got, {name: wanted[name] for name in got}, 1e-10)


def check_answers(row, budget, names=None):
    """Compare the answers for a row of the table with those of the loop."""
    check_loss(row.loss, *draw(row), budget, names)
