"""A rule on one array becomes an optimizer of trees."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example

import fnn
from fnn.optimizers import Leafwise


class AverageState(NamedTuple):
    step: jax.Array
    learning_rate: jax.Array
    average: Any
    largest: Any


class Scaled(Leafwise):
    """m ← μ m + (1 - μ) g; u ← max(u, |g|); w ← w - α m / u, and the step number t."""

    momentum: float = 0.9

    State = AverageState

    def rule(self, g, m, u, now):
        m = self.momentum * m + (1 - self.momentum) * g
        u = jnp.maximum(u, jnp.abs(g))
        return -now.rate * m / u, m, u


class Unit(Leafwise):
    """w ← w - α g / ‖g‖ for each layer."""

    def rule(self, g, now):
        return now.minus_rate * g / jnp.sqrt(jnp.sum(jnp.square(g)))


class Toward(Leafwise):
    """w ← w - α t w."""

    reads_params = True

    def rule(self, g, now):
        return -now.rate * now.t.astype(g.dtype) * now.w


def test_a_rule_of_a_user_follows_its_formula():
    grads = [
        {"a": example((3,), seed=i), "b": {"c": example((), seed=9 + i)}} for i in range(4)
    ]
    rate = fnn.schedules.InverseTimeDecay(0.5, 1.0)
    scaled = Scaled(rate)
    state = scaled.init(grads[0])
    m, u = np.zeros(4), np.zeros(4)
    for t, g in enumerate(grads):
        updates, state = scaled.update(g, state)
        flat = np.concatenate([g["a"], g["b"]["c"][None]]).astype(np.float64)
        m, u = 0.9 * m + 0.1 * flat, np.maximum(u, np.abs(flat))
        got = np.concatenate([updates["a"], updates["b"]["c"][None]])
        np.testing.assert_allclose(got, -0.5 / (1 + t) * m / u, rtol=1e-5)
        assert state.step == t + 1
    np.testing.assert_allclose(state.learning_rate, 0.5 / 4, rtol=1e-6)


def test_statistics_are_wide_and_updates_are_not():
    grads = {"w": jnp.ones(3, jnp.bfloat16)}
    state = Scaled(0.1).init(grads)
    updates, state = jax.eval_shape(Scaled(0.1).update, grads, state)
    assert updates["w"].dtype == jnp.bfloat16
    assert state.average["w"].dtype == state.largest["w"].dtype == jnp.float32


def test_a_rule_sees_one_layer_of_a_stack():
    stack = example((2, 3, 4))
    grads = {"outer": {"stack": {"stack": {"kernel": stack}}}, "kernel": stack}
    updates, _ = Unit(1.0).update(grads, Unit(1.0).init(grads))
    whole = np.asarray(stack, np.float64)
    layers = np.sqrt((whole**2).sum(-1, keepdims=True))
    inner = updates["outer"]["stack"]["stack"]["kernel"]
    np.testing.assert_allclose(inner, -whole / layers, rtol=1e-5)
    np.testing.assert_allclose(
        updates["kernel"], -whole / np.sqrt((whole**2).sum()), rtol=1e-5
    )


def test_a_rule_may_read_the_parameters():
    params = {"w": jnp.array([2.0, -4.0]), "none": jnp.ones(1)}
    grads, toward = {"w": jnp.ones(2), "none": None}, Toward(0.25)
    state = toward.init(params)
    for t in (1, 2):
        updates, state = toward.update(grads, state, params)
        np.testing.assert_allclose(updates["w"], [-0.5 * t, 1.0 * t])
        assert updates["none"] is None
    with pytest.raises(ValueError, match="Toward needs the parameters"):
        toward.update(grads, state)


def test_a_rule_is_traced_once_for_leaves_that_are_alike():
    traced = []

    class Counted(Leafwise):
        def rule(self, g, now):
            traced.append(g.shape)
            return -now.rate * g

    grads = {f"w{i}": jnp.ones((2, 3)) for i in range(5)} | {"b": jnp.ones(3)}
    for rate in (0.1, 0.2, fnn.schedules.Constant(0.3)):  # another rate traces nothing
        counted = Counted(rate)
        jax.jit(counted.update)(grads, counted.init(grads))
    assert sorted(traced) == [(2, 3), (3,)]


def test_numbers_of_a_rule_may_be_traced_or_numpy():
    grads = {"w": jnp.array([1.0, -2.0])}

    @jax.jit
    @jax.vmap
    def first(momentum):
        scaled = Scaled(0.1, momentum)
        return scaled.update(grads, scaled.init(grads))[0]["w"]

    got = first(jnp.array([0.0, 0.5, 0.75]))
    np.testing.assert_allclose(got, -0.1 * np.outer([1, 0.5, 0.25], [1, -1]), rtol=1e-6)
    for half in (np.float32(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5)):
        scaled = Scaled(0.1, half)
        updates, _ = scaled.update(grads, scaled.init(grads))
        chex.assert_trees_all_equal(updates, {"w": got[1]})


def test_a_wrong_rule_is_named():
    class Short(Scaled):
        def rule(self, g, m, u, now):
            return -now.rate * g, m

    class Without(Leafwise):
        pass

    grads = {"w": jnp.ones(2)}
    with pytest.raises(TypeError, match=r"Short.rule must return the update and 2 stat"):
        Short(0.1).update(grads, Short(0.1).init(grads))
    with pytest.raises(TypeError, match=r"Without does not define rule\(g, \*stat"):
        Without(0.1).update(grads, Without(0.1).init(grads))
    with pytest.raises(ValueError, match="learning_rate must not be negative"):
        Unit(-0.1)


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (jnp.mean, r"float32\[\]"),
        (lambda g: g[None], r"float32\[1,3\]"),
        (lambda g: None, "None"),
    ],
)
def test_an_update_that_is_not_like_its_gradient_is_refused(result, got):
    class Wrong(Leafwise):
        def rule(self, g, now):
            return result(g)

    grads = {"w": jnp.ones(3)}
    wrong = Wrong(0.1)
    with pytest.raises(ValueError, match=rf"Wrong.rule must return.*float32\[3\].*{got}"):
        wrong.update(grads, wrong.init(grads))
