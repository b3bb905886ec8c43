"""The signal report: what it measures against loops in NumPy, and what it names."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import optimizers
from fnn.diagnostics import signal_report
from fnn.initializers import Constant, Normal, he_normal

CROSS_ENTROPY = fnn.losses.softmax_cross_entropy
X = np.asarray(jax.random.normal(jax.random.key(0), (64, 12)))
Y = np.argmax(X[:, :4], 1)


def report(model, optimizer=None, change=None, x=X, y=Y, loss=CROSS_ENTROPY):
    params, state = model.init(jax.random.key(1), x[0])  # eager: most draw the same shapes
    params = change(params) if change else params
    key = jax.random.key(2)
    return signal_report(model, loss, params, state, (x, y), key=key, optimizer=optimizer)


def deep(depth, activation, init, width=32, bias=0.0):
    dense = functools.partial(fnn.Dense, kernel_init=init, bias_init=Constant(bias))
    hidden = [layer for _ in range(depth) for layer in (dense(width), activation)]
    return fnn.Sequential(*hidden, fnn.Dense(4))


MODEL = fnn.Sequential(fnn.Dense(6), jax.nn.relu, fnn.Dense(5), jnp.tanh, fnn.Dense(1))
RATE = 0.05


def strange(params):
    """Make units 1 and 4 of the ReLU dead, and unit 2 of tanh saturated."""
    bias = params["dense_0"]["bias"].at[jnp.array([1, 4])].set(-100.0)
    params["dense_0"]["bias"] = bias
    params["dense_1"]["bias"] = params["dense_1"]["bias"].at[2].set(9.0)
    return params


@pytest.fixture(scope="module")
def measured():
    y = X[:, :1]
    loss = fnn.losses.squared_error
    sgd = optimizers.SGD(RATE)
    return report(MODEL, sgd, strange, y=y, loss=loss)


@pytest.fixture(scope="module")
def expected():
    """The same network by hand: one example after the other, in float64."""
    params, _ = MODEL.init(jax.random.key(1), X[0])
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), strange(params))
    w, b = ([params[f"dense_{i}"][kind] for i in range(3)] for kind in ("kernel", "bias"))
    outputs = [[] for _ in range(5)]
    gradients = [[] for _ in range(5)]
    weights = [[np.zeros_like(k), np.zeros_like(c)] for k, c in zip(w, b, strict=True)]
    losses = []
    for x in X.astype(np.float64):
        z0 = x @ w[0] + b[0]
        h0 = np.maximum(z0, 0)
        z1 = h0 @ w[1] + b[1]
        h1 = np.tanh(z1)
        out = h1 @ w[2] + b[2]
        g_out = 2 * (out - x[:1])
        g_h1 = w[2] @ g_out
        g_z1 = g_h1 * (1 - h1**2)
        g_h0 = w[1] @ g_z1
        g_z0 = g_h0 * (z0 > 0)
        for i, value in enumerate((z0, h0, z1, h1, out)):
            outputs[i].append(value)
        for i, value in enumerate((g_z0, g_h0, g_z1, g_h1, g_out)):
            gradients[i].append(value)
        for pair, a, g in zip(weights, (x, h0, h1), (g_z0, g_z1, g_out), strict=True):
            pair[0] += np.outer(a, g) / len(X)
            pair[1] += g / len(X)
        losses.append(((out - x[:1]) ** 2).sum())
    return outputs, gradients, weights, (w, b), np.mean(losses)


def test_what_is_measured_of_outputs_and_their_gradients(measured, expected):
    outputs, gradients, _, _, loss = expected
    assert measured.names == ("dense_0", "relu_0", "dense_1", "tanh_0", "dense_2")
    assert measured.layers[1] == "jax.nn.relu"
    np.testing.assert_allclose(measured.mean, [np.mean(v) for v in outputs], atol=1e-5)
    np.testing.assert_allclose(measured.deviation, [np.std(v) for v in outputs], 1e-4)
    norms = [np.sqrt(np.mean(np.sum(np.square(g), 1))) for g in gradients]
    np.testing.assert_allclose(measured.gradient, norms, 1e-4)
    np.testing.assert_allclose(measured.loss, loss, 1e-5)


def test_what_is_measured_of_parameters(measured, expected):
    _, _, gradients, weights, _ = expected
    for place, i in ((0, 0), (2, 1), (4, 2)):
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients[i]))
        size = np.sqrt(sum(np.sum(part[i] ** 2) for part in weights))
        np.testing.assert_allclose(measured.weight_gradient[place], norm, 1e-4)
        np.testing.assert_allclose(measured.update_ratio[place], RATE * norm / size, 1e-4)
    assert np.isnan(measured.update_ratio[[1, 3]]).all()


def test_shares_of_dead_and_saturated_units(measured):
    np.testing.assert_allclose(measured.dead, [0, 2 / 6, 0, np.nan, 0], atol=1e-6)
    np.testing.assert_allclose(measured.saturated, [np.nan] * 3 + [1 / 5, np.nan])
    assert set(measured.verdicts) == {"healthy"}


FROZEN = optimizers.ByPath({"dense_1/*": optimizers.Frozen(), "*": optimizers.Adam(1e-3)})
FAULTS = {
    "vanishing": (deep(8, jax.nn.sigmoid, Normal(0.1)), None, "dense_0"),
    "exploding": (deep(3, jax.nn.relu, Normal(3.0)), None, "dense_1"),
    "dead": (deep(2, jax.nn.relu, he_normal, bias=-10.0), optimizers.SGD(0.1), "relu_0"),
    "saturated": (deep(2, jnp.tanh, Normal(2.0)), None, "tanh_1"),
    "learning rate too high": (deep(2, jax.nn.relu, he_normal), optimizers.Adam(0.1), ""),
    "learning rate too low": (deep(1, jax.nn.relu, he_normal), optimizers.SGD(1e-6), ""),
    "frozen": (deep(2, jax.nn.relu, he_normal), FROZEN, "dense_1"),
    "zero weights": (deep(2, jax.nn.relu, Constant(0.0)), None, "dense_1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named(fault):
    model, optimizer, layer = FAULTS[fault]
    found = report(model, optimizer)
    assert found.verdict == fault
    assert layer in found.faults[0].layers or not layer
    assert found.faults[0].remedies
    assert found.faults[0].evidence in str(found)
    for name in found.faults[0].layers:
        assert found.verdicts[found.names.index(name)] == fault


def test_a_rate_is_fine_that_is_a_hundred_times_smaller():
    model, _, _ = FAULTS["learning rate too high"]
    assert report(model, optimizers.Adam(1e-3)).verdict == "healthy"


def test_layer_behind_which_gradients_stop_is_frozen():
    class Fixed(fnn.Dense):
        def forward(self, params, x):
            return super().forward(jax.lax.stop_gradient(params), x)

    found = report(fnn.Sequential(fnn.Dense(8), jnp.tanh, Fixed(8), fnn.Dense(4)))
    assert [(f.name, f.layers) for f in found.faults] == [("frozen", ("fixed_0",))]


def test_what_is_not_finite_is_found_where_it_comes_first():
    model = fnn.Sequential(fnn.Dense(4), jnp.log, fnn.Dense(4))
    fault = report(model).faults[0]
    assert (fault.name, fault.layers[0]) == ("not finite", "dense_0")  # its gradient is NaN


def test_every_kind_of_layer_is_seen_with_its_own_part_of_the_gradient():
    """Copies of a `Repeat` are those of a `Sequential`, as all else that is the same."""
    block = fnn.Residual(fnn.Sequential(fnn.Dense(12), fnn.BatchNorm(), jnp.tanh))
    repeated = fnn.Sequential(fnn.Repeat(block, 2), fnn.Dense(4))
    written = fnn.Sequential(block, block, fnn.Dense(4))
    params, state = jax.jit(repeated.init)(jax.random.key(3), X[0])
    parts = [jax.tree.map(lambda a, i=i: a[i], (params, state)) for i in range(2)]
    apart = [
        {f"residual_{i}": part[k]["repeat_0"]["stack"] for i, part in enumerate(parts)}
        for k in range(2)
    ]
    one = signal_report(repeated, CROSS_ENTROPY, params, state, (X, Y))
    params = apart[0] | {"dense_0": params["dense_0"]}
    two = signal_report(written, CROSS_ENTROPY, params, apart[1], (X, Y))
    assert one.names[0] == "repeat_0/stack/branch/dense_0[0]"
    assert two.names[0] == "residual_0/branch/dense_0"
    for name in ("mean", "deviation", "gradient", "weight_gradient"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), 1e-4, 1e-6)


def test_layers_inside_of_transformations_count_as_part_of_them():
    inner = fnn.Sequential(fnn.Dense(12), jnp.tanh)
    model = fnn.Sequential(
        fnn.Remat(inner),
        fnn.MixedPrecision(fnn.Sequential(fnn.Dense(12), fnn.Dropout(0.5))),
        fnn.Parallel(fnn.Dense(3), jax.nn.softplus, merge=jnp.concatenate),
        fnn.Reshape((3, 5)),
        fnn.batched(inner),
        fnn.Flatten(),
        fnn.Dense(4),
    )
    found = report(model)
    assert found.names == (
        "sequential_0",
        "sequential_1/dense_0",
        "sequential_1/dropout_0",
        "parallel_0/dense_0",
        "parallel_0/softplus_0",
        "reshape_0",
        "batched_0",
        "flatten_0",
        "dense_0",
    )
    assert found.verdict == "healthy"
    assert (found.gradient > 0).all()
    assert (found.weight_gradient[[0, 1, 3, 6, 8]] > 0).all()


def test_a_layer_alone_is_a_model():
    found = report(fnn.Dense(4))
    assert (found.names, found.verdict) == (("dense",), "healthy")


@pytest.mark.slow
def test_healthy_residual_network_is_called_healthy():
    images = jax.random.normal(jax.random.key(4), (16, 8, 8, 3))
    model = fnn.models.resnet_cifar(8)
    momentum = optimizers.Momentum(0.1, 0.9)
    assert report(model, momentum, x=images, y=np.arange(16) % 10).faults == ()


def test_activation_functions_are_known_by_what_they_do():
    from fnn.diagnostics.responses import response_of

    x = jax.ShapeDtypeStruct((7,), jnp.float32)
    tanh = response_of(fnn.layers.Function(jnp.tanh), {}, x, x)
    assert tanh.bounded
    np.testing.assert_allclose(tanh.steepest, 1.0)
    sigmoid = response_of(fnn.layers.Function(jax.nn.sigmoid), {}, x, x)
    np.testing.assert_allclose(sigmoid.steepest, 0.25)
    for function in (jax.nn.relu, jax.nn.gelu, jax.nn.softplus, jax.nn.elu):
        assert not response_of(fnn.layers.Function(function), {}, x, x).bounded
    for function in (jax.nn.softmax, jnp.negative, jnp.sort, jnp.cumsum):
        assert response_of(fnn.layers.Function(function), {}, x, x) is None
    assert response_of(fnn.Dropout(0.5), {}, x, x) is None


def test_rich_table_marks_what_is_wrong(measured):
    from rich.console import Console

    file = io.StringIO()
    Console(width=120, file=file).print(measured)
    text = file.getvalue()
    assert "dense_0" in text
    assert "healthy, at a loss of" in text


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"model": jnp.tanh}, TypeError, "layer"),
        ({"batch": (X[:1], Y[:1])}, ValueError, "only 1"),
        ({"batch": X}, TypeError, "pair"),
        ({"optimizer": 0.1}, TypeError, "optimizer"),
    ],
)
def test_bad_input(arguments, error, match):
    given = {"model": fnn.Dense(4), "batch": (X, Y), "optimizer": None} | arguments
    with pytest.raises(error, match=match):
        signal_report(
            given["model"],
            CROSS_ENTROPY,
            {},
            {},
            given["batch"],
            optimizer=given["optimizer"],
        )
