"""The scale of a loss: float16 gradients that neither underflow nor overflow."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import losses, optimizers
from fnn.optimizers import DynamicLossScale, base, current_loss_scale, skipped_steps

INF, NAN = jnp.inf, jnp.nan


def test_overflow_changes_nothing_but_the_scale():
    optimizer = DynamicLossScale(optimizers.Adam(0.1), 2.0**15)
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    grads = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.ones(2)}
    update = jax.jit(optimizer.update)
    _, state = update(grads, optimizer.init(params), params)
    for count, bad in enumerate((INF, -INF, NAN), 1):
        before = state
        updates, state = update(grads | {"b": jnp.array([0.0, bad])}, state, params)
        chex.assert_trees_all_equal(updates, fnn.tree.zeros_like(params))
        chex.assert_trees_all_equal(state.optimizer, before.optimizer)
        assert state.loss_scale == 2.0 ** (15 - count)
        assert (state.skipped, state.unchanged) == (count, 0)
    updates, state = update(grads, state, params)
    assert fnn.tree.norm(updates) > 0
    assert (state.skipped, state.unchanged) == (3, 1)


def test_scale_follows_the_rule_for_a_random_run():
    """Doubled after 3 steps in a row without overflow, halved by each, from 1 upward."""
    optimizer = DynamicLossScale(optimizers.SGD(1.0), 4.0, period=3)
    overflows = np.random.default_rng(0).uniform(size=60) < 0.35
    grads = {"w": jnp.where(overflows, INF, 1.0)}

    def step(state, g):
        _, state = optimizer.update(g, state)
        return state, (state.loss_scale, state.skipped)

    _, (scales, skipped) = jax.lax.scan(step, optimizer.init({"w": jnp.zeros(())}), grads)
    scale, run, expected = 4.0, 0, []
    for overflow in overflows:
        run = 0 if overflow else run + 1
        if overflow:
            scale = max(scale / 2, 1.0)
        elif run == 3:
            scale, run = scale * 2, 0
        expected.append(scale)
    np.testing.assert_array_equal(scales, expected)
    np.testing.assert_array_equal(skipped, np.cumsum(overflows))
    assert min(expected) == 1
    assert max(expected) > 4


def test_scale_stays_in_the_range_of_float32():
    optimizer = DynamicLossScale(optimizers.SGD(1.0), 2.0**119, period=1)
    state = optimizer.init({"w": jnp.zeros(1)})
    for _ in range(3):
        updates, state = optimizer.update({"w": jnp.ones(1)}, state)
    assert state.loss_scale == 2.0**120
    assert 0 < -updates["w"][0] < 1e-30


def test_frozen_leaves_have_no_say_and_no_gradients():
    rules = {"head": optimizers.Adam(0.1), "*": optimizers.Frozen()}
    optimizer = DynamicLossScale(optimizers.ByPath(rules))
    params = {"body": jnp.ones(2), "head": jnp.ones(3)}
    state = optimizer.init(params)
    updates, state = optimizer.update(params | {"body": jnp.full(2, NAN)}, state, params)
    assert state.skipped == 0
    assert fnn.tree.all_finite(updates)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)

    def step(params, state):
        grads = jax.grad(lambda p: jnp.sin(p["body"]).sum() + p["head"].sum())(params)
        return optimizer.update(grads, state, params)

    assert "cosine" not in jax.jit(step).lower(params, state).compile().as_text()


def test_scale_is_read_from_the_outermost_optimizer_alone():
    params = {"w": jnp.ones(2)}
    scaling = DynamicLossScale(optimizers.SGD(0.1), 8.0)
    assert current_loss_scale(scaling.init(params)) == 8
    assert current_loss_scale(optimizers.Adam(0.1).init(params)) is None
    assert skipped_steps(optimizers.Adam(0.1).init(params)) is None
    assert optimizers.current_learning_rate(scaling.init(params)) == np.float32(0.1)
    chain = optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), scaling)
    objective = fnn.supervised(fnn.Dense(1), losses.squared_error)
    train_state = fnn.TrainState.create(params, {}, chain, key=jax.random.key(0))
    with pytest.raises(ValueError, match="DynamicLossScale must be the outermost"):
        fnn.make_step(objective, chain)(train_state, (jnp.ones((1, 2)), jnp.ones((1, 1))))


class Foreign(NamedTuple):
    """An optimizer of another library, which may run one of fnn's."""

    runs: Any

    def init(self, params):
        return {"runs": self.runs.init(params)}

    def update(self, grads, state, params=None):
        updates, own = self.runs.update(grads, state["runs"], params)
        return updates, {"runs": own}


SCALING = DynamicLossScale(optimizers.SGD(0.1), 8.0)


