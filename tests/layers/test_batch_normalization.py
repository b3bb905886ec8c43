"""Batch normalization: its statistics, its laws, and what it says when misused."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import check_derivatives, example, key, notes, numpy64, over
from contracts.normalization import BATCH_NORMALIZATION, plain, standardized, trained
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.layers.normalization import BatchNorm


def batch_model(row):
    layer = row.make()
    return fnn.batched(layer, layer.axis_name)


@over(BATCH_NORMALIZATION)
def test_batch_norm_agrees_with_oracle_over_batch_and_space(row, x64):
    model, xs = batch_model(row), example(row.shape, "float64")
    params, ys, state = trained(model, xs)
    expected = row.oracle(numpy64(params), np.asarray(xs))
    np.testing.assert_allclose(ys, expected, rtol=1e-12, atol=1e-12)
    flat, m = np.asarray(xs).reshape(-1, row.shape[-1]), model.layer.momentum
    np.testing.assert_allclose(state["mean"], (1 - m) * flat.mean(0), rtol=1e-12)
    variance = flat.var(0, ddof=int(model.layer.unbiased))
    np.testing.assert_allclose(state["variance"], m + (1 - m) * variance, rtol=1e-12)


@over(BATCH_NORMALIZATION)
def test_batch_norm_at_inference_uses_the_state_and_no_other_example(row, x64):
    model, xs = batch_model(row), example(row.shape, "float64")
    params, _ = model.init(key(), xs)
    mean, variance = example(row.shape[-1:], "float64"), jnp.arange(1.0, 1 + row.shape[-1])
    state = {"mean": mean, "variance": variance}
    ys, new = model.apply(params, state, xs)
    chex.assert_trees_all_equal(new, state)
    z = (np.asarray(xs) - np.asarray(mean)) / np.sqrt(variance + model.layer.eps)
    expected = np.asarray(params.get("scale", 1)) * z + np.asarray(params.get("shift", 0))
    np.testing.assert_allclose(ys, expected, rtol=1e-12, atol=1e-12)
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_allclose(model.layer.apply(params, state, x)[0], y, rtol=1e-12)


@over(BATCH_NORMALIZATION, where=lambda row: len(row.shape) == 4)
def test_batch_norm_gradient_is_right_in_both_modes(row, x64):
    model, xs = batch_model(row), example(row.shape, "float64")
    params, state = model.init(key(), xs)

    def output(inputs):
        params, xs = inputs
        return model.apply(params, state, xs, train=True)

    check_derivatives(output, (params, xs))


@over(BATCH_NORMALIZATION)
def test_batch_norm_is_a_value(row):
    layer = row.make()
    assert layer == row.make()
    assert hash(layer) == hash(row.make())
    assert eval(repr(layer), {"fnn": fnn, "jax": jax}) == layer
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert layer.replace() == layer


@over(BATCH_NORMALIZATION)
def test_batch_norm_initializes_from_shapes_alone(row):
    layer, x = row.make(), example(row.shape[1:])
    made = layer.init(key(), jax.ShapeDtypeStruct(x.shape, x.dtype))
    chex.assert_trees_all_equal(made, layer.init(key(), x))
    shapes = jax.eval_shape(lambda k: layer.init(k, x), key())
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, made)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_batch_norm_keeps_dtype_and_its_state_is_float32_and_unbatched(dtype):
    xs = example((6, 3, 4), dtype)
    params, ys, state = trained(fnn.batched(BatchNorm()), xs)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((params, ys))} == {dtype}
    spec = jax.ShapeDtypeStruct((4,), "float32")
    chex.assert_trees_all_equal_shapes_and_dtypes(state, {"mean": spec, "variance": spec})


def test_batch_norm_compiles_once_and_scans_with_its_state_as_carry():
    model, batches = fnn.batched(BatchNorm(momentum=0.5)), example((3, 6, 4))
    params, start = model.init(key(), batches[0])
    traces = []

    def step(state, xs):
        traces.append(0)
        return model.apply(params, state, xs, train=True)[::-1]

    state, jitted = start, jax.jit(step)
    for xs in batches:
        eager, eager_ys = step(state, xs)
        state, ys = jitted(state, xs)
        chex.assert_trees_all_close((state, ys), (eager, eager_ys), rtol=1e-5, atol=1e-6)
    assert len(traces) == 3 + 1
    scanned, _ = jax.lax.scan(step, start, batches)
    chex.assert_trees_all_close(scanned, state, rtol=1e-6)


def test_running_averages_follow_the_momentum_of_the_docstring():
    model, batches = fnn.batched(BatchNorm(momentum=0.9)), example((2, 6, 4))
    params, state = model.init(key(), batches[0])
    mean, variance = np.zeros(4), np.ones(4)
    for xs in batches:
        _, state = model.apply(params, state, xs, train=True)
        mean = 0.9 * mean + 0.1 * np.asarray(xs, np.float64).mean(0)
        variance = 0.9 * variance + 0.1 * np.asarray(xs, np.float64).var(0)
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(state["variance"], variance, rtol=1e-5)


def test_inference_agrees_with_training_in_the_limit(x64):
    model, xs = fnn.batched(BatchNorm(momentum=0.5)), example((6, 2, 4), "float64")
    params, ys, state = trained(model, xs, steps=60)
    np.testing.assert_allclose(model.apply(params, state, xs)[0], ys, rtol=1e-12)


def test_unbiased_variance_in_the_limit_is_larger_by_n_over_n_minus_1(x64):
    model = fnn.batched(BatchNorm(momentum=0.5, unbiased=True))
    xs = example((6, 2, 4), "float64")
    _, _, state = trained(model, xs, steps=60)
    variance = np.asarray(xs).var((0, 1)) * 12 / 11
    np.testing.assert_allclose(state["variance"], variance, rtol=1e-12)


@given(st.permutations(range(6)), st.integers(0, 5))
def test_batch_norm_is_equivariant_to_permutations_of_the_batch(order, seed):
    model, xs = fnn.batched(BatchNorm()), example((6, 3), seed=seed)
    _, ys, state = trained(model, xs)
    _, permuted, same = trained(model, xs[jnp.array(order)])
    np.testing.assert_allclose(permuted, ys[jnp.array(order)], rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(same, state, rtol=1e-5, atol=1e-6)


@given(st.floats(0.01, 100), st.floats(-100, 100))
def test_batch_norm_forgets_scale_and_shift_of_its_input(scale, shift):
    """So a bias before it has no effect (course: normalization before the activation)."""
    with jax.enable_x64(True):
        model, xs = fnn.batched(plain(BatchNorm)), example((6, 3), "float64")
        ys = trained(model, xs)[1]
        np.testing.assert_allclose(trained(model, scale * xs + shift)[1], ys, atol=1e-9)


def test_variance_is_sound_where_the_mean_is_large():
    """E[x²] - E[x]² would cancel to noise, or to less than zero."""
    xs = 1e4 + example((64, 3))
    _, ys, _ = trained(fnn.batched(BatchNorm()), xs)
    np.testing.assert_allclose(ys, standardized(np.asarray(xs, np.float64), 0), atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 3), (4, 3), (1, 1, 1, 3)])
def test_batch_of_equal_values_is_finite_with_its_gradient(shape):
    model, xs = fnn.batched(BatchNorm(unbiased=True)), jnp.full(shape, 3.0)
    params, ys, state = trained(model, xs)
    chex.assert_trees_all_close(ys, jnp.zeros(shape), atol=1e-3)

    def loss(params, xs):
        return jnp.sum(jnp.cos(model.apply(params, state, xs, train=True)[0]))

    gradient = jax.jit(jax.grad(loss, (0, 1)))(params, xs)
    chex.assert_tree_all_finite((state, gradient))


def test_batch_norm_maps_over_parameters_as_for_a_population():
    model = fnn.batched(BatchNorm(scale_init=fnn.initializers.Normal(1.0)))
    xs = example((6, 3))
    keys = jax.random.split(key(), 4)
    params, state = jax.vmap(lambda k: model.init(k, xs))(keys)
    population = jax.vmap(lambda p, s: model.apply(p, s, xs, train=True))
    ys, new = jax.jit(population)(params, state)
    assert (ys.shape, new["mean"].shape) == ((4, 6, 3), (4, 3))
    first = jax.tree.map(lambda leaf: leaf[0], (params, state))
    chex.assert_trees_all_close(model.apply(*first, xs, train=True)[0], ys[0], rtol=1e-5)


def test_batch_norm_trains_in_fit():
    model = fnn.Sequential(fnn.Dense(4), BatchNorm(), jax.nn.relu, fnn.Dense(2))
    xs, labels = np.asarray(example((32, 3))), np.arange(32, dtype=np.int32) % 2
    fitted = fnn.fit(
        model, fnn.losses.softmax_cross_entropy, fnn.optimizers.SGD(0.1), (xs, labels),
        key=key(), epochs=1, batch_size=16, progress=False,
    )  # fmt: skip
    state = fitted.state["batch_norm_0"]
    assert state["mean"].shape == state["variance"].shape == (4,)
    assert np.all(state["mean"] != 0)
    chex.assert_tree_all_finite((fitted.params, fitted.state))


@pytest.mark.parametrize("axis_name", ["batch", "rows"])
def test_training_without_the_axis_says_what_to_do(axis_name):
    model = fnn.Sequential(fnn.Dense(2), BatchNorm(axis_name))
    params, state = model.init(key(), jnp.zeros(3))
    message = rf"'{axis_name}', which is not bound.*fnn\.batched\(model, '{axis_name}'\)"
    with pytest.raises(ValueError, match=message) as e:
        model.apply(params, state, jnp.zeros(3), train=True)
    assert "in layer 'batch_norm_0'" in notes(e)
    other = fnn.batched(model, "other")
    with pytest.raises(ValueError, match=message):
        other.apply(params, state, jnp.zeros((5, 3)), train=True)


def test_per_example_gradients_through_batch_norm_are_refused():
    model = fnn.Sequential(fnn.Dense(2), BatchNorm())
    params, state = model.init(key(), jnp.zeros(3))

    def loss(params, x):
        return jnp.sum(model.apply(params, state, x, train=True)[0])

    with pytest.raises(ValueError, match=r"Per-example gradients.*fnn\.GroupNorm"):
        jax.vmap(jax.grad(loss), (None, 0))(params, jnp.zeros((5, 3)))


def test_batch_norm_is_not_called_without_its_state():
    for model in (BatchNorm(), fnn.Sequential(fnn.Dense(2), BatchNorm())):
        params, _ = model.init(key(), jnp.zeros(3))
        with pytest.raises(
            TypeError, match=r"holds state.*model\.apply\(params, state, x\)"
        ):
            model(params, jnp.zeros(3))
        with pytest.raises(TypeError, match="holds state"):
            fnn.batched(model)(params, jnp.zeros((5, 3)))
