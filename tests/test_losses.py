"""Losses: the course's numbers, laws, edge cases and errors."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.losses import EXPONENTIAL, LOSSES
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from fnn import losses, metrics

numbers = st.floats(-30, 30)
vectors = st.lists(numbers, min_size=4, max_size=4).map(np.array)
classes = st.integers(0, 3)


def distributions():
    parts = st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda p: sum(p) > 0.1)
    return parts.map(lambda p: np.array(p) / sum(p))


def sigmoid(z):
    return special.expit(z)


def test_every_loss_has_a_row():
    public = {
        name
        for name, thing in vars(losses).items()
        if inspect.isfunction(thing) and name[0] != "_"
    }
    assert public == {name.split(",")[0] for name in LOSSES}


# The course


def test_house_prices(x64):
    """x = 1, 2, 3, y = 1, 2, 3: E(w) = 1/(2N) Σ (y - w x)²."""
    x = y = jnp.array([1.0, 2.0, 3.0])

    def error(w):
        return jnp.mean(jax.vmap(losses.half_squared_error)(w * x, y))

    np.testing.assert_allclose(error(0.0), 2.3333, atol=5e-5)
    np.testing.assert_allclose(error(0.5), 0.5833, atol=5e-5)
    assert error(1.0) == 0


def test_squared_errors_of_the_course_differ_by_their_factors(x64):
    y, t = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.zeros(4)
    assert losses.squared_error(y, t) == 85
    assert losses.half_squared_error(y, t) == 85 / 2
    assert losses.mean_squared_error(y, t) == 85 / 4
    assert losses.mean_squared_error(y, t) / 2 == 85 / 8


@pytest.mark.parametrize("z", [-6.0, -0.3, 0.0, 2.0])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_backward_form_of_the_quadratic_loss(z, t, x64):
    """Behind a sigmoid it is (a - t) a (1 - a), which vanishes where a is flat."""
    grad = jax.grad(lambda z: losses.half_squared_error(jax.nn.sigmoid(z), t))(z)
    a = sigmoid(z)
    np.testing.assert_allclose(grad, (a - t) * a * (1 - a), rtol=1e-12)


@pytest.mark.parametrize("z", [-6.0, -0.3, 0.0, 2.0])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_backward_form_of_cross_entropy_behind_a_sigmoid(z, t, x64):
    """It is p - t: as large as the error, also where the sigmoid is flat."""
    z = jnp.array(z)
    np.testing.assert_allclose(
        jax.grad(losses.binary_cross_entropy)(z, t), sigmoid(z) - t, rtol=1e-12
    )


def test_backward_form_of_cross_entropy_behind_softmax(x64):
    z, t = jnp.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.0])
    grad = jax.jit(jax.grad(losses.softmax_cross_entropy))
    expected = special.softmax(z) - t
    np.testing.assert_allclose(grad(z, 1), expected, rtol=1e-12)
    np.testing.assert_allclose(grad(z, t), expected, rtol=1e-12)


def test_squared_error_has_flat_regions_and_cross_entropy_has_few(x64):
    """A unit that is wrong and saturated learns by the one loss and not by the other."""
    z, t = jnp.array(-12.0), 1
    quadratic = jax.grad(lambda z: losses.half_squared_error(jax.nn.sigmoid(z), t))(z)
    assert abs(quadratic) < 1e-5
    assert abs(jax.grad(losses.binary_cross_entropy)(z, t)) > 0.9999


def test_perceptron_by_hand(x64):
    """x (.1, .3), target .03, w (.5, .2), b 1.83, sigmoid, 1/2 squared error, rate .01."""
    x, w = jnp.array([0.1, 0.3]), jnp.array([0.5, 0.2])

    def error(w):
        return losses.half_squared_error(jax.nn.sigmoid(w @ x + 1.83), 0.03)

    grad = jax.grad(error)(w)
    np.testing.assert_allclose(w @ x + 1.83, 1.94)
    np.testing.assert_allclose(grad, [0.0093, 0.0278], atol=5e-5)
    np.testing.assert_allclose(w - 0.01 * grad, [0.49991, 0.19972], atol=5e-6)


def test_multilayer_perceptron_by_hand(x64):
    """W1..W6 = .5, .1, .62, .2, -.2, .3, b = .4, -.1, 1.83; the same x and target."""
    x, w = jnp.array([0.1, 0.3]), jnp.array([[0.5, 0.1], [0.62, 0.2]])
    h = jax.nn.sigmoid(w @ x + jnp.array([0.4, -0.1]))

    def error(v):
        return losses.half_squared_error(jax.nn.sigmoid(v @ h + 1.83), 0.03)

    v = jnp.array([-0.2, 0.3])
    np.testing.assert_allclose(h[0], 0.618, atol=5e-4)
    np.testing.assert_allclose(h[1], 0.5055, atol=5e-5)
    np.testing.assert_allclose(error(v), 0.3487, atol=5e-5)
    # The unit has .097, since it takes .23 for out (1 - out), which is .1167.
    np.testing.assert_allclose(jax.grad(error)(v)[1], 0.0493, atol=5e-5)


# Laws


@given(vectors, classes, numbers)
def test_softmax_cross_entropy_does_not_depend_on_a_shift(z, label, shift):
    with jax.enable_x64(True):
        loss = losses.softmax_cross_entropy(jnp.asarray(z + shift), label)
        np.testing.assert_allclose(
            loss, losses.softmax_cross_entropy(jnp.asarray(z), label), atol=1e-12
        )


@jax.jit
def divergences(z, t):
    """Return the divergence, the cross-entropy, and what diverges from itself."""
    own = losses.kl_divergence(jnp.log(t), t)
    return losses.kl_divergence(z, t), losses.softmax_cross_entropy(z, t), own


@given(vectors, distributions())
def test_divergence_is_cross_entropy_less_entropy_and_not_negative(z, t):
    with jax.enable_x64(True):
        divergence, cross_entropy, own = divergences(z, t)
        excess = cross_entropy - special.entr(t).sum()
        np.testing.assert_allclose(divergence, excess, atol=1e-12)
        assert divergence >= -1e-12
        np.testing.assert_allclose(own, 0, atol=1e-12)


OF_CLASSES = (
    losses.softmax_cross_entropy,
    functools.partial(
        losses.softmax_cross_entropy,
        label_smoothing=0.2,
        class_weights=(1.0, 2.0, 3.0, 4.0),
    ),
    losses.nll,
    losses.misclassification,
)


@jax.jit
def of_class(z, label, t):
    """Return pairs of what must agree for a class and its distribution."""
    pairs = [(loss(z, label), loss(z, t)) for loss in OF_CLASSES]
    by_hand = losses.nll(jax.nn.log_softmax(z), label)
    wrong = losses.misclassification(z, label), 1 - metrics.accuracy(z, label)
    return [*pairs, (by_hand, losses.softmax_cross_entropy(z, label)), wrong]


@given(vectors, classes)
def test_class_is_its_one_hot_distribution(z, label):
    with jax.enable_x64(True):
        for one, other in of_class(z, label, np.eye(4)[label]):
            np.testing.assert_allclose(one, other, atol=1e-12)


@jax.jit
def of_two_classes(z, sign):
    """Return the binary cross-entropy, what is the same, and two forms of the hinge."""
    y, pair, label = z[None], jnp.stack([jnp.zeros_like(z), z]), (1 + sign) // 2
    others = (
        losses.logistic(y, sign),
        losses.softmax_cross_entropy(pair, label),
        losses.binary_focal(y, label, gamma=0.0),
        2 * losses.binary_focal(y, label, gamma=0.0, alpha=0.5),
    )
    hinges = losses.multiclass_hinge(pair, label), losses.hinge(y, sign)
    return losses.binary_cross_entropy(y, label), others, hinges


@given(numbers, st.sampled_from([-1, 1]))
def test_binary_losses_agree(z, sign):
    with jax.enable_x64(True):
        binary, others, (multiclass, hinge) = of_two_classes(z, sign)
        for other in others:
            np.testing.assert_allclose(other, binary, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(multiclass, hinge, atol=1e-12)


@jax.jit
def in_their_limits(y, t):
    """Return pairs that agree, with their tolerance, and two values in order."""
    absolute = losses.absolute_error(y, t)
    pairs = (
        (losses.huber(y, t, delta=100.0), losses.half_squared_error(y, t), 1e-9),
        (losses.huber(y, t, delta=1e-9) / 1e-9, absolute, 1e-8),
        (losses.quantile(y, t, level=0.5), absolute / 2, 1e-12),
        (losses.mean_squared_error(y, t) * 4, losses.squared_error(y, t), 1e-9),
        (losses.mean_absolute_error(y, t) * 4, absolute, 1e-9),
    )
    return pairs, losses.log_cosh(y, t), absolute


@given(vectors, vectors)
def test_losses_for_numbers_agree_in_their_limits(y, t):
    with jax.enable_x64(True):
        pairs, log_cosh, absolute = in_their_limits(y, t)
        for other, expected, atol in pairs:
            np.testing.assert_allclose(other, expected, atol=atol)
        assert log_cosh <= absolute


@given(vectors.filter(lambda v: np.abs(v).max() > 0.1), st.floats(-30, 30))
def test_cosine_distance_knows_directions_alone(y, exponent):
    with jax.enable_x64(True):
        scaled = jnp.asarray(y) * 10.0**exponent
        np.testing.assert_allclose(losses.cosine_distance(scaled, y), 0, atol=1e-14)
        np.testing.assert_allclose(losses.cosine_distance(-scaled, y), 2, atol=1e-14)


def test_quantile_is_what_the_quantile_minimizes(x64):
    t = jnp.asarray(np.random.default_rng(0).normal(size=101))
    candidates = jnp.sort(t)
    mean = jax.vmap(
        lambda y: jnp.mean(jax.vmap(lambda t: losses.quantile(y, t, level=0.9))(t))
    )
    assert candidates[mean(candidates).argmin()] == np.quantile(t, 0.9)


def test_losses_of_distributions_have_their_derivative_in_the_labels(x64):
    """Also where a label is 0, so that labels can be learned."""
    z, t = jnp.array([1.0, -2.0, 0.5]), jnp.array([1.0, 0.0, 0.0])
    log_p = jax.nn.log_softmax(z)
    for loss, x in ((losses.softmax_cross_entropy, z), (losses.nll, log_p)):
        np.testing.assert_allclose(jax.grad(loss, 1)(x, t), -log_p, rtol=1e-12)
    assert np.isfinite(jax.grad(losses.kl_divergence, 1)(z, t)).all()


@pytest.mark.parametrize(
    ("loss", "curvature"),
    [
        (functools.partial(losses.binary_cross_entropy, labels=1), 0.25),
        (functools.partial(losses.binary_cross_entropy, labels=0), 0.25),
        (functools.partial(losses.logistic, labels=-1), 0.25),
        (functools.partial(losses.huber, target=0.0), 1.0),
        (functools.partial(losses.log_cosh, target=0.0), 1.0),
        (lambda mean: losses.gaussian_nll((mean, jnp.array(0.0)), 0.0), 1.0),
    ],
)
def test_curvature_at_zero(loss, curvature, x64):
    """At the kink of |z| a form built on it would have none; zeros are where one begins."""
    seconds = jax.jacfwd(jax.grad(loss)), jax.grad(jax.grad(loss))
    values = jax.jit(lambda z: [second(z) for second in seconds])(0.0)
    np.testing.assert_allclose(values, curvature, rtol=1e-12)


# Options


def test_smoothed_label_is_a_mixture_with_the_uniform_distribution(x64):
    z, t = jnp.array([1.0, -2.0, 0.5, 3.0]), np.array([0.025, 0.925, 0.025, 0.025])
    smoothed = losses.softmax_cross_entropy(z, 1, label_smoothing=0.1)
    np.testing.assert_allclose(smoothed, losses.softmax_cross_entropy(z, t), rtol=1e-14)
    grad = jax.grad(losses.softmax_cross_entropy)(jnp.log(t), 1, 0.1)
    np.testing.assert_allclose(grad, 0, atol=1e-14)


def test_class_weights_multiply_the_loss_of_their_class_alone(x64):
    z, labels = jnp.array([[1.0, 0.0], [0.5, 2.0], [1.0, 1.0]]), jnp.array([0, 1, 1])
    plain = jax.vmap(losses.softmax_cross_entropy)(z, labels)
    weights = jnp.array([3.0, 0.5])
    loss = functools.partial(losses.softmax_cross_entropy, class_weights=weights)
    np.testing.assert_allclose(jax.vmap(loss)(z, labels), plain * weights[labels])


def test_options_may_be_traced(x64):
    z, y = jnp.array([1.0, -2.0, 0.5]), jnp.array(3.0)
    values = jnp.array([0.0, 0.3, 1.0])

    @jax.jit
    @jax.vmap
    def mapped(option):
        smoothed = losses.softmax_cross_entropy(z, 1, option)
        return smoothed, losses.quantile(y, 1.0, option), losses.huber(y, 1.0, option)

    smoothed, quantile, huber = mapped(values)
    loop = [losses.softmax_cross_entropy(z, 1, float(e)) for e in values]
    np.testing.assert_allclose(smoothed, loop, rtol=1e-12)
    np.testing.assert_allclose(quantile, [2.0, 1.4, 0.0], atol=1e-12)
    np.testing.assert_allclose(huber, [0.0, 0.555, 1.5], atol=1e-12)


# Edges


def test_large_logits_lose_no_digits():
    """In float32: what logsumexp(z) - z would lose at 10 000 is the whole loss."""
    z = jnp.array([1e4, 1e4 - 1.0, -1e4])
    cross_entropy = jax.jit(losses.softmax_cross_entropy)
    np.testing.assert_allclose(cross_entropy(z, 0), 0.3132617, rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(z, 1), 1.3132617, rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(z, 2), 20000.313, rtol=1e-6)
    small = jax.jit(losses.binary_cross_entropy)(jnp.array([30.0]), 1)
    np.testing.assert_allclose(small, np.exp(-30), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(losses.logistic)(jnp.array(-1e4), 1), 1e4)
    assert str(cross_entropy(jnp.array([1e4, 0.0]), 0)) == "0.0"  # and not -0.0
    log_cosh = jax.jit(losses.log_cosh)
    np.testing.assert_allclose(log_cosh(jnp.array([1e-3]), 0.0), 0.5e-6, rtol=1e-5)
    large = log_cosh(jnp.array([1e4]), 0.0)
    np.testing.assert_allclose(large, 1e4 - np.log(2), rtol=1e-6)


@pytest.mark.parametrize("labels", [0, np.array([0.5, 0.5, 0.0])])
def test_logit_of_minus_infinity_is_a_class_that_cannot_be(labels, x64):
    z, possible = jnp.array([1.0, 2.0, -jnp.inf]), jnp.array([1.0, 2.0])
    both = jax.jit(jax.value_and_grad(losses.softmax_cross_entropy))
    loss, grad = both(z, labels)
    fewer = labels if np.ndim(labels) == 0 else labels[:2]
    expected, g = both(possible, fewer)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(grad, [*g, 0.0], rtol=1e-12)
    assert losses.softmax_cross_entropy(z, 2) == np.inf


def test_cosine_distance_to_nothing_is_one():
    zero, y = jnp.zeros(3), jnp.array([1.0, 0.0, 0.0])
    both = jax.jit(jax.value_and_grad(losses.cosine_distance))
    for a, b in ((zero, y), (y, zero), (zero, zero)):
        value, grad = both(a, b)
        assert value == 1
        assert np.isfinite(grad).all()


@pytest.mark.parametrize("loss", EXPONENTIAL)
def test_exponential_losses_grow_to_infinity_and_not_to_nan(loss):
    output = jnp.array([0.0, -1e4]) if loss is losses.gaussian_nll else jnp.array([1e4])
    assert loss(output, 1) == np.inf
    assert np.isfinite(loss(-output, 1))


def test_gaussian_nll_takes_a_tuple_as_an_array(x64):
    mean, log_variance, t = jnp.array([1.0, 2.0]), jnp.array([0.1, -0.3]), jnp.zeros(2)
    pair = losses.gaussian_nll((mean, log_variance), t)
    assert pair == losses.gaussian_nll(jnp.stack([mean, log_variance]), t)


# Huge, tiny and 16-bit numbers


def test_worked_values_at_the_edges():
    half = jnp.float16
    gaussian = jax.jit(jax.value_and_grad(losses.gaussian_nll))
    for s in (-90.0, -1000.0):
        value, gradient = gaussian(jnp.array([0.0, s]), 0.0)
        np.testing.assert_allclose(value, s / 2 + np.log(2 * np.pi) / 2, rtol=1e-6)
        np.testing.assert_array_equal(gradient, [0.0, 0.5])
    value = losses.gaussian_nll(jnp.array([0.0, -12.0], half), 0.0)
    np.testing.assert_allclose(value, -6 + np.log(2 * np.pi) / 2, rtol=1e-3)
    divergence = jax.jit(losses.kl_divergence)
    value = divergence(jnp.zeros(3), jnp.array([-1e-7, 0.5, 0.5]))
    np.testing.assert_allclose(value, 0.4055, atol=5e-5)
    assert np.isnan(divergence(jnp.zeros(3), jnp.array([-1e-3, 0.5, 0.5])))
    value = losses.softmax_cross_entropy(jnp.zeros(100_000, half), 3)
    np.testing.assert_allclose(np.float64(value), np.log(100_000), rtol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 100, 10**4, 10**6])
@pytest.mark.parametrize("factor", [0.2, 0.7, 1.0, 1.001, 1.4, 3.0])
def test_poisson_nll_does_not_cancel(count, factor):
    z = np.float32(np.log(max(count, 1) * factor))
    exact = np.exp(np.float64(z)) - count * np.float64(z) + special.gammaln(count + 1.0)
    value, gradient = poisson(z, np.float32(count))
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    slope = np.exp(np.float64(z)) - count
    np.testing.assert_allclose(gradient, slope, atol=1e-6 * max(count, 1))


@jax.jit
def poisson(z, t):
    return jax.value_and_grad(losses.poisson_nll)(z, t)
