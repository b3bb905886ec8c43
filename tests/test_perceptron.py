"""The perceptron of the example learns by Rosenblatt's rule."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import perceptron


@pytest.fixture(scope="module")
def learned():
    return perceptron.main()


@pytest.mark.parametrize("name", ["AND", "OR", "three classes"])
def test_the_perceptron_learns_what_lines_separate(learned, name):
    assert learned[name].accuracy == 1


def test_the_perceptron_does_not_learn_xor(learned):
    assert learned["XOR"].accuracy <= 0.75


def test_its_units_fire_at_the_threshold(learned):
    """Σ wᵢ xᵢ >= threshold, the bias being the threshold's negative."""
    weights, bias, _ = learned["AND"]
    sums = perceptron.INPUTS @ weights
    np.testing.assert_array_equal(sums >= -bias, perceptron.TRUTH["AND"])


def by_hand(x, y, rate, w, b):
    """Apply w + η (y - ŷ) x to each example, the bias being the weight of x₀ = 1."""
    for example, label in zip(x, y, strict=True):
        z = example @ w + b
        fired = z >= 0 if len(z) == 1 else np.arange(len(z)) == z.argmax()
        w = w + rate * np.outer(example, label - fired)
        b = b + rate * (label - fired)
    return w, b


@pytest.mark.parametrize("units", [1, 3])
def test_sgd_on_the_perceptron_loss_is_the_rule(units):
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 8, size=(40, 2)).astype(np.float32)
    y = np.eye(max(units, 2), dtype=np.float32)[rng.integers(0, max(units, 2), 40), :units]
    model, sgd = fnn.Dense(units), fnn.optimizers.SGD(0.5)
    params = {"kernel": jnp.ones((2, units)), "bias": jnp.zeros(units)}

    def step(carry, example):
        params, state = carry
        loss = lambda p: perceptron.perceptron_loss(model(p, example[0]), example[1])  # noqa: E731
        updates, state = sgd.update(jax.grad(loss)(params), state)
        return (fnn.optimizers.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, sgd.init(params)), (x, y))
    w, b = by_hand(x, y, 0.5, np.ones((2, units)), np.zeros(units))
    np.testing.assert_array_equal(params["kernel"], w)
    np.testing.assert_array_equal(params["bias"], b)
