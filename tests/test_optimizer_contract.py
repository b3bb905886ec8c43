"""What every optimizer and schedule promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, over
from contracts.optimizers import OPTIMIZERS, SCHEDULES

import fnn
from fnn import optimizers


def parameters(dtype="float64"):
    leaf = example((7,), dtype, seed=3)
    return {"a": leaf[:3].reshape(1, 3), "b": {"c": leaf[3:6], "empty": {}}, "d": leaf[6]}


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@over(OPTIMIZERS)
def test_optimizer_follows_its_formula_for_100_steps(row, x64):
    optimizer, params = row.make(), parameters()
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    oracle, rng = row.oracle(), np.random.default_rng(4)
    next(oracle)
    for _ in range(100):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
        expected = oracle.send(flat(grads))
        updates, state = update(grads, state, params)
        np.testing.assert_allclose(flat(updates), expected, rtol=1e-9, atol=1e-12)
        params = optimizers.apply_updates(params, updates)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(OPTIMIZERS)
def test_optimizer_keeps_dtype_and_structure(row, dtype):
    optimizer, params = row.make(), parameters(dtype)
    state = optimizer.init(params)
    updates, new = optimizer.update(params, state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
    moved = optimizers.apply_updates(params, updates)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, params)
    chex.assert_trees_all_close(optimizer.update(params, state)[0], updates)
    assert optimizer.update({}, optimizer.init({}))[0] == {}


@over(OPTIMIZERS)
def test_optimizer_runs_in_scan(row, x64):
    optimizer, params = row.make(), parameters()

    def step(carry, scale):
        params, state = carry
        grads = fnn.tree.scale(scale, params)
        updates, state = optimizer.update(grads, state, params)
        return (optimizers.apply_updates(params, updates), state), None

    start, scales = (params, optimizer.init(params)), jnp.linspace(0.1, 1, 5)
    scanned, _ = jax.lax.scan(step, start, scales)
    for scale in scales:
        start, _ = step(start, scale)
    chex.assert_trees_all_close(scanned, start, rtol=1e-12)


@over(OPTIMIZERS, where=lambda row: row.over_rate)
def test_optimizer_maps_over_the_rate(row, x64):
    params, grads = parameters(), parameters()

    def step(rate):
        optimizer = row.over_rate(rate)
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(grads, state, params)
        return updates, optimizers.current_learning_rate(state)

    rates = jnp.array([0.01, 0.1, 1.0])
    updates, shown = jax.vmap(step)(rates)
    np.testing.assert_array_equal(shown, rates)
    for i, rate in enumerate(rates):
        row_i = jax.tree.map(lambda leaf, i=i: leaf[i], updates)
        chex.assert_trees_all_close(row_i, step(float(rate))[0], rtol=1e-12)


@over(OPTIMIZERS, where=lambda row: row.over_rate)
def test_optimizer_minimizes_a_quadratic(row):
    optimizer, params = row.over_rate(0.05), {"w": jnp.array([1.0, -2.0])}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.grad(lambda p: jnp.sum(jnp.square(p["w"] - 3.0)))(params)
        updates, state = optimizer.update(grads, state, params)
        return optimizers.apply_updates(params, updates), state

    for _ in range(400):
        params, state = step(params, state)
    np.testing.assert_allclose(params["w"], 3.0, atol=1e-2)


@over(SCHEDULES)
def test_schedule_agrees_with_formula(row, x64):
    schedule, steps = row.make(), np.arange(0, 60, 7)
    expected = [row.oracle(int(t)) for t in steps]
    eager = [schedule(int(t)) for t in steps]
    np.testing.assert_allclose(eager, expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.asarray(steps)), expected)
