"""The promises of every regularizer, and the effect of penalties on training."""

import functools
import inspect
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, numpy64, over
from contracts.regularizers import REGULARIZERS, SHAPES
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import optimizers, regularizers
from fnn.regularizers import L1, L2, ElasticNet, soft_threshold


def parameters(dtype="float64", seed=0):
    shapes, structure = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    leaves = [example(shape, dtype, seed + i) for i, shape in enumerate(shapes)]
    return jax.tree.unflatten(structure, leaves)


finite = functools.partial(st.floats, allow_subnormal=False)
vectors = st.lists(finite(-5, 5), min_size=3, max_size=3)
amounts = finite(0, 5)

# The contract


@over(REGULARIZERS)
def test_regularizer_agrees_with_oracle(row, x64):
    params = parameters()
    expected = row.oracle(numpy64(params))
    np.testing.assert_allclose(row.make()(params), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(row.make())(params), expected, rtol=1e-12)


@over(REGULARIZERS)
def test_regularizer_of_a_stack_is_that_of_its_layers(row):
    layer = parameters("float32")
    stacked = jax.tree.map(lambda w: jnp.stack([w, 2 * w]), layer)
    apart = row.make()(layer) + row.make()(fnn.tree.scale(2, layer))
    np.testing.assert_allclose(row.make()(stacked), apart, rtol=1e-6)


@over(REGULARIZERS)
def test_regularizer_gradient_is_right_and_zero_elsewhere(row, x64):
    penalty, params, v = row.make(), parameters(), parameters(seed=9)
    grad, forward = jax.jit(
        lambda params, v: (jax.grad(penalty)(params), jax.jvp(penalty, (params,), (v,))[1])
    )(params, v)

    def moved(h):
        return row.oracle(jax.tree.map(lambda w, v: w + h * v, *map(numpy64, (params, v))))

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    np.testing.assert_allclose(forward, slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fnn.tree.dot(grad, v), forward, rtol=1e-12)
    touched = jax.tree.map(lambda leaf: bool(np.any(leaf)), grad)
    assert touched == fnn.tree.match(params, penalty.on)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@over(REGULARIZERS)
def test_regularizer_is_a_scalar_of_the_dtype_of_the_parameters(row, dtype):
    params = parameters(dtype)
    value = jax.eval_shape(row.make(), params)
    assert (value.shape, value.dtype.name) == ((), dtype)


@over(REGULARIZERS)
def test_regularizer_is_a_value(row):
    value = row.make()
    assert hash(value) == hash(row.make())
    assert eval(repr(value), {"fnn": fnn, "jax": jax}) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert value.replace() == value


def test_every_regularizer_has_a_row():
    public = {
        name
        for name, thing in vars(regularizers).items()
        if inspect.isclass(thing)
        and thing.__module__ == "fnn.regularizers"
        and not name.startswith("_")
    }
    assert public == {name.split(",")[0] for name in REGULARIZERS}


# Which leaves


def test_biases_and_scales_are_never_penalized_by_default():
    params = parameters("float32")
    others = jax.tree.map(
        lambda chosen, leaf: leaf * 0 if chosen else leaf,
        fnn.tree.match(params, "*kernel"),
        params,
    )
    for penalty in (L1(1.0), L2(1.0), ElasticNet(1.0, 1.0)):
        assert penalty(others) == 0
        assert penalty(params) > 0


def test_kernel_of_a_single_layer_is_found():
    layer = fnn.Dense(2)
    params, _ = layer.init(jax.random.key(0), jnp.ones(3))
    np.testing.assert_allclose(
        L2(1.0)(params), np.square(params["kernel"]).sum(), rtol=1e-6
    )


def test_penalty_of_half_precision_is_summed_in_float32():
    """Squares of 0.01 are lost beside a sum of 100 in bfloat16, and 1e3² in float16."""
    w = jnp.full((1000, 1000), 0.01, jnp.bfloat16)
    exact = np.square(np.asarray(w, np.float64)).sum()
    np.testing.assert_allclose(float(L2(1.0)({"kernel": w})), exact, rtol=2**-8)
    large = {"kernel": jnp.full(10, 1e3, jnp.float16)}
    np.testing.assert_allclose(float(L2(1e-4)(large)), 1e3, rtol=2**-10)


def test_dtypes_may_be_mixed():
    params = {"a": {"kernel": jnp.ones(2, jnp.bfloat16)}, "b": {"kernel": jnp.ones(3)}}
    value = L2(1.0)(params)
    assert value.dtype == jnp.float32
    assert value == 5


# Effects


@pytest.mark.parametrize("m", [1, 40])
def test_l2_is_weight_decay_for_gradient_descent(m, x64):
    """With λ/(2m) Σ w², a step is w (1 - α λ/m) - α g."""
    rate, strength, params = 0.1, 0.7, parameters()

    def loss(params):
        leaves = jax.tree.leaves(params)
        return jnp.sin(sum(jnp.sum(leaf) for leaf in leaves))

    def penalized(params):
        return loss(params) + L2(strength / (2 * m))(params)

    updates, _ = step(optimizers.SGD(rate), jax.grad(penalized), params)
    stepped = optimizers.apply_updates(params, updates)
    decay = jax.tree.map(
        lambda chosen: 1 - rate * strength / m if chosen else 1.0,
        fnn.tree.match(params, "*kernel"),
    )
    expected = jax.tree.map(
        lambda d, w, g: d * w - rate * g, decay, params, jax.grad(loss)(params)
    )
    chex.assert_trees_all_close(stepped, expected, rtol=1e-12)


