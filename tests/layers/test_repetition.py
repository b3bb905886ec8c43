"""Repeat: one layer scanned over depth is the same as its copies in a row."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import check_derivatives, example, key, notes

import fnn
from fnn.layers.base import spec
from fnn.layers.normalization import BatchNorm
from fnn.layers.repetition import Repeat
from fnn.layers.running import apply_child, init_child
from fnn.layers.stochastic import Dropout, GaussianNoise

BLOCK = fnn.Residual(fnn.Sequential(fnn.Dense(4), jnp.tanh))


def unstacked(tree, times):
    """Return the parts of the copies, by the names that `Sequential` gives them."""
    kinds = [f"residual_{i}" for i in range(times)]
    parts = [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(times)]
    return {k: part["stack"] for k, part in zip(kinds, parts, strict=True) if part}


def test_repeat_is_the_unrolled_sequential(x64):
    model, x = Repeat(BLOCK, 3), example((4,), "float64")
    unrolled = fnn.Sequential(*[BLOCK] * 3)
    params, _ = jax.jit(model.init)(key(), x)

    def of_copies(params):
        y = unrolled(unstacked(params, 3), x)
        return jnp.sum(jnp.cos(y)), y

    def of_repeat(params):
        y = model(params, x)
        return jnp.sum(jnp.cos(y)), y

    (_, y), gradient = jax.jit(jax.value_and_grad(of_repeat, has_aux=True))(params)
    (_, z), expected = jax.jit(jax.value_and_grad(of_copies, has_aux=True))(params)
    np.testing.assert_allclose(y, z, rtol=1e-12)
    chex.assert_trees_all_close(gradient, expected, rtol=1e-10)


def test_copies_are_initialized_as_the_layer_with_keys_of_their_own():
    model, x = Repeat(BLOCK, 3), jnp.ones(4)
    params, _ = model.init(key(), x)
    kernels = np.asarray(params["stack"]["branch"]["dense_0"]["kernel"])
    assert kernels.shape == (3, 4, 4)
    assert len({kernel.tobytes() for kernel in kernels}) == 3
    for i, k in enumerate(jax.random.split(key(), 3)):
        own = {}
        init_child("stack", BLOCK, k, spec(x), own, {})
        copy = jax.tree.map(lambda leaf, i=i: leaf[i], params)
        chex.assert_trees_all_close(copy, own, rtol=1e-6)


@pytest.mark.parametrize("train", [False, True])
def test_state_is_stacked_over_depth_and_unbatched(train):
    block = fnn.Residual(fnn.Sequential(fnn.Dense(4), BatchNorm(), jax.nn.relu))
    model, xs = fnn.batched(Repeat(block, 3)), example((6, 4))
    params, state = jax.jit(model.init)(key(), xs)
    ys, new = jax.jit(lambda p, s: model.apply(p, s, xs, train=train))(params, state)
    assert new["stack"]["branch"]["batch_norm_0"]["mean"].shape == (3, 4)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    unrolled = fnn.batched(fnn.Sequential(*[block] * 3))
    parts = unstacked(params, 3), unstacked(state, 3)
    apply = jax.jit(functools.partial(unrolled.apply, train=train))
    expected, parts = apply(*parts, xs)
    chex.assert_trees_all_close(ys, expected, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(unstacked(new, 3), parts, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="holds state"):
        model(params, xs)


def test_each_copy_has_a_key_of_its_own():
    layer, x = GaussianNoise(0.5), jnp.ones(4)
    y, _ = Repeat(layer, 3).apply({}, {}, x, key=key(1), train=True)
    for k in jax.random.split(key(1), 3):
        x, _ = apply_child("stack", layer, {}, {}, x, key=k, train=True)
    np.testing.assert_allclose(y, x, rtol=1e-6)


def test_copies_drop_independently():
    """With one mask for all, a half would be left; with ten masks it is 1 in 1024."""
    y, _ = Repeat(Dropout(0.5), 10).apply({}, {}, jnp.ones(4096), key=key(), train=True)
    assert set(np.unique(y)) <= {0, 2**10}
    assert np.mean(np.asarray(y) > 0) < 0.01


def test_program_does_not_grow_with_depth():
    def program(times):
        model = Repeat(BLOCK, times)
        params, _ = jax.eval_shape(model.init, key(), jnp.ones(4))
        gradient = jax.grad(lambda p, x: jnp.sum(model(p, x)))
        return str(jax.make_jaxpr(gradient)(params, jnp.ones(4))).count("\n")

    assert program(100) == program(2)


def test_gradient_is_right_in_both_modes_through_batch_and_depth(x64):
    block = fnn.Sequential(BatchNorm(), jnp.tanh)
    model, xs = fnn.batched(Repeat(fnn.Residual(block), 2)), example((12, 3), "float64")
    params, state = model.init(key(), xs)

    def output(inputs):
        params, xs = inputs
        return model.apply(params, state, xs, train=True)[0]

    check_derivatives(output, (params, xs))


def test_trees_pass_through_a_plain_callable():
    model = Repeat(lambda pair: (pair[1], pair[0] + pair[1]), 10)
    fibonacci = model({}, (jnp.int32(0), jnp.int32(1)))
    chex.assert_trees_all_equal(fibonacci, (jnp.int32(55), jnp.int32(89)))
    assert model.init(key(), (jnp.int32(0), jnp.int32(1))) == ({}, {})


def test_repeat_of_repeat_stacks_twice():
    model, x = Repeat(Repeat(fnn.Dense(4), 2), 3), example((4,))
    params, _ = model.init(key(), x)
    assert params["stack"]["stack"]["kernel"].shape == (3, 2, 4, 4)
    y = x
    for kernel in params["stack"]["stack"]["kernel"].reshape(6, 4, 4):
        y = y @ kernel
    np.testing.assert_allclose(model(params, x), y, rtol=1e-5)


def test_summary_sees_inside():
    model = fnn.Sequential(Repeat(BLOCK, 3), fnn.Dense(2))
    summary = fnn.summary(model, jnp.ones(4))
    assert [row.path for row in summary.rows] == [
        "repeat_0/stack/branch/dense_0",
        "repeat_0/stack/branch/tanh_0",
        "dense_0",
    ]
    assert [row.parameters for row in summary.rows] == [3 * 20, 0, 10]
    assert summary.parameters == 3 * 20 + 10


def test_summary_counts_every_copy():
    x = jnp.ones(4)
    nested = fnn.summary(Repeat(Repeat(fnn.Dense(4), 3), 2), x)
    unrolled = fnn.summary(fnn.Sequential(*[fnn.Dense(4)] * 6), x)
    assert nested.parameters == nested.rows[0].parameters == 6 * 20
    assert nested.flops == nested.rows[0].flops == unrolled.flops == 6 * 36
    assert nested.rows[0].layer == "6 x fnn.Dense(4)"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fnn.Dense(3), r"maps float32\[4\] to float32\[3\]"),
        (lambda x: x.astype("bfloat16"), r"maps float32\[4\] to bfloat16\[4\]"),
        (lambda x: (x, x), r"maps float32\[4\] to \(float32\[4\], float32\[4\]\)"),
    ],
    ids=["shape", "dtype", "structure"],
)
def test_an_output_unlike_the_input_is_refused(layer, message):
    model = fnn.Sequential(Repeat(layer, 2))
    with pytest.raises(ValueError, match=message) as e:
        model.init(key(), jnp.ones(4))
    assert "in layer 'repeat_0'" in notes(e)
    if not isinstance(layer, fnn.Layer):
        with pytest.raises(ValueError, match=message):
            Repeat(layer, 2)({}, jnp.ones(4))


def test_error_inside_names_the_path():
    model = fnn.Sequential(Repeat(BLOCK, 2))
    params, _ = model.init(key(), jnp.ones(4))
    with pytest.raises(ValueError, match="Dense was initialized for") as e:
        model(params, jnp.ones(3))
    assert "in layer 'repeat_0/stack/branch/dense_0', fnn.Dense(4)" in notes(e)


def test_missing_and_untyped_keys_are_refused():
    model = fnn.Sequential(Repeat(Dropout(0.5), 2))
    with pytest.raises(ValueError, match="Dropout in training needs a key") as e:
        model.apply({}, {}, jnp.ones(4), train=True)
    assert "in layer 'repeat_0/stack'" in notes(e)
    with pytest.raises(TypeError, match=r"Repeat needs a typed key.*uint32\[2\]"):
        Repeat(Dropout(0.5), 2).apply(
            {}, {}, jnp.ones(4), key=jax.random.PRNGKey(0), train=True
        )
    with pytest.raises(TypeError, match="typed key"):
        Repeat(fnn.Dense(4), 2).init(jax.random.PRNGKey(0), jnp.ones(4))


def test_bad_configuration_is_refused():
    with pytest.raises(ValueError, match="times must be a positive integer, got 0"):
        Repeat(BLOCK, 0)
    with pytest.raises(TypeError, match=r"layer of Repeat is the class fnn\.Dense"):
        Repeat(fnn.Dense, 2)
    with pytest.raises(TypeError, match="layer of Repeat must be a layer or a callable"):
        Repeat(3, 2)
