"""Normalization within an example: its laws, and what it says when misused."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key, over
from contracts.normalization import plain, trained
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.initializers import zeros
from fnn.layers.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
)

PER_EXAMPLE = {
    "LayerNorm": LayerNorm,
    "RMSNorm": RMSNorm,
    "GroupNorm": lambda **fields: GroupNorm(2, **fields),
    "InstanceNorm": InstanceNorm,
}
each_norm = over(PER_EXAMPLE, "make")


@each_norm
def test_parameters_are_those_that_are_asked_for(make):
    x = example((3, 4))
    for scale in (True, False):
        for shift in (True, False):
            params, _ = make(scale=scale, shift=shift).init(key(), x)
            asked = {"scale": scale, "shift": shift}
            assert set(params) == {name for name, yes in asked.items() if yes}
    params, _ = make(scale_init=zeros).init(key(), x)
    assert not np.any(make(scale_init=zeros)(params, x))


@given(st.sampled_from([(2,), (3, 5)]), st.integers(0, 99))
def test_layer_norm_gives_each_position_mean_0_and_variance_1(shape, seed):
    x = example(shape, seed=seed)
    y = np.asarray(plain(LayerNorm)({}, x), np.float64)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(-1), 1, rtol=1e-4)


def test_layer_norm_treats_positions_one_by_one():
    layer, x = LayerNorm(), example((5, 4))
    params, _ = layer.init(key(), x)
    one_by_one = jax.vmap(lambda row: layer(params, row))(x)
    chex.assert_trees_all_close(layer(params, x), one_by_one, rtol=1e-6)


def test_group_norm_of_one_group_is_layer_norm_of_all_elements(x64):
    x = example((3, 2, 4), "float64")
    whole = plain(LayerNorm)({}, x.reshape(-1)).reshape(x.shape)
    group_norm = GroupNorm(1, eps=0.0, scale=False, shift=False)
    np.testing.assert_allclose(group_norm({}, x), whole, rtol=1e-12)
    vector = x[0, 0]
    layer_norm = LayerNorm(scale_init=fnn.initializers.Normal(1.0))
    params, _ = layer_norm.init(key(), vector)
    expected = layer_norm(params, vector)
    np.testing.assert_allclose(GroupNorm(1)(params, vector), expected, rtol=1e-12)


def test_instance_norm_is_group_norm_of_a_group_per_channel(x64):
    x = example((3, 2, 4), "float64")
    layer = InstanceNorm(scale_init=fnn.initializers.Normal(1.0))
    params, _ = layer.init(key(), x)
    np.testing.assert_allclose(GroupNorm(4)(params, x), layer(params, x), rtol=1e-12)


def test_batch_norm_of_one_example_is_instance_norm(x64):
    x = example((3, 2, 4), "float64")
    _, ys, _ = trained(fnn.batched(BatchNorm()), x[None])
    params, _ = InstanceNorm().init(key(), x)
    np.testing.assert_allclose(ys[0], InstanceNorm()(params, x), rtol=1e-12)


def test_rms_norm_of_a_centred_input_is_layer_norm(x64):
    x = example((5, 4), "float64")
    centred = x - jnp.mean(x, -1, keepdims=True)
    expected = plain(LayerNorm)({}, x)
    np.testing.assert_allclose(plain(RMSNorm)({}, centred), expected, rtol=1e-12)


@given(st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_normalization_forgets_the_scale_of_its_input_and_but_for_rms_its_shift(a, b):
    with jax.enable_x64(True):
        x = example((3, 4), "float64")
        for name, make in PER_EXAMPLE.items():
            layer = plain(make)
            moved = a * x + (b if name != "RMSNorm" else 0)
            np.testing.assert_allclose(layer({}, moved), layer({}, x), atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 2), (3, 5, 4)])
@each_norm
def test_constant_inputs_are_finite_with_their_gradients(make, shape):
    layer = make()
    params, _ = layer.init(key(), jnp.zeros(shape))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_output(x):
        y = layer(params, x)
        return jnp.sum(jnp.cos(y)), y

    for fill in (0.0, 3.0, -1e4):
        gradient, y = gradient_and_output(jnp.full(shape, fill))
        chex.assert_tree_all_finite((gradient, y))
        if make is not RMSNorm and abs(fill) < 10:
            # The rounding error of 3 minus its mean, 2e-7, over the root of eps.
            chex.assert_trees_all_close(y, jnp.zeros(shape), atol=1e-4)


def test_one_feature_and_one_position_are_finite():
    x = jnp.full((1, 1), 7.0)
    for layer in (LayerNorm(), RMSNorm(), GroupNorm(1), InstanceNorm()):
        params, _ = layer.init(key(), x)
        expected = 1.0 if layer == RMSNorm() else 0.0
        chex.assert_trees_all_close(layer(params, x), jnp.full((1, 1), expected), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@each_norm
def test_statistics_of_half_precision_are_taken_in_float32(make, dtype):
    """In float16, the sum of squares would overflow."""
    layer, x = make(), 300 * example((16, 16, 4), dtype)
    params, _ = layer.init(key(), x)
    wide = layer(fnn.tree.cast(params, "float32"), x.astype("float32"))
    chex.assert_trees_all_equal(layer(params, x), wide.astype(dtype))


def test_numpy_arrays_are_taken_in_the_precision_of_jax():
    x = np.random.default_rng(0).normal(size=(3, 4))
    for layer in (*(make() for make in PER_EXAMPLE.values()), BatchNorm()):
        params, state = layer.init(key(), x)
        y, _ = layer.apply(params, state, x)
        expected, _ = layer.apply(params, state, jnp.asarray(x))
        chex.assert_trees_all_equal(y, expected)


# Errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BatchNorm(32), TypeError, "axis_name must be the name.*got 32"),
        (lambda: BatchNorm(momentum=1.1), ValueError, r"momentum must be in \[0, 1\]"),
        (lambda: BatchNorm(eps=-1e-5), ValueError, r"eps must be in \[0, 1\], got -1e-05"),
        (lambda: LayerNorm(64), ValueError, r"eps must be in \[0, 1\], got 64"),
        (lambda: RMSNorm(64), ValueError, r"eps must be in \[0, 1\], got 64"),
        (lambda: InstanceNorm(64), ValueError, r"eps must be in \[0, 1\], got 64"),
        (lambda: GroupNorm(8, 64), ValueError, r"eps must be in \[0, 1\], got 64"),
        (lambda: GroupNorm(0), ValueError, "groups must be a positive integer, got 0"),
        (lambda: GroupNorm(2.0), ValueError, "groups must be a positive integer"),
    ],
)
def test_bad_configuration_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_features_that_do_not_divide_into_groups_are_refused():
    message = r"can't make 3 groups of one size from 4 features.*float32\[2,4\]"
    with pytest.raises(ValueError, match=message):
        GroupNorm(3).init(key(), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match=message):
        GroupNorm(3, scale=False, shift=False)({}, jnp.zeros((2, 4)))


def test_instance_norm_needs_positions():
    with pytest.raises(
        ValueError, match=r"\(\.\.\., positions, features\), got float32\[4\]"
    ):
        InstanceNorm().init(key(), jnp.zeros(4))


ALL = {"BatchNorm": BatchNorm, **PER_EXAMPLE}


@pytest.mark.parametrize("name", ALL)
def test_bad_input_is_refused(name):
    layer, x = ALL[name](), jnp.zeros((3, 4))
    params, state = layer.init(key(), x)
    with pytest.raises(TypeError, match=rf"{name} takes floating-point.*int32\[3,4\]"):
        layer.init(key(), jnp.zeros((3, 4), jnp.int32))
    with pytest.raises(TypeError, match=rf"{name} takes floating-point"):
        layer.apply(params, state, jnp.zeros((3, 4), jnp.int32))
    with pytest.raises(ValueError, match=rf"{name} takes x of shape .*got float32\[\]"):
        layer.init(key(), jnp.zeros(()))
    message = rf"{name} was initialized for other features.*float32\[4\].*float32\[3,6\]"
    with pytest.raises(ValueError, match=message):
        layer.apply(params, state, jnp.zeros((3, 6)))
    with pytest.raises(TypeError, match="typed key"):
        layer.init(jax.random.PRNGKey(0), x)
