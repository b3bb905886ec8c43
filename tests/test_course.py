"""The worked numbers of the course, unit by unit.

Where a unit contains a slip, the true value is tested and the slip is named.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import activations, losses
from fnn.optimizers import SGD, apply_updates

SIGMOID = activations.sigmoid


def close(found, expected, digits=4):
    """Agree to the digits that the page prints."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.51 * 10.0**-digits)


def dense(kernel, bias):
    return {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}


# Learning problems


@pytest.mark.parametrize(("w", "error"), [(0.0, 2.3333), (0.5, 0.5833), (1.0, 0.0)])
def test_house_prices(w, error):
    """E(w) = 1/(2N) sum (y - w x)^2 on x = 1,2,3, y = 1,2,3."""
    x = jnp.array([1.0, 2.0, 3.0])
    model = fnn.batched(fnn.Dense(1, bias=False))
    outputs = model({"kernel": jnp.array([[w]])}, x[:, None])
    close(jax.vmap(losses.half_squared_error)(outputs, x).mean(), error)


# Layers


def test_forward_pass():
    """The unit prints .49 for .66: it adds .2 * .1 as .03, and more."""
    model = fnn.Sequential(fnn.Dense(2), SIGMOID, fnn.Dense(1), SIGMOID)
    hidden = dense([[1, 0.5], [0.2, 1.2], [1.2, 0.1]], [0.1, 0.2])
    output = dense([[0.3], [0.9]], [0.3])
    params, x = {"dense_0": hidden, "dense_1": output}, jnp.array([0.4, 0.2, 0.2])
    z = fnn.Dense(2)(hidden, x)
    close(z, [0.78, 0.66])
    close(SIGMOID(z), [0.6857, 0.6593])
    # The unit's .7502 comes of rounded intermediate results.
    close(model(params, x), [0.7501])


def convolve(x, kernel, stride=1):
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    layer = fnn.Conv(1, kernel.shape, stride=stride, bias=False)
    return layer({"kernel": kernel[..., None, None]}, x[..., None])[..., 0]


def test_convolution_of_a_sequence():
    x, kernel = [1, 2, 3, 4, 5, 6], [1 / 2, 1 / 2]
    close(convolve(x, kernel), [3 / 2, 5 / 2, 7 / 2, 9 / 2, 11 / 2])
    close(convolve(x, kernel, stride=2), [3 / 2, 7 / 2, 11 / 2])


def test_convolution_of_an_image():
    close(convolve([[1, 2, 1], [3, 4, 0], [2, 6, 1]], [[-1, 2], [1, 0]]), [[6, 4], [7, 2]])
    image = [[1, 2, 3, 2], [4, 0, -1, 3], [0, 1, 2, 1], [6, 2, -1, 4]]
    close(convolve(image, [[-1, 4], [1, 5]], stride=2), [[11, 19], [20, 21]])


def test_pooling_over_a_partition():
    """{1-3}, {4,5}, {6,7}, {8-10} of (2,4,3,7,6,4,1,0,2,9), maxima."""
    x = jnp.array([2.0, 4, 3, 7, 6, 4, 1, 0, 2, 9])
    parts = ((0, 1, 2), (3, 4), (5, 6), (7, 8, 9))
    close(fnn.PartitionPool(parts, "max")({}, x), [4, 7, 4, 9])


# Gradients


def test_gradient_of_a_small_expression():
    def f(x, y, z):
        return (x + y) * z

    value, gradient = jax.value_and_grad(f, argnums=(0, 1, 2))(-2.0, 5.0, -4.0)
    close(value, -12)
    close(gradient, [-4, -4, 3])


def test_sigmoid_circuit():
    def f(w, x):
        return SIGMOID(w[0] * x[0] + w[1] * x[1] + w[2])

    w, x = jnp.array([2.0, -3.0, -3.0]), jnp.array([-1.0, -2.0])
    value, (dw, dx) = jax.value_and_grad(f, argnums=(0, 1))(w, x)
    close(value, 0.7311)
    close(dw, [-0.1966, -0.3932, 0.1966])
    close(dx, [0.3932, -0.5898])


