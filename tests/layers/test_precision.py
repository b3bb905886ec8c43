"""Layers computed in fewer bits, or in less memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example, key
from contracts.layers import initialized

import fnn
from fnn import losses, optimizers, per_example
from fnn.layers.running import apply_child
from fnn.layers.stochastic import Dropout

BLOCK = fnn.Residual(fnn.Sequential(fnn.Dense(4), jnp.tanh, fnn.Dropout(0.3), fnn.Dense(4)))
MODEL = fnn.Sequential(BLOCK, fnn.LayerNorm(), BLOCK, fnn.Dense(2))


def dtypes(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


class Probe(fnn.Layer):
    """Report the dtypes of what reaches a layer inside."""

    seen = []  # noqa: RUF012

    def init(self, key, x):
        return {"w": jnp.ones(x.shape, x.dtype)}, {"mean": jnp.zeros((), jnp.float32)}

    def apply(self, params, state, x, *, key=None, train=False):
        self.seen.append((params["w"].dtype.name, x.dtype.name, state["mean"].dtype.name))
        return params["w"] * x, {"mean": jnp.mean(x)}


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_what_is_narrow_and_what_is_wide(narrow):
    model, x = fnn.MixedPrecision(Probe(), narrow), example((4,))
    params, state = model.init(key(), x)
    assert dtypes((params, state)) == {"float32"}
    Probe.seen.clear()
    y, new = model.apply(params, state, x)
    assert Probe.seen == [(narrow, narrow, "float32")]
    assert dtypes((y, new)) == {"float32"}
    product = np.asarray(x).astype(jnp.dtype(narrow))
    np.testing.assert_array_equal(y, product.astype("float32"))
    masters, _ = model.init(key(), x.astype(narrow))
    assert dtypes(masters) == {"float32"}
    assert dtypes(model.apply(masters, state, x.astype(narrow))[0]) == {narrow}


def test_integers_go_in_as_they_are():
    model = fnn.MixedPrecision(fnn.Sequential(fnn.Embedding(5, 3), fnn.Dense(2)))
    tokens = jnp.arange(4)
    params, _ = model.init(key(), tokens)
    y = model(params, tokens)
    assert dtypes((params, y)) == {"float32"}
    table, dense = params["embedding_0"]["table"], params["dense_0"]
    expected = np.asarray(table[:4]) @ np.asarray(dense["kernel"])
    np.testing.assert_allclose(y, expected, rtol=0.03, atol=0.03)
    assert "bf16[4,2] = dot_general" in str(jax.make_jaxpr(model)(params, tokens))
    assert model.inner(params, tokens).shape == y.shape


@functools.partial(jax.jit, static_argnums=0)
def trained(model, params, state, x):
    return model.apply(params, state, x, key=key(1), train=True)[0]


@pytest.mark.parametrize("wrap", [fnn.MixedPrecision, fnn.Remat])
def test_wrapping_renames_nothing_and_draws_the_same(wrap):
    x = example((4,))
    plain = initialized(MODEL, x)
    chex.assert_trees_all_equal(initialized(wrap(MODEL), x), plain)
    inside = fnn.Sequential(wrap(BLOCK), fnn.LayerNorm(), wrap(BLOCK), wrap(fnn.Dense(2)))
    chex.assert_trees_all_equal(initialized(inside, x), plain)
    relu = fnn.Sequential(fnn.Dense(4), wrap(jax.nn.relu))
    assert [row.path for row in fnn.summary(relu, x).rows] == ["dense_0", "relu_0"]
    y = trained(MODEL, *plain, x)
    for model in (wrap(MODEL), inside):
        again = trained(model, *plain, x)
        # Another mask would change whole entries.
        np.testing.assert_allclose(again, y, rtol=0.03, atol=0.03)


def test_statistics_are_taken_and_kept_in_float32():
    """In bfloat16 the mean of values about 1000 would be off by up to 2."""
    rng = np.random.default_rng(0)
    x = (1000 + 8 * rng.integers(-9, 9, size=(64, 3))).astype("float32")  # exact in bf16
    model = fnn.batched(fnn.MixedPrecision(fnn.BatchNorm(momentum=0.0)))
    params, state = model.init(key(), x)
    y, state = model.apply(params, state, jnp.asarray(x), train=True)
    np.testing.assert_allclose(state["mean"], x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(state["variance"], x.var(0), rtol=1e-4)
    assert dtypes(state) == {"float32"}
    standardized = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(y, standardized, rtol=0.01, atol=0.01)


NORMALIZATIONS = [fnn.LayerNorm(), fnn.RMSNorm(), fnn.GroupNorm(2), fnn.InstanceNorm()]


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
@pytest.mark.parametrize("layer", NORMALIZATIONS, ids=lambda layer: layer.kind)
def test_normalization_does_not_overflow_or_cancel(layer, narrow):
    """Squares of 1000 overflow float16; sums of 4096 ones stop at 256 in bfloat16."""
    x = np.random.default_rng(0).choice([-1000.0, 1000.0], size=(512, 8))
    model = fnn.MixedPrecision(layer, narrow)
    params, _ = model.init(key(), jnp.asarray(x, "float32"))
    y = model(params, jnp.asarray(x, "float32"))
    wide = layer(params, jnp.asarray(x, "float32"))
    np.testing.assert_allclose(y, wide, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("place", ["outside", "inside", "repeated"])
def test_mixed_precision_trains_as_float32_does(place):
    x = example((64, 4))
    data = x, (x[:, 0] * x[:, 1] > 0).astype("int32")
    block = fnn.Residual(fnn.Sequential(fnn.Dense(4), jnp.tanh))
    mixed = fnn.MixedPrecision(block)
    model, plain = {
        "outside": (fnn.MixedPrecision(fnn.Sequential(block, fnn.Dense(2))), None),
        "inside": (fnn.Sequential(mixed, fnn.Dense(2)), None),
        "repeated": (fnn.Sequential(fnn.Repeat(mixed, 2), fnn.Dense(2)), 2),
    }[place]
    plain = fnn.Sequential(fnn.Repeat(block, plain) if plain else block, fnn.Dense(2))

    def fit(model):
        loss, adam = losses.softmax_cross_entropy, optimizers.Adam(0.01)
        run = {"epochs": 5, "batch_size": 16, "progress": False}
        return fnn.fit(model, loss, adam, data, key=key(), **run)

    one, other = fit(model), fit(plain)
    assert dtypes(one.params) == {"float32"}
    chex.assert_trees_all_equal_structs(one.params, other.params)
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=0.02)
    assert one.history["loss"][-1] != other.history["loss"][-1]


@pytest.mark.parametrize("wrap", [fnn.MixedPrecision, fnn.Remat])
def test_per_example_gradients_are_those_of_each_example(wrap):
    model = fnn.Sequential(wrap(fnn.Sequential(fnn.Dense(5), jnp.tanh)), fnn.Dense(2))
    xs, ys = example((6, 4)), jnp.arange(6) % 2
    params, _ = jax.jit(model.init)(key(), xs[0])

    def loss(params, x, y):
        return losses.softmax_cross_entropy(model(params, x), y)

    @jax.jit
    def ask(params):
        found = per_example.gradients(loss)(params, xs, ys)
        return found.norms(), found.mean()

    @jax.jit
    def gradient_of_mean(params):
        return jax.grad(lambda p: jnp.mean(jax.vmap(loss, (None, 0, 0))(p, xs, ys)))(params)

    norms, mean = ask(params)
    norm = jax.jit(lambda *args: fnn.tree.norm(jax.grad(loss)(*args)))
    each = [norm(params, *one) for one in zip(np.asarray(xs), np.asarray(ys), strict=True)]
    np.testing.assert_allclose(norms, each, rtol=1e-2)
    chex.assert_trees_all_close(mean, gradient_of_mean(params), rtol=2e-2, atol=2e-3)


def train_step(model, x, **options):
    objective = fnn.supervised(model, losses.squared_error)
    step = fnn.make_step(objective, optimizers.SGD(0.1), **options)
    params, state = jax.jit(model.init)(key(), x[0])
    train_state = fnn.TrainState.create(params, state, step.optimizer, key=key(1))
    return jax.jit(step).lower(train_state, (x, x)).compile(), train_state


def test_remat_changes_neither_outputs_nor_gradients():
    """Dropout inside: with another mask in the backward pass the gradients would differ."""
    x = example((8, 4))
    block = fnn.Sequential(fnn.Dense(4), fnn.BatchNorm(), jnp.tanh, fnn.Dropout(0.5))
    compiled, train_state = train_step(fnn.Sequential(*[block] * 3), x)
    expected = compiled(train_state, (x, x))[0].params
    for policy in (None, "dots_saveable"):
        again, _ = train_step(fnn.Sequential(*[fnn.Remat(block, policy)] * 3), x)
        found = again(train_state, (x, x))[0].params
        chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)


def test_remat_saves_temporaries():
    """In straight-line code it does, too, but XLA undoes it there on the CPU."""
    block = fnn.Sequential(*[fnn.Dense(32), jnp.tanh] * 3)
    x = jnp.ones((2048, 32))

    def temporaries(block):
        compiled, _ = train_step(fnn.Repeat(block, 8), x)
        return compiled.memory_analysis().temp_size_in_bytes

    plain, remat = temporaries(block), temporaries(fnn.Remat(block))
    dots = temporaries(fnn.Remat(block, "dots_saveable"))
    assert remat < 0.5 * plain
    assert remat < dots < plain


def test_policy_may_be_a_function():
    policy = jax.checkpoint_policies.save_only_these_names("kept")
    model = fnn.Remat(fnn.Dense(3), policy)
    params, _ = model.init(key(), jnp.ones(4))
    grads = jax.grad(lambda p: model(p, jnp.ones(4)).sum())(params)
    chex.assert_trees_all_close(grads, {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)})


@pytest.mark.parametrize("wrap", [fnn.MixedPrecision, fnn.Remat])
def test_errors_inside_are_located(wrap):
    model = fnn.Sequential(wrap(fnn.Sequential(fnn.Dense(4), Dropout(0.5))))
    params, _ = model.init(key(), jnp.ones(4))
    with pytest.raises(ValueError, match="Dropout in training needs a key") as error:
        model.apply(params, {}, jnp.ones(4), train=True)
    assert "in layer 'sequential_0/dropout_0'" in "".join(error.value.__notes__)
    y, state = apply_child(
        "a", wrap(Probe()), {"a": {"w": jnp.ones(2)}}, {"a": {"mean": jnp.zeros(())}},
        jnp.ones(2), key=None, train=False,
    )  # fmt: skip
    assert dtypes((y, state)) == {"float32"}
    with pytest.raises(TypeError, match="holds state"):
        wrap(fnn.BatchNorm())({}, jnp.ones(2))


def test_bad_configuration_is_refused():
    for wrong in ("int8", "float33", 3.5):
        with pytest.raises(TypeError, match="compute_dtype must be a floating-point dtype"):
            fnn.MixedPrecision(fnn.Dense(2), wrong)
    with pytest.raises(TypeError, match=r"layer of MixedPrecision is the class fnn\.Dense"):
        fnn.MixedPrecision(fnn.Dense)
    with pytest.raises(TypeError, match="layer of Remat must be a layer or a callable"):
        fnn.Remat(3)
    with pytest.raises(ValueError, match=r"policy must be one of .*got 'dots'"):
        fnn.Remat(fnn.Dense(2), "dots")
    assert fnn.MixedPrecision(fnn.Dense(2), jnp.float16).compute_dtype == "float16"


def test_float16_learns_by_the_scale_of_its_loss():
    """A loss of 1e-8 the size: its gradients are below the least number of float16."""
    x = example((64, 4))
    data = x, jnp.sum(x, 1, keepdims=True)
    model = fnn.MixedPrecision(fnn.Dense(1, bias=False), "float16")

    def loss(output, target):
        return 1e-8 * losses.squared_error(output, target)

    def fit(optimizer):
        run = {"epochs": 30, "batch_size": 16, "progress": False}
        return fnn.fit(model, loss, optimizer, data, key=key(), **run)

    adam = optimizers.Adam(0.1, eps=1e-15)
    plain, scaled = fit(adam), fit(optimizers.DynamicLossScale(adam, 2.0**24))
    assert plain.history["loss"][-1] > 0.3 * plain.history["loss"][0]
    assert scaled.history["loss"][-1] < 1e-3 * scaled.history["loss"][0]
    np.testing.assert_allclose(scaled.params["kernel"], 1, atol=0.02)