@pytest.mark.parametrize(
    "around",
    [
        optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), SCALING),
        optimizers.ByPath({"*": SCALING}),
        optimizers.Lookahead(SCALING),
        optimizers.Muon(0.1, others=SCALING),
        DynamicLossScale(SCALING),
        Foreign(SCALING),
        optimizers.Chain(Foreign(SCALING)),
    ],
    ids=lambda around: type(around).__name__,
)
def test_an_optimizer_says_that_a_scale_is_inside_of_it(around):
    state = around.init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="DynamicLossScale must be the outermost"):
        base.loss_scale(around, state)
    with pytest.raises(ValueError, match="DynamicLossScale must be the outermost"):
        current_loss_scale(state)
    assert base.skipped(around, state) == skipped_steps(state) == 0


def test_an_optimizer_is_asked_for_its_scale():
    class State(NamedTuple):
        loss_scale: Any

    class Named(optimizers.Optimizer):
        def init(self, params):
            return State(jnp.float32(3))

    class Asks(Named):
        def loss_scale(self, state):
            return state.loss_scale

    state = State(jnp.float32(3))
    assert base.loss_scale(Asks(), state) == 3
    assert base.loss_scale(Named(), state) is None  # the name of a field says nothing
    assert base.skipped(Asks(), state) is None
    for optimizer in (SCALING, optimizers.DecoupledDecay(SCALING, 0.1, on="*")):
        state = optimizer.init({"w": jnp.ones(2)})
        assert base.loss_scale(optimizer, state) == current_loss_scale(state) == 8


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_in_float32_is_the_same_scaled(accumulate):
    """A power of two rounds nothing."""
    x, y = jnp.arange(8.0).reshape(4, 2), jnp.arange(4.0)[:, None]
    objective = fnn.supervised(fnn.Dense(1), losses.squared_error)
    params, _ = fnn.Dense(1).init(jax.random.key(0), x[0])
    results = []
    for optimizer in (optimizers.Adam(0.1), DynamicLossScale(optimizers.Adam(0.1))):
        step = fnn.make_step(objective, optimizer, accumulate=accumulate)
        key = jax.random.key(1)
        train_state = fnn.TrainState.create(params, {}, optimizer, key=key)
        after, metrics = step(train_state, (x, y))
        results.append((after.params, metrics))
    chex.assert_trees_all_equal(*results)


class Half(fnn.Layer):
    """A linear map computed in float16, its parameters in float32."""

    def init(self, key, x):
        return {"w": jnp.zeros(x.shape)}, {}

    def forward(self, params, x):
        product = params["w"].astype("float16") * x.astype("float16")
        return jnp.sum(product).astype("float32")


def fit(optimizer, loss, **changes):
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    arguments = {"epochs": 20, "batch_size": 16, "progress": False}
    return fnn.fit(
        Half(), loss, optimizer, (x, x.sum(1)), key=jax.random.key(0), **arguments | changes
    )


def test_float16_learns_what_would_underflow_without_the_scale():
    """The gradients of the outputs, about 1e-10, are 0 in float16, whose least is 6e-8."""

    def small(output, target):
        return 1e-9 * losses.squared_error(output, target)

    adam = optimizers.Adam(0.1, eps=1e-15)
    plain = fit(adam, small)
    assert fnn.tree.norm(plain.params) == 0
    assert "skipped" not in plain.history
    scaled = fit(DynamicLossScale(adam, initial=2.0**20), small, epochs=40)
    np.testing.assert_allclose(scaled.params["w"], 1, atol=0.01)
    assert scaled.history["loss"][-1] < 1e-3 * scaled.history["loss"][0]
    np.testing.assert_array_equal(scaled.history["skipped"], 0)


def test_steps_that_overflow_are_skipped_and_counted(capsys):
    """2^24 times the gradient overflows; some halvings later it does not."""
    optimizer = DynamicLossScale(optimizers.Adam(0.1), initial=2.0**24)
    result = fit(optimizer, losses.squared_error, progress=True)
    skipped = result.history["skipped"]
    assert skipped.dtype.kind == "i"
    assert 4 <= skipped[-1] < 24
    assert (np.diff(skipped) >= 0).all()
    np.testing.assert_allclose(result.params["w"], 1, atol=0.02)
    assert f"skipped {skipped[-1]}" in capsys.readouterr().out.splitlines()[-1]


def test_scaling_composes_with_another_librarys_optimizer():
    class Transformation:
        def init(self, params):
            return (jnp.zeros((), jnp.int32),)

        def update(self, grads, state, params=None):
            return jax.tree.map(jnp.negative, grads), (state[0] + 1,)

    optimizer = DynamicLossScale(Transformation(), 4.0)
    updates, state = optimizer.update(
        {"w": jnp.ones(1)}, optimizer.init({"w": jnp.ones(1)})
    )
    assert (updates["w"][0], state.optimizer[0]) == (-0.25, 1)


def test_bad_configuration_is_refused():
    with pytest.raises(TypeError, match="DynamicLossScale needs an optimizer"):
        DynamicLossScale(0.1)
    for changes, message in (
        ({"initial": 0.5}, r"initial must be in \[1.0"),
        ({"factor": 1.0}, "factor must be above 1, got 1.0"),
        ({"factor": 0.5}, r"factor must be in \[1"),
        ({"period": 0}, "period must be a positive integer, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DynamicLossScale(optimizers.SGD(0.1), **changes)