def test_gates():
    """Add distributes, copy adds, mul swaps, max routes."""
    grad = jax.grad
    close(grad(lambda x, y: x + y, (0, 1))(3.0, -4.0), [1, 1])
    close(grad(lambda x: (x, x)[0] * 2 + (x, x)[1] * 5)(1.0), 7)
    close(grad(lambda x, y: x * y, (0, 1))(3.0, -4.0), [-4, 3])
    close(grad(jnp.maximum, (0, 1))(4.0, 1.0), [1, 0])


def test_perceptron_by_backpropagation():
    """x (.1, .3), target .03, w (.5, .2), b 1.83, sigmoid, 1/2 squared error, rate .01."""
    x, params = jnp.array([0.1, 0.3]), dense([[0.5], [0.2]], [1.83])
    close(fnn.Dense(1)(params, x), 1.94, digits=2)
    model = fnn.Sequential(fnn.Dense(1), SIGMOID)

    def error(params):
        return losses.half_squared_error(model({"dense_0": params}, x), 0.03)

    close(model({"dense_0": params}, x), 0.8744)
    gradient = jax.grad(error)(params)
    close(gradient["kernel"][:, 0], [0.0093, 0.0278])
    sgd = SGD(0.01)
    updates, _ = sgd.update(gradient, sgd.init(params))
    close(apply_updates(params, updates)["kernel"][:, 0], [0.49991, 0.19972], digits=5)


def test_mlp_by_backpropagation():
    """W1..W6 = .5,.1,.62,.2,-.2,.3, b = .4,-.1,1.83, on the same example.

    The unit takes .23 for out (1 - out), which is .1167; so its gradients are about twice
    too large, and its new W5 subtracts the hidden output in place of the gradient.
    """
    model = fnn.Sequential(fnn.Dense(2), SIGMOID, fnn.Dense(1), SIGMOID)
    x, target = jnp.array([0.1, 0.3]), 0.03
    params = {
        "dense_0": dense([[0.5, 0.62], [0.1, 0.2]], [0.4, -0.1]),
        "dense_1": dense([[-0.2], [0.3]], [1.83]),
    }
    h = SIGMOID(fnn.Dense(2)(params["dense_0"], x))
    close(h, [0.618, 0.5055], digits=3)
    (out,) = model(params, x)
    close(out, 0.8651)
    error, gradient = jax.value_and_grad(
        lambda p: losses.half_squared_error(model(p, x), target)
    )(params)
    close(error, 0.3487)
    close(out * (1 - out), 0.1167)
    close(gradient["dense_1"]["kernel"][1], 0.0493)

    # By hand: the deltas of the output and of the hidden layer.
    delta_out = (out - target) * out * (1 - out)
    delta_hidden = delta_out * params["dense_1"]["kernel"][:, 0] * h * (1 - h)
    by_hand = {
        "dense_0": {"kernel": jnp.outer(x, delta_hidden), "bias": delta_hidden},
        "dense_1": {"kernel": (delta_out * h)[:, None], "bias": delta_out[None]},
    }
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), gradient, by_hand
    )


def test_vanishing_and_exploding():
    """A chain of L - 1 factors: 0.5^(L-1) and 1.5^(L-1); a sigmoid's slope is <= 1/4."""
    depth = 10
    for factor in (0.5, 1.5):
        model = fnn.Sequential(*[fnn.Dense(1, bias=False)] * (depth - 1))
        params = {f"dense_{i}": {"kernel": jnp.array([[factor]])} for i in range(depth - 1)}
        slope = jax.grad(lambda x, m=model, p=params: m(p, x).sum())(jnp.ones(1))
        np.testing.assert_allclose(slope, factor ** (depth - 1), rtol=1e-5)
    slopes = jax.vmap(jax.grad(SIGMOID))(jnp.linspace(-5, 5, 101))
    close(slopes.max(), 0.25)
