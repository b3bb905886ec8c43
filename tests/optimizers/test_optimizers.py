"""Laws, edge cases and errors of the optimizers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from contracts import example
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import optimizers
from fnn.optimizers.layerwise import orthogonalized

RATES = st.floats(0.001, 0.5)
MOMENTA = st.floats(0.0, 0.95)
CURVATURE = np.array([1.0, 3.0, 0.2])


def quadratic_gradient(params):
    return jax.tree.map(lambda w: jnp.asarray(CURVATURE, w.dtype) * (w - 1), params)


def descend(optimizer, steps, gradient=quadratic_gradient, params=None):
    """Return the parameters after every step, from the beginning."""
    params = {"kernel": jnp.array([3.0, -2.0, 5.0])} if params is None else params

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state, params)
        params = optimizers.apply_updates(params, updates)
        return (params, state), params

    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, length=steps)[1]


# Gradient descent and momentum


def test_the_perceptron_of_the_course_takes_one_step():
    """= x (.1, .3), target .03, w (.5, .2), b 1.83: dE/dw (.0093, .0278), rate .01."""
    x = jnp.array([0.1, 0.3])

    def error(w):
        return (jax.nn.sigmoid(w @ x + 1.83) - 0.03) ** 2 / 2

    w = jnp.array([0.5, 0.2])
    gradient = jax.grad(error)(w)
    np.testing.assert_allclose(gradient, [0.0093, 0.0278], atol=5e-5)
    sgd = optimizers.SGD(0.01)
    updates, _ = sgd.update(gradient, sgd.init(w))
    moved = optimizers.apply_updates(w, updates)
    np.testing.assert_allclose(moved, [0.49991, 0.19972], atol=5e-6)


@functools.cache
def path_of(make):
    """Return a compiled function of an optimizer's numbers: where 20 steps lead."""
    return jax.jit(lambda *numbers: descend(make(*numbers), 20)["kernel"])


MOMENTUM_FORMS = [
    functools.partial(optimizers.Momentum, form=form)
    for form in ("rate_inside", "rate_outside", "averaged")
]


@given(RATES, MOMENTA)
def test_the_three_forms_of_momentum_agree_at_a_constant_rate(rate, mu):
    inside, outside, averaged = map(path_of, MOMENTUM_FORMS)
    with jax.enable_x64(True):
        path = inside(rate, mu)
        np.testing.assert_allclose(outside(rate, mu), path, rtol=1e-10, atol=1e-10)
        rescaled = averaged(rate / (1 - mu), mu)
        np.testing.assert_allclose(rescaled, path, rtol=1e-10, atol=1e-10)


def test_the_forms_of_momentum_differ_when_the_rate_changes():
    rate = fnn.schedules.StepDecay(0.1, 0.1, 5)
    inside = descend(optimizers.Momentum(rate, 0.9, "rate_inside"), 7)
    outside = descend(optimizers.Momentum(rate, 0.9, "rate_outside"), 7)
    np.testing.assert_allclose(inside["kernel"][4], outside["kernel"][4], rtol=1e-5)
    assert np.abs(inside["kernel"][6] - outside["kernel"][6]).max() > 0.1


def test_momentum_of_zero_is_gradient_descent():
    for form in ("rate_inside", "rate_outside", "averaged"):
        chex.assert_trees_all_close(
            descend(optimizers.Momentum(0.1, 0.0, form), 5),
            descend(optimizers.SGD(0.1), 5),
            atol=1e-6,
        )


def test_momentum_is_a_ball_that_rolls_with_friction(x64):
    """x'' = -f x' - ∇E(x): half the time step, half the error."""
    friction, end = 0.5, 4.0
    start = np.array([3.0, -2.0, 5.0])

    def motion(_, y):
        x, v = y[:3], y[3:]
        return np.concatenate([v, -friction * v - CURVATURE * (x - 1)])

    rest = np.concatenate([start, np.zeros(3)])
    exact = scipy.integrate.solve_ivp(motion, (0, end), rest, rtol=1e-10).y[:3, -1]

    def error(steps):
        h = end / steps
        momentum = optimizers.Momentum(h**2, 1 - h * friction)
        return np.abs(descend(momentum, steps)["kernel"][-1] - exact).max()

    coarse, fine = error(400), error(800)
    assert coarse < 0.05
    np.testing.assert_allclose(coarse / fine, 2, rtol=0.05)


