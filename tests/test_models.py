"""The ready models: shapes, sizes that are published, and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import models

CIFAR = jax.ShapeDtypeStruct((32, 32, 3), "float32")


def size(model, x):
    params, _ = jax.eval_shape(model.init, jax.random.key(0), x)
    return fnn.tree.size(params)


def output(model, x):
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.eval_shape(model.apply, params, state, x)[0].shape


ALL = {
    "perceptron": (models.perceptron(3), (4,), (3,)),
    "linear_regression": (models.linear_regression(), (4,), (1,)),
    "logistic_regression, 2": (models.logistic_regression(), (4,), (1,)),
    "logistic_regression, 5": (models.logistic_regression(5), (4, 4), (5,)),
    "mlp": (models.mlp(8, 4, 2, dropout=0.1), (3,), (2,)),
    "lenet": (models.lenet(), (28, 28, 1), (10,)),
    "vgg_small": (models.vgg_small(width=4), (32, 32, 3), (10,)),
    "resnet_cifar": (models.resnet_cifar(8), (32, 32, 3), (10,)),
    "resnet_cifar, plain": (models.resnet_cifar(8, residual=False), (32, 32, 3), (10,)),
    "resnet_cifar, options": (
        models.resnet_cifar(14, 7, shortcut="padded", norm="group", stochastic_depth=0.5),
        (32, 32, 3),
        (7,),
    ),
    "autoencoder": (models.autoencoder(8, 3, inputs=16), (4, 4, 1), (16,)),
}


@pytest.mark.parametrize(("model", "x", "y"), ALL.values(), ids=list(ALL))
def test_model_has_its_output_shape_and_is_a_value(model, x, y):
    assert output(model, jax.ShapeDtypeStruct(x, "float32")) == y
    assert eval(repr(model), {"fnn": fnn, "jax": jax}) == model
    assert hash(eval(repr(model), {"fnn": fnn, "jax": jax})) == hash(model)


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_residual_networks_have_the_published_sizes(depth, millions):
    """Table 6 of He et al. 2016, whose shortcuts have no parameters."""
    count = size(models.resnet_cifar(depth, shortcut="padded"), CIFAR) / 1e6
    assert round(count, 1 if depth == 110 else 2) == millions


def test_plain_network_lacks_nothing_but_the_shortcuts():
    plain = size(models.resnet_cifar(44, residual=False), CIFAR)
    assert plain == size(models.resnet_cifar(44, shortcut="padded"), CIFAR)


def test_autoencoder_ends_with_its_output_activation():
    model = models.autoencoder(2, inputs=4, output_activation=jnp.cos)
    params, _ = model.init(jax.random.key(0), jnp.ones(4))
    np.testing.assert_array_equal(model(fnn.tree.zeros_like(params), jnp.ones(4)), 1.0)


def test_stochastic_depth_grows_linearly():
    text = repr(models.resnet_cifar(20, stochastic_depth=0.9))
    rates = [float(part.split(")")[0]) for part in text.split("StochasticDepth(")[1:]]
    np.testing.assert_allclose(rates, 0.9 * np.arange(1, 10) / 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.resnet_cifar(21), "6 n [+] 2"),
        (lambda: models.resnet_cifar(20, norm="layer"), "norm must be one of"),
        (lambda: models.resnet_cifar(20, shortcut="x"), "shortcut must be one of"),
        (
            lambda: models.resnet_cifar(20, residual=False, stochastic_depth=0.1),
            "needs residual=True",
        ),
        (models.mlp, "at least one width"),
        (lambda: models.autoencoder(inputs=3), "at least one width"),
        (lambda: models.logistic_regression(1), "at least 2"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


XOR = (
    np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32),
    np.array([0, 1, 1, 0], np.float32),
)


def accuracy_on_xor(model):
    params, state, _ = fnn.fit(
        model,
        fnn.losses.binary_cross_entropy,
        fnn.optimizers.Adam(0.05),
        XOR,
        key=jax.random.key(0),
        epochs=400,
        batch_size=4,
        progress=False,
    )
    metric = {"accuracy": fnn.metrics.binary_accuracy}
    return fnn.evaluate(model, params, state, XOR, metric)["accuracy"]


def test_a_line_does_not_learn_xor_and_a_hidden_layer_does():
    assert accuracy_on_xor(models.logistic_regression()) <= 0.75
    assert accuracy_on_xor(models.mlp(8, 1, activation=jnp.tanh)) == 1


def test_one_hidden_layer_fits_a_bounded_function():
    x = np.linspace(-3, 3, 128, dtype=np.float32)[:, None]
    _, _, history = fnn.fit(
        models.mlp(64, 1, activation=jnp.tanh),
        fnn.losses.squared_error,
        fnn.optimizers.Adam(0.01),
        (x, np.sin(2 * x)),
        key=jax.random.key(0),
        epochs=1000,
        batch_size=64,
        progress=False,
    )
    assert history["loss"][-1] < 0.01


@pytest.mark.slow
def test_a_small_residual_network_learns_with_batch_statistics():
    images, labels = fnn.data.digits()
    model = models.resnet_cifar(8, stochastic_depth=0.1)
    params, state, history = fnn.fit(
        model,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(3e-3),
        (images[:512], labels[:512]),
        key=jax.random.key(0),
        epochs=6,
        batch_size=64,
        progress=False,
    )
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert fnn.tree.all_finite((params, state))
