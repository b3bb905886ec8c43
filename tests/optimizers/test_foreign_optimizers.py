"""Optimizers that take Optax's extra arguments: value, grad, and value_fn."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key

import fnn
from fnn import optimizers


class Seen(NamedTuple):
    """The arguments of the last update."""

    value: Any
    grad: Any
    moved: Any


class Asking(NamedTuple):
    """Needs all three, by the protocol of `optax.GradientTransformationExtraArgs`.

    Its state is what it was told, and the objective 1 away from the parameters.
    """

    rate: float = 0.1

    def init(self, params):
        zero = jnp.zeros(())
        return Seen(zero, jax.tree.map(jnp.zeros_like, params), zero)

    def update(self, updates, state, params=None, *, value, grad, value_fn, **extra):
        moved = value_fn(jax.tree.map(lambda p: p + 1, params))
        return fnn.tree.scale(-self.rate, updates), Seen(value, grad, moved)


class OnlyValue(NamedTuple):
    """Shrinks a step where the objective is large, as `reduce_on_plateau` might."""

    def init(self, params):
        return ()

    def update(self, updates, state, params=None, *, value, **extra):
        return fnn.tree.scale(1 / (1 + value), updates), state


class OfAnotherKind(OnlyValue):
    """Needs what nobody gives."""

    def update(self, updates, state, params=None, *, obj_fn):
        return updates, state


X, Y = example((8, 3), seed=1), example((8,), seed=2)
PENALTY = fnn.regularizers.L2(0.5)
PARAMS = {"bias": jnp.ones(1), "kernel": jnp.array([[1.0], [2.0], [0.0]])}


def objective_at(params):
    """The objective by NumPy: the mean squared error, and the penalty."""
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    errors = (np.asarray(X) @ kernel + bias)[:, 0] - np.asarray(Y)
    return (errors**2).mean() + 0.5 * (kernel**2).sum()


def loss(y, target):
    return (y[0] - target) ** 2


def take_step(optimizer, **options):
    objective = fnn.supervised(fnn.Dense(1), loss, regularizer=PENALTY)
    step = fnn.make_step(objective, optimizer, **options)
    start = fnn.TrainState.create(PARAMS, {}, optimizer, key=key())
    train_state, metrics = jax.jit(step)(start, (X, Y))
    assert set(metrics) == {"loss", "penalty"}
    return train_state


def seen_by(opt_state):
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, Seen))
    return next(leaf for leaf in leaves if isinstance(leaf, Seen))


FROZEN_BIAS = {"kernel": Asking(), "*": optimizers.Frozen()}
AROUND = {
    "alone": Asking(),
    "Chain": optimizers.Chain(optimizers.ClipByGlobalNorm(1e9), Asking()),
    "ByPath": optimizers.ByPath({"kernel": Asking(), "*": optimizers.SGD(0.1)}),
    "frozen": optimizers.Chain(optimizers.ByPath(FROZEN_BIAS)),
    "Muon": optimizers.Muon(0.1, others=Asking()),
    "Lookahead": optimizers.Lookahead(Asking()),
    "DynamicLossScale": optimizers.DynamicLossScale(
        optimizers.Chain(Asking(), optimizers.SGD(0.1))
    ),
}


@pytest.mark.parametrize("name", AROUND)
def test_extra_arguments_reach_an_optimizer_through_others(name):
    seen = seen_by(take_step(AROUND[name]).opt_state)
    np.testing.assert_allclose(seen.value, objective_at(PARAMS), rtol=1e-5)
    errors = np.asarray(X) @ np.array([[1.0], [2.0], [0.0]]) + 1 - np.asarray(Y)[:, None]
    grads = {"bias": 2 * errors.mean(0), "kernel": 2 * np.asarray(X).T @ errors / 8}
    grads["kernel"] += np.asarray(PARAMS["kernel"])
    moved = {}
    for leaf, p in PARAMS.items():
        moved[leaf] = p if seen.grad[leaf] is None else p + 1
        if seen.grad[leaf] is not None:
            np.testing.assert_allclose(seen.grad[leaf], grads[leaf], rtol=1e-4)
    np.testing.assert_allclose(seen.moved, objective_at(moved), rtol=1e-5)


def test_value_is_the_mean_over_microbatches():
    seen = seen_by(take_step(Asking(), accumulate=4).opt_state)
    np.testing.assert_allclose(seen.value, objective_at(PARAMS), rtol=1e-5)
    moved = jax.tree.map(lambda p: p + 1, PARAMS)
    np.testing.assert_allclose(seen.moved, objective_at(moved), rtol=1e-5)


def test_what_needs_no_rate_may_be_around_another():
    """`DecoupledDecay` gives the extra arguments on, too."""
    optimizer = optimizers.DecoupledDecay(
        optimizers.Chain(OnlyValue(), optimizers.SGD(0.1)), 0.5
    )
    zeros = fnn.tree.zeros_like(PARAMS)
    updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS, value=1.0)
    np.testing.assert_allclose(updates["kernel"], -0.05 * PARAMS["kernel"], rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        OnlyValue(),
        optimizers.Chain(OnlyValue(), optimizers.SGD(0.1)),
        optimizers.ByPath({"*": OnlyValue()}),
        optimizers.Muon(0.1, others=OnlyValue()),
        optimizers.Lookahead(OnlyValue()),
        optimizers.DynamicLossScale(OnlyValue()),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_a_missing_argument_is_named(optimizer):
    if not isinstance(optimizer, OnlyValue):
        with pytest.raises(TypeError, match=r"OnlyValue\(\) needs value, which its update"):
            optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    clipped = functools.partial(fnn.per_example.clipped_gradient, max_norm=1.0)
    if not isinstance(optimizer, optimizers.DynamicLossScale):
        with pytest.raises(TypeError, match=r"needs value, .* keeps them private"):
            take_step(optimizer, gradient=clipped)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match=r"OfAnotherKind\(\) needs obj_fn, which"):
        take_step(OfAnotherKind())


def test_an_error_inside_of_an_optimizer_stays_its_own():
    class Wrong(NamedTuple):
        def init(self, params):
            return ()

        def update(self, updates, state, params=None, **extra):
            raise TypeError("of its own")

    with pytest.raises(TypeError, match=r"^of its own"):
        take_step(optimizers.Chain(Wrong()))


@pytest.mark.parametrize(
    "name", ["reduce_on_plateau", pytest.param("lbfgs", marks=pytest.mark.slow)]
)
def test_optimizer_of_optax_that_needs_the_value_trains(name):
    optax = pytest.importorskip("optax")
    x = jnp.linspace(-1, 1, 32)[:, None]
    data = x, 3 * x[:, 0] + 1
    if name == "lbfgs":
        clip = optimizers.ClipByGlobalNorm(1e3)
        optimizer, steps = optimizers.Chain(clip, optax.lbfgs()), 5
    else:
        plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
        optimizer, steps = optax.chain(optax.sgd(0.3), plateau), 30
    objective = fnn.supervised(fnn.Dense(1), loss)
    params = {"bias": jnp.zeros(1), "kernel": jnp.zeros((1, 1))}
    train_state = fnn.TrainState.create(params, {}, optimizer, key=key())
    step = jax.jit(fnn.make_step(objective, optimizer))
    with jax.numpy_dtype_promotion("standard"):  # Optax adds integers to floats
        for _ in range(steps):
            train_state, metrics = step(train_state, data)
    assert metrics["loss"] < 0.02