@given(RATES, MOMENTA)
def test_nesterov_is_its_published_form_at_the_point_ahead(rate, mu):
    w, v, ahead = np.array([3.0, -2.0, 5.0]), np.zeros(3), []
    for _ in range(20):
        v = mu * v - rate * CURVATURE * (w + mu * v - 1)
        w = w + v
        ahead.append(w + mu * v)
    with jax.enable_x64(True):
        path = path_of(optimizers.Nesterov)(rate, mu)
    np.testing.assert_allclose(path, ahead, rtol=1e-9, atol=1e-9)


# Weight decay


def trained(optimizer, penalty=0.0):
    """Return parameters after 50 steps on a loss with λ/2 ‖w‖² of the kernel."""
    x, y = example((8, 3), seed=1), example((8,), seed=2)

    def loss(params):
        error = x @ params["kernel"] + params["bias"] - y
        return jnp.mean(error**2) + penalty / 2 * jnp.sum(params["kernel"] ** 2)

    params = {"bias": jnp.ones(()), "kernel": example((3,), seed=3)}
    return jax.tree.map(
        lambda leaf: leaf[-1], descend(optimizer, 50, jax.grad(loss), params)
    )


def test_l2_is_weight_decay_for_sgd():
    """w (1 - α λ / m), with λ / (2m) ‖w‖² as the penalty."""
    rate, decay = 0.05, 3.0 / 8
    by_penalty = trained(optimizers.SGD(rate), penalty=decay)
    by_transform = trained(
        optimizers.Chain(optimizers.AddDecayedWeights(decay), optimizers.SGD(rate))
    )
    by_decay = trained(optimizers.DecoupledDecay(optimizers.SGD(rate), decay))
    chex.assert_trees_all_close(by_penalty, by_transform, rtol=1e-5)
    chex.assert_trees_all_close(by_penalty, by_decay, rtol=1e-5)


def test_weight_decay_multiplies_the_weights():
    rate, decay, m = 0.1, 2.0, 10
    optimizer = optimizers.DecoupledDecay(optimizers.SGD(rate), decay / m)
    params = {"kernel": jnp.array([5.0, -3.0])}
    path = descend(optimizer, 4, fnn.tree.zeros_like, params)
    shrunk = [5.0 * (1 - rate * decay / m) ** t for t in (1, 2, 3, 4)]
    np.testing.assert_allclose(path["kernel"][:, 0], shrunk, rtol=1e-6)


def test_l2_is_not_weight_decay_for_adam():
    by_penalty = trained(optimizers.Adam(0.05), penalty=1.0)
    by_transform = trained(
        optimizers.Chain(optimizers.AddDecayedWeights(1.0), optimizers.Adam(0.05))
    )
    by_decay = trained(optimizers.AdamW(0.05, weight_decay=1.0))
    chex.assert_trees_all_close(by_penalty, by_transform, rtol=1e-4)
    assert np.abs(by_penalty["kernel"] - by_decay["kernel"]).max() > 0.1


def test_adamw_is_adam_with_decoupled_decay():
    adamw = optimizers.AdamW(0.05, weight_decay=0.3)
    around = optimizers.DecoupledDecay(optimizers.Adam(0.05), 0.3)
    chex.assert_trees_all_close(trained(adamw), trained(around), rtol=1e-5)
    none = optimizers.AdamW(0.05, weight_decay=0.0)
    chex.assert_trees_all_equal(trained(none), trained(optimizers.Adam(0.05)))


@pytest.mark.parametrize(
    "make", [optimizers.AdamW, optimizers.LAMB, optimizers.Lion, "chained", "around"]
)
def test_decay_needs_a_pattern_that_matches(make):
    makers = {
        "chained": lambda *_, **__: optimizers.AddDecayedWeights(0.1),
        "around": lambda *_, **__: optimizers.DecoupledDecay(optimizers.SGD(0.1), 0.1),
    }
    optimizer = makers.get(make, make)(0.1, weight_decay=0.1)
    params = {"weight": jnp.ones(2)}
    with pytest.raises(ValueError, match="no leaf matches '\\*kernel'") as error:
        optimizer.update(params, optimizer.init(params), params)
    assert "on='*' is every leaf" in error.value.__notes__[0]


# Adam and its kin