def test_l2_is_not_weight_decay_for_adam(x64):
    """Its first step has the length of the rate, whatever the strength."""
    params = {"kernel": jnp.array([1.0, -2.0, 0.1])}
    for strength in (0.01, 1.0):
        updates, _ = step(optimizers.Adam(0.1), jax.grad(L2(strength)), params)
        np.testing.assert_allclose(updates["kernel"], [-0.1, 0.1, -0.1], rtol=1e-5)


def step(optimizer, gradient, params):
    return optimizer.update(gradient(params), optimizer.init(params), params)


def test_proximal_steps_find_the_lasso_with_its_zeros(x64):
    """For orthonormal inputs the lasso is the soft threshold of least squares."""
    rng = np.random.default_rng(0)
    x, _ = np.linalg.qr(rng.normal(size=(20, 6)))
    y, strength, rate = x @ np.array([2.0, -1, 0.3, 0, 0, 0.1]), 0.4, 0.5

    def error(params):
        return jnp.sum(jnp.square(y - x @ params["kernel"])) / 2

    descent = optimizers.SGD(rate)

    def proximal(params, _):
        updates, _ = step(descent, jax.grad(error), params)
        params = optimizers.apply_updates(params, updates)
        return soft_threshold(params, rate * strength), None

    params, _ = jax.lax.scan(proximal, {"kernel": jnp.ones(6)}, length=100)
    np.testing.assert_allclose(params["kernel"], [1.6, -0.6, 0, 0, 0, 0], atol=1e-12)
    assert (params["kernel"] == 0).sum() == 4


def test_gradient_steps_on_l1_find_no_zeros(x64):
    """They jump to and fro over 0, which is why `soft_threshold` exists."""
    penalty, params = L1(0.4), {"kernel": jnp.array([0.1, 0.33])}
    for _ in range(50):
        updates, _ = step(optimizers.SGD(0.5), jax.grad(penalty), params)
        params = optimizers.apply_updates(params, updates)
    assert (params["kernel"] != 0).all()
    assert abs(params["kernel"]).max() < 0.2


@given(vectors, amounts)
def test_soft_threshold_is_the_proximal_map_of_l1(values, amount):
    """It minimizes 1/2 (v - w)² + amount |v|: no other v is better."""
    with jax.enable_x64(True):
        w = np.array(values)
        v = np.asarray(soft_threshold({"kernel": jnp.array(w)}, amount)["kernel"])
        np.testing.assert_allclose(
            v, np.sign(w) * np.maximum(abs(w) - amount, 0), atol=1e-15
        )
        assert ((v == 0) == (abs(w) <= amount)).all()

        def objective(v):
            return (v - w) ** 2 / 2 + amount * abs(v)

        for other in (v + 1e-3, v - 1e-3, w, np.zeros(3)):
            assert (objective(v) <= objective(other) + 1e-12).all()


def test_soft_threshold_leaves_the_others_as_they_are():
    params = parameters("bfloat16")
    shrunk = soft_threshold(params, 10.0)
    chex.assert_trees_all_equal_shapes_and_dtypes(shrunk, params)
    zero = jax.tree.map(lambda leaf: not np.any(leaf), shrunk)
    assert zero == fnn.tree.match(params, "*kernel")
    only = soft_threshold(params, 10.0, on=["*shift", "head/*bias"])
    assert not np.any(only["head"]["dense_0"]["bias"])
    chex.assert_trees_all_equal(only["conv_0"], params["conv_0"])


def test_strength_may_be_traced(x64):
    params, strengths = parameters(), jnp.array([0.0, 0.1, 2.0])
    mapped = jax.vmap(lambda s: L2(s)(params))(strengths)
    np.testing.assert_allclose(mapped, strengths * L2(1.0)(params), rtol=1e-12)
    shrunk = jax.vmap(lambda s: soft_threshold(params, s)["conv_0"]["kernel"])(strengths)
    np.testing.assert_array_equal(shrunk[0], params["conv_0"]["kernel"])


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: L1(-1.0), r"strength must be in \[0, inf\], got -1.0"),
        (lambda p: L2("much"), "strength must be .* got 'much'"),
        (lambda p: ElasticNet(-1.0, 0.0), "l1 must be"),
        (lambda p: ElasticNet(0.0, -1.0), "l2 must be"),
        (lambda p: L2(1.0, on=()), r"on must be a glob.*got \(\)"),
        (lambda p: L2(1.0, on=(1,)), r"on must be a glob.*got \(1,\)"),
        (L2(1.0, on="*weight"), r"no leaf matches '\*weight'.*conv_0/bias"),
        (lambda p: L1(1.0)({"dense_0": {"bias": 1.0}}), r"no leaf matches '\*kernel'"),
        (lambda p: L1(1.0)({}), "no leaf matches"),
        (lambda p: soft_threshold(p, -1.0), "amount must be"),
        (lambda p: soft_threshold(p, 1.0, on="*weight"), "no leaf matches"),
        (lambda p: soft_threshold(p, 1.0, on=()), "on must be a glob"),
    ],
)
def test_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(parameters("float32"))
