"""Gradient check, bias and variance, learning-rate range test, loss slices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import optimizers
from fnn.diagnostics import (
    bias_variance,
    gradient_check,
    learning_rate_range,
    loss_slice,
)
from fnn.diagnostics.rates import _Growth

key = jax.random.key


# Gradient check


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2.01 * g,))


def network(params, x, wrong):
    hidden = jax.nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"][None])
    kernel = params["second"]["kernel"]
    kernel = doubled(kernel) if wrong else 2 * kernel
    return jnp.mean((hidden @ kernel) ** 2)


PARAMS = {
    "first": {"kernel": jax.random.normal(key(0), (4, 6)), "bias": jnp.zeros(6)},
    "second": {"kernel": jax.random.normal(key(1), (6, 2))},
}
X = jax.random.normal(key(2), (8, 4))


@pytest.fixture(scope="module")
def right():
    return gradient_check(lambda p, x: network(p, x, False), PARAMS, X, key=key(9))


def test_right_gradients_pass(right):
    assert right.passed
    assert right.largest < 1e-9
    assert [row.path for row in right.rows] == [
        "first/bias",
        "first/kernel",
        "second/kernel",
    ]
    assert "right: the largest error" in str(right)


def test_wrong_gradient_is_named_by_its_path():
    check = gradient_check(lambda p, x: network(p, x, True), PARAMS, X, key=key(9))
    assert (check.passed, check.worst) == (False, "second/kernel")
    errors = {row.path: row.error for row in check.rows}
    # 2.01 in place of 2, relative to the derivative that is claimed, which is larger.
    np.testing.assert_allclose(errors.pop("second/kernel"), 0.01 / 2.01, rtol=1e-3)
    assert max(errors.values()) < 1e-9
    assert "wrong: the largest error is 5.0e-03, of second/kernel" in str(check)


def test_a_wrong_element_is_found_by_its_coordinate():
    @jax.custom_vjp
    def square(w):
        return jnp.sum(w**2)

    def backward(w, g):
        return ((2 * g * w).at[3].add(1.0),)

    square.defvjp(lambda w: (square(w), w), backward)
    settings = {"key": key(9), "directions": 0, "coordinates": None}
    check = gradient_check(square, jnp.arange(5.0), **settings)
    np.testing.assert_allclose(check.largest, 1 / 7, rtol=1e-4)
    assert np.isnan(check.rows[0].directions)


@pytest.mark.parametrize(("slope", "right"), [(0.0, True), (0.5, True), (1.5, False)])
def test_at_a_kink_what_lies_between_the_slopes_is_right(slope, right):
    @jax.custom_vjp
    def ramp(x):
        return jnp.maximum(x, 0.0)

    ramp.defvjp(lambda x: (ramp(x), None), lambda _, g: (slope * g,))
    check = gradient_check(ramp, jnp.zeros(()), key=key(9), directions=0)
    assert check.passed is right
    # Its central difference is 0.5, so that a slope of 0.5 needs no excuse.
    assert check.rows[0].kinks == (slope == 0.0)


def test_objective_is_checked_as_it_stands():
    model = fnn.Sequential(
        fnn.Conv(2, (3, 3)),
        fnn.BatchNorm(),
        jax.nn.relu,
        fnn.Dropout(0.3),
        fnn.MaxPool((2, 2)),
        fnn.Flatten(),
        fnn.Dense(3),
    )
    x, y = jax.random.normal(key(0), (4, 6, 6, 1)), jnp.arange(4) % 3
    params, state = model.init(key(1), x[0])
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    rest = state, (x, y), key(2)
    check = gradient_check(
        objective, params, *rest, key=key(3), has_aux=True, coordinates=2
    )
    assert check.passed, str(check)
    assert len(check.rows) == 6


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"directions": 0, "coordinates": 0}, "directions=0 and coordinates=0"),
        ({"directions": -1}, "directions=-1"),
        ({"key": None}, "needs a key"),
    ],
)
def test_gradient_check_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        gradient_check(jnp.sum, jnp.ones(2), **{"key": key(9)} | arguments)


def test_gradient_check_needs_a_finite_loss():
    with pytest.raises(ValueError, match="finite loss, got nan"):
        gradient_check(lambda w: jnp.sum(jnp.log(w)), -jnp.ones(2), key=key(9))


# Bias and variance


@pytest.mark.parametrize(
    ("train", "validation", "verdict"),
    [
        (0.01, 0.11, "low bias, high variance"),
        (0.15, 0.16, "high bias, low variance"),
        (0.15, 0.30, "high bias, high variance"),
        (0.005, 0.01, "low bias, low variance"),
    ],
)
def test_verdicts_of_the_course(train, validation, verdict):
    found = bias_variance(train, validation)
    assert found.verdict == verdict
    assert any("larger network" in text for text in found.remedies) == found.high_bias
    assert any("more data" in text for text in found.remedies) == found.high_variance
    assert str(found).splitlines()[5].startswith(verdict)


def test_what_no_one_can_reach_is_no_bias():
    found = bias_variance(0.15, 0.16, target_error=0.14)
    assert found.verdict == "low bias, low variance"
    np.testing.assert_allclose((found.bias, found.variance), (0.01, 0.01))


def test_percentages_are_refused():
    with pytest.raises(ValueError, match=r"train_error, a share .* got 15"):
        bias_variance(15, 16)


# Learning-rate range test


def line(rate=1.0, **settings):
    """Least squares with one weight: each step multiplies its error by 1 - 2 α."""
    x = jnp.ones((8, 1))
    return learning_rate_range(
        fnn.Dense(1, bias=False),
        fnn.losses.squared_error,
        optimizers.Chain(optimizers.ClipByGlobalNorm(1e9), optimizers.SGD(rate)),
        (x, x),
        key=key(9),
        batch_size=4,
        params={"kernel": jnp.full((1, 1), 3.0)},
        **{"low": 1e-3, "high": 10.0, "steps": 60, "smoothing": 0.5} | settings,
    )


@pytest.fixture(scope="module")
def tested():
    return line()


def test_losses_are_those_of_a_loop_at_a_growing_rate(tested):
    rates = 1e-3 * 1e4 ** (np.arange(60) / 59)
    error, average, losses, smoothed = 2.0, 0.0, [], []
    for t, rate in enumerate(rates):
        losses.append(error**2)
        average = 0.5 * average + 0.5 * losses[-1]
        smoothed.append(average / (1 - 0.5 ** (t + 1)))
        if smoothed[-1] - min(smoothed) > losses[0]:
            break
        error *= 1 - 2 * rate
    count = len(losses)
    assert 30 < count < 60
    assert tested.diverged
    np.testing.assert_allclose(tested.rates, rates[:count], rtol=1e-6)
    # From 0.5 on the sign of the error alternates, and it passes through zero.
    small = rates[:count] < 0.4
    for name, by_hand in (("losses", losses), ("smoothed", smoothed)):
        found = getattr(tested, name)[small]
        np.testing.assert_allclose(found, np.array(by_hand)[small], rtol=1e-3)


def test_suggested_rate_is_stable_and_no_waste(tested):
    assert 0.005 < tested.suggested < 1.0  # it diverges from 1 on
    assert "suggested" in str(tested)
    assert "rose at the last" in str(tested)


def test_rate_in_the_optimizer_does_not_matter(tested):
    np.testing.assert_array_equal(line(rate=7.0).losses, tested.losses)


def test_range_test_ends_at_once_where_the_loss_is_not_finite():
    found = line(high=1e30, steps=20)
    assert found.diverged
    assert np.isfinite(found.losses).all()
    assert len(found.losses) < 20


def test_rates_grow_from_end_to_end_exactly():
    """Compiled and not, with ratios of 1 + 1e-7 and 1e74, and in one step or many."""
    tiny = np.nextafter(np.float32(1e-3), np.float32(1))
    ends = [(1e-6, 10.0), (1e-37, 1e37), (1e-3, float(tiny)), (0.1, 0.3)]
    rows = [(low, high, steps) for low, high in ends for steps in (2, 200, 10_001)]

    def rates():
        def of(low, high, steps):
            at = np.array([0, 1, steps // 3, steps - 2, steps - 1], np.int32)
            return _Growth(low, high, steps)(at)

        return jnp.stack([of(*row) for row in rows]), of(1e-6, 10.0, 1)

    for found, alone in (rates(), jax.jit(rates)()):
        for (low, high, steps), found_here in zip(rows, found, strict=True):
            at = np.array([0, 1, steps // 3, steps - 2, steps - 1]) / (steps - 1)
            exact = low ** (1 - at) * high**at
            np.testing.assert_allclose(found_here, exact, rtol=1e-5)
            assert found_here[0] == np.float32(low)
            assert found_here[-1] == np.float32(high)
        assert alone[0] == np.float32(1e-6)  # the only step is the first


def test_range_test_of_a_convolutional_network():
    """Its steps are called from the host on the CPU."""
    x = jax.random.normal(key(0), (8, 5, 5, 1))
    found = learning_rate_range(
        fnn.Sequential(fnn.Conv(2, (3, 3)), fnn.BatchNorm(), fnn.Flatten(), fnn.Dense(2)),
        fnn.losses.softmax_cross_entropy,
        optimizers.Adam(1e-3),
        (x, jnp.arange(8) % 2),
        key=key(1),
        batch_size=4,
        high=1e-3,
        steps=7,
    )
    assert found.losses.shape == found.rates.shape == (7,)
    assert not found.diverged
    assert (found.rates[0], found.rates[-1]) == (1e-6, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"low": 1.0, "high": 0.1}, ValueError, "0 < low < high"),
        ({"batch_size": 9}, ValueError, "batch_size is 9, of 8 examples"),
        ({"steps": 0}, ValueError, "steps"),
        ({"optimizer": optimizers.ClipByNorm(1.0)}, TypeError, "field learning_rate"),
    ],
)
def test_range_test_refuses(arguments, error, match):
    x = jnp.ones((8, 1))
    given = {"optimizer": optimizers.SGD(1.0), "batch_size": 4} | arguments
    model, optimizer = fnn.Dense(1), given.pop("optimizer")
    loss = fnn.losses.squared_error
    with pytest.raises(error, match=match):
        learning_rate_range(model, loss, optimizer, (x, x), key=key(9), **given)


# Loss slices


def bowl(params, scale):
    return scale * jnp.sum(params["kernel"] ** 2) + jnp.sum(params["bias"] ** 4)


WEIGHTS = {"kernel": jax.random.normal(key(0), (2, 3, 4)), "bias": jnp.arange(4.0)}


def test_plane_of_random_directions_is_normalized_by_filter():
    found = loss_slice(bowl, WEIGHTS, 2.0, key=key(9), points=5, span=0.5)
    w, bias = (np.asarray(WEIGHTS[name], np.float64) for name in ("kernel", "bias"))
    d, e = (np.asarray(tree["kernel"], np.float64) for tree in found.directions)
    for direction in (d, e):
        lengths = np.sqrt((direction**2).sum((0, 1)))
        np.testing.assert_allclose(lengths, np.sqrt((w**2).sum((0, 1))), rtol=1e-5)
    assert abs(np.sum(d * e)) < 0.9 * np.sum(d * d)
    assert not any(np.any(tree["bias"]) for tree in found.directions)
    np.testing.assert_allclose(found.alphas, [-0.5, -0.25, 0, 0.25, 0.5])
    expected = [
        [2 * np.sum((w + a * d + b * e) ** 2) + np.sum(bias**4) for b in found.betas]
        for a in found.alphas
    ]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)


def test_line_between_two_solutions():
    other = jax.tree.map(jnp.zeros_like, WEIGHTS)
    direction = fnn.tree.subtract(other, WEIGHTS)
    found = loss_slice(
        lambda params: (bowl(params, 1.0), "aux"),
        WEIGHTS,
        directions=[direction],
        points=3,
        has_aux=True,
    )
    assert found.losses.shape == (3,)
    np.testing.assert_allclose(found.losses[2], 0.0, atol=1e-6)
    np.testing.assert_allclose(found.losses[1], bowl(WEIGHTS, 1.0), rtol=1e-6)
    assert "lowest       1" in str(found)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, TypeError, "key for random directions, or directions"),
        ({"key": key(9), "directions": [WEIGHTS]}, TypeError, "or directions"),
        ({"directions": [WEIGHTS] * 3}, ValueError, "got 3"),
        ({"key": key(9), "dimensions": 3}, ValueError, "dimensions"),
        ({"key": key(9), "points": 0}, ValueError, "points"),
    ],
)
def test_loss_slice_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        loss_slice(bowl, WEIGHTS, 1.0, **arguments)