def test_bias_correction_keeps_its_digits_in_float32():
    """A constant gradient makes every step of Adam α long, the first ones too."""
    adam = optimizers.Adam(1.0, eps=0.0)
    path = descend(adam, 20, lambda p: {"kernel": jnp.full(3, 0.3)})
    steps = np.diff(path["kernel"], axis=0, prepend=[[3.0, -2.0, 5.0]])
    np.testing.assert_allclose(steps, -1, rtol=2e-6)


def test_adam_learns_in_bfloat16():
    """An average in 16 bits would stand still: 0.999 v is v there."""
    adam, params = optimizers.Adam(0.1), {"w": jnp.ones(1, jnp.bfloat16)}
    state = adam.init(params)
    big, small = jnp.full(1, 8.0, jnp.bfloat16), jnp.full(1, 0.01, jnp.bfloat16)
    _, state = adam.update({"w": big}, state)
    for _ in range(3000):
        updates, state = _jitted_update(adam, {"w": small}, state)
    assert state.second_moment["w"].dtype == jnp.float32
    np.testing.assert_allclose(updates["w"].astype(float), -0.1 * 0.01 / 0.06, rtol=0.2)


_jitted_update = jax.jit(lambda o, g, s: o.update(g, s), static_argnums=0)


def test_amsgrad_takes_steps_that_only_get_shorter():
    amsgrad, adam = optimizers.AMSGrad(0.1, b1=0.0), optimizers.Adam(0.1, b1=0.0)
    grads = jnp.array([5.0, *[1.0] * 30])[:, None]

    def steps(optimizer):
        state = optimizer.init({"w": grads[0]})
        return jax.lax.scan(lambda s, g: optimizer.update({"w": g}, s)[::-1], state, grads)[
            1
        ]["w"]

    assert np.all(np.diff(np.abs(steps(amsgrad)[1:]), axis=0) <= 0)
    assert np.all(np.diff(np.abs(steps(adam)[1:]), axis=0) > 0)


def test_lamb_steps_in_proportion_to_the_weights():
    lamb = optimizers.LAMB(0.1, weight_decay=0.0)
    params = {"kernel": jnp.array([3.0, 4.0]), "zero": jnp.zeros(2)}
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = lamb.update(grads, lamb.init(params), params)
    np.testing.assert_allclose(fnn.tree.norm(updates["kernel"]), 0.1 * 5, rtol=1e-6)
    np.testing.assert_allclose(updates["zero"], -0.1, rtol=1e-5)


# Muon


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3), (1, 5), (5, 1)])
def test_muon_brings_singular_values_near_one(shape):
    result = np.asarray(orthogonalized(example(shape), 5))
    values = np.linalg.svd(result, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_muon_of_zero_is_zero_and_sizes_of_zero_are_borne():
    assert not orthogonalized(jnp.zeros((3, 2)), 5).any()
    muon = optimizers.Muon(0.1)
    params = {"kernel": jnp.ones((0, 3)), "other": jnp.ones((2, 0))}
    updates, _ = muon.update(params, muon.init(params), params)
    chex.assert_trees_all_equal_shapes(updates, params)


def test_muon_gives_other_leaves_to_another_optimizer():
    params = {
        "conv": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.ones(4)},
        "dense": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
    }
    muon = optimizers.Muon(0.1, others=optimizers.SGD(0.5))
    state = muon.init(params)
    updates, state = muon.update(params, state, params)
    dense = updates["dense"].pop("kernel")
    assert all((leaf == -0.5).all() for leaf in jax.tree.leaves(updates))
    assert list(fnn.tree.flatten(state.velocity)) == ["dense/kernel"]
    assert fnn.tree.norm(dense) < 0.2
    assert optimizers.current_learning_rate(state) == jnp.float32(0.1)


# Signs


def test_lion_steps_by_the_rate_in_every_element():
    path = descend(optimizers.Lion(0.01), 10)
    steps = np.diff(path["kernel"], axis=0)
    np.testing.assert_allclose(np.abs(steps), 0.01, rtol=1e-3)


def test_rprop_does_not_care_for_the_scale_of_the_loss():
    rprop = optimizers.Rprop(0.1)
    tiny = descend(rprop, 50, lambda p: fnn.tree.scale(1e-25, quadratic_gradient(p)))
    chex.assert_trees_all_equal(descend(rprop, 50), tiny)
    np.testing.assert_allclose(tiny["kernel"][-1], 1, atol=0.01)


@pytest.mark.parametrize("make", [optimizers.Rprop, optimizers.DeltaBarDelta])
def test_rates_per_element_are_shown_by_their_mean(make):
    optimizer, grads = make(0.1), {"a": jnp.ones(3), "b": jnp.ones(())}
    state = optimizer.init(grads)
    assert optimizers.current_learning_rate(state) == jnp.float32(0.1)
    _, state = optimizer.update(grads, state)
    turned = {"a": jnp.ones(3), "b": -jnp.ones(())}
    _, state = optimizer.update(turned, state)
    rates = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state[1])])
    assert len(np.unique(rates)) == 2
    shown = optimizers.current_learning_rate(state)
    np.testing.assert_allclose(shown, rates.mean(), rtol=1e-6)


# Clipping


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2),
    st.floats(0, 100),
)
def test_clipping_by_norm_keeps_the_direction_and_the_limit(elements, limit):
    elements = np.round(elements, 3)
    grads = {"a": jnp.float32(elements[:1]), "b": jnp.float32(elements[1:])}
    clipped, _ = optimizers.ClipByGlobalNorm(limit).update(grads, ())
    norm = np.linalg.norm(elements)
    wanted = elements * (min(1, limit / norm) if norm else 1)
    got = np.concatenate(jax.tree.leaves(clipped))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-30)


def test_clipping_at_its_edges():
    grads = {"w": jnp.array([3.0, 4.0])}
    for clip in (
        optimizers.ClipByGlobalNorm,
        optimizers.ClipByNorm,
        optimizers.ClipByValue,
    ):
        assert not clip(0.0).update(grads, ())[0]["w"].any()
        chex.assert_trees_all_equal(clip(float("inf")).update(grads, ())[0], grads)


def test_what_clipping_takes_grows_with_the_number_of_leaves_not_its_square():
    grads = {f"w{i}": jnp.ones(2) for i in range(30)}
    update = jax.jit(lambda grads: optimizers.ClipByGlobalNorm(1.0).update(grads, ())[0])
    # A sum over the leaves again for each of them would be 900 additions.
    assert update.lower(grads).compile().as_text().count(" add(") < 150


def test_clipping_does_not_overflow_in_float16():
    grads = {"w": jnp.full(4, 3e4, jnp.float16)}
    clipped, _ = optimizers.ClipByGlobalNorm(1.0).update(grads, ())
    np.testing.assert_allclose(clipped["w"].astype(np.float32), 0.5, rtol=2e-3)


# Averages


@given(st.floats(0, 0.99), st.integers(1, 20))
def test_average_of_the_same_is_the_same(decay, steps):
    params = {"w": jnp.array([2.0, -3.0])}
    for debias in (True, False):
        ema = optimizers.ExponentialMovingAverage(decay, debias=debias)
        state = ema.init(params)
        for _ in range(steps):
            state = ema.update(params, state)
        chex.assert_trees_all_close(ema.average(state), params, rtol=1e-6)


def test_averages_share_no_buffers_with_the_parameters():
    params = {"w": jnp.ones(3)}
    for averaging in (optimizers.PolyakAverage(), optimizers.ExponentialMovingAverage(0.9)):
        average = averaging.average(averaging.init(params))["w"]
        assert average.unsafe_buffer_pointer() != params["w"].unsafe_buffer_pointer()


def test_averaging_takes_the_noise_out_of_sgd():
    noise = example((400, 3), seed=9)

    def step(carry, e):
        w, state = carry
        w = w - 0.1 * (w - 1 + e)
        return (w, polyak.update({"w": w}, state)), w

    polyak = optimizers.PolyakAverage(start=50)
    start = jnp.zeros(3), polyak.init({"w": jnp.zeros(3)})
    (_, state), path = jax.lax.scan(step, start, noise)
    np.testing.assert_allclose(polyak.average(state)["w"], path[50:].mean(0), rtol=1e-4)
    averaged = np.abs(polyak.average(state)["w"] - 1).mean()
    assert averaged < 0.3 * np.abs(path[50:] - 1).mean()


def test_lookahead_of_rate_one_is_its_optimizer():
    ahead = descend(optimizers.Lookahead(optimizers.Adam(0.1), 3, 1.0), 10)
    chex.assert_trees_all_close(ahead, descend(optimizers.Adam(0.1), 10), rtol=1e-5)
