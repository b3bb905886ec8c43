"""Layers made of other layers, wired by hand."""

import pickle
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key, notes

import fnn
from fnn import per_example, pytorch


class UNet(fnn.Composite):
    down: fnn.Layer
    middle: fnn.Layer
    up: fnn.Layer

    def compute(self, run, x):
        h = run.down(x)
        return jnp.concatenate([x, run.up(run.middle(h))], axis=-1)


class Blocks(fnn.Composite):
    """Runs each of some blocks, then the first one again, and adds two heads."""

    blocks: tuple[fnn.Layer, ...]
    heads: dict[str, fnn.Layer]

    def compute(self, run, x):
        for block in run.blocks:
            x = block(x)
        x = run.blocks[0](x)
        return sum(head(x) for head in run.heads.values())


class VAE(fnn.Composite):
    encoder: fnn.Layer
    decoder: fnn.Layer

    def compute(self, run, x):
        mean, log_variance = jnp.split(run.encoder(x), 2)
        z = mean
        if run.train:
            noise = jax.random.normal(run.key(), mean.shape)
            z = mean + jnp.exp(log_variance / 2) * noise
        return run.decoder(z), mean, log_variance


class Twice(fnn.Composite):
    layer: fnn.Layer

    def compute(self, run, x):
        return run.layer(x), run.layer(x)


class Counting(fnn.Layer):
    """Counts how often it has run, and keeps the key that it got."""

    def init(self, key, x):
        return {}, {"runs": jnp.zeros((), jnp.int32)}

    def apply(self, params, state, x, *, key=None, train=False):
        drawn = jax.random.uniform(key) if train else jnp.float32(0)
        return x + drawn, {"runs": state["runs"] + 1}


def derived(name, base, **fields):
    return type(name, (base,), {"__annotations__": fields})


def unet():
    return UNet(fnn.Dense(4), jnp.tanh, fnn.Dense(2))


def test_a_composite_computes_what_its_compute_says():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    params, state = unet().init(key(), x[0])
    y = fnn.batched(unet())(params, x)
    down, up = (jax.tree.map(np.float64, params[name]) for name in ("down", "up"))
    h = np.tanh(x @ down["kernel"] + down["bias"])
    expected = np.concatenate([x, h @ up["kernel"] + up["bias"]], axis=-1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert state == {}
    assert list(params) == ["down", "up"]  # `middle` holds none


def test_layers_begin_as_in_a_combinator_with_their_names():
    x = jnp.ones(3)
    params, _ = unet().init(key(), x)
    sequential = fnn.Sequential(down=fnn.Dense(4), middle=jnp.tanh, up=fnn.Dense(2))
    chex.assert_trees_all_equal(params, sequential.init(key(), x)[0])


def test_tuples_and_dicts_of_layers_have_names_with_numbers_and_keys():
    model = Blocks(
        (fnn.Dense(3), jax.nn.relu, fnn.Dense(3)),
        {"left": fnn.Dense(2), "right": fnn.Dense(2, bias=False)},
    )
    params, _ = model.init(key(), jnp.ones(3))
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == {
        "blocks_0": {"bias": (3,), "kernel": (3, 3)},
        "blocks_2": {"bias": (3,), "kernel": (3, 3)},
        "heads_left": {"bias": (2,), "kernel": (3, 2)},
        "heads_right": {"kernel": (3, 2)},
    }
    assert list(model.children) == [
        "blocks_0", "blocks_1", "blocks_2", "heads_left", "heads_right"
    ]  # fmt: skip

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name].get("bias", 0)

    x = np.float32([1.0, -2.0, 0.5])
    h = dense("blocks_0", dense("blocks_2", np.maximum(dense("blocks_0", x), 0)))
    y = dense("heads_left", h) + dense("heads_right", h)
    np.testing.assert_allclose(model(params, x), y, rtol=1e-5)


def test_nested_tuples_have_a_number_for_each_level():
    class Levels(fnn.Composite):
        levels: tuple[tuple[fnn.Layer, ...], ...]

        def compute(self, run, x):
            return run.levels[1][0](run.levels[0][1](x))

    layers = ((fnn.Dense(2), fnn.Dense(3)), (fnn.Dense(4),))
    params, _ = Levels(layers).init(key(), jnp.ones(2))
    assert list(params) == ["levels_0_1", "levels_1_0"]


def test_a_layer_run_twice_has_one_set_of_parameters_and_threads_its_state():
    model = Twice(fnn.Sequential(fnn.Dense(2), Counting()))
    params, state = model.init(key(), jnp.zeros(3))
    assert list(params) == ["layer"]
    assert state == {"layer": {"counting_0": {"runs": 0}}}
    (one, other), new = model.apply(params, state, jnp.ones(3), key=key(1), train=True)
    assert new["layer"]["counting_0"]["runs"] == 2
    assert not np.array_equal(one, other)  # each run draws with another key
    (one, other), _ = model.apply(params, state, jnp.ones(3))
    chex.assert_trees_all_equal(one, other)


def test_a_composite_draws_with_fresh_keys_and_knows_the_mode():
    class Noisy(fnn.Composite):
        layer: fnn.Layer

        def compute(self, run, x):
            keys = run.key(), run.key()
            return run.layer(x), *(jax.random.uniform(k) for k in keys)

    model = Noisy(Counting())
    _, state = model.init(key(), jnp.zeros(()))
    (y, one, other), _ = model.apply({}, state, jnp.zeros(()), key=key(1), train=True)
    assert len({float(y), float(one), float(other)}) == 3
    with pytest.raises(ValueError, match="Noisy needs a key"):
        model.apply({}, state, jnp.zeros(()))
    with pytest.raises(TypeError, match="typed key"):
        model.apply({}, state, jnp.zeros(()), key=jax.random.PRNGKey(0))

    vae, x = VAE(fnn.Dense(4), fnn.Dense(8)), jnp.ones(8)
    params, state = vae.init(key(), x)
    y, mean, _ = vae(params, x)  # no key
    chex.assert_trees_all_close(y, vae.decoder(params["decoder"], mean))  # a part, alone
    batch = fnn.batched(vae).apply(params, state, jnp.ones((3, 8)), key=key(2), train=True)
    outputs = np.asarray(batch[0][0])
    assert len(np.unique(outputs, axis=0)) == 3


def test_a_layer_that_is_never_run_has_no_parameters_and_says_so():
    class First(fnn.Composite):
        first: fnn.Layer
        second: fnn.Layer

        def compute(self, run, x):
            return run.first(x)

    model = fnn.Sequential(First(fnn.Dense(2), fnn.Dense(3)), jax.nn.relu)
    params, _ = model.init(key(), jnp.ones(4))
    assert list(params["first_0"]) == ["first"]
    rows = {row.path: row for row in fnn.summary(model, jnp.ones(4)).rows}
    assert list(rows) == ["first_0/first", "first_0/second", "relu_0"]
    assert rows["first_0/second"][2:] == ("never run", 0, 0.0)
    alone = fnn.summary(model.layers[0], jnp.ones(4)).rows
    assert [row.path for row in alone] == ["first", "second"]


def test_a_layer_that_runs_in_training_alone_is_an_error_that_says_so():
    class Auxiliary(fnn.Composite):
        body: fnn.Layer
        head: fnn.Layer

        def compute(self, run, x):
            x = run.body(x)
            return (x, run.head(x)) if run.train else (x, 0)

    model = Auxiliary(fnn.Dense(2), fnn.Dense(1))
    params, _ = model.init(key(), jnp.ones(3))
    with pytest.raises(Exception, match="bias") as error:
        model.apply(params, {}, jnp.ones(3), key=key(), train=True)
    assert "'head' has no parameters, because `init`" in notes(error)


def test_a_network_of_composites_is_evaluated_twice_however_deep_it_is():
    calls = []

    class Leaf(fnn.Layer):
        def init(self, key, x):
            calls.append("init")
            return {"shift": jnp.zeros(x.shape)}, {}

        def forward(self, params, x):
            return x + params["shift"]

    for depth in (2, 9):
        model = Leaf()
        for _ in range(depth):
            model = fnn.Residual(fnn.Sequential(model, jnp.tanh))
        calls.clear()
        model.init(key(), jnp.ones(3))
        assert len(calls) == 2


def test_a_composite_does_all_that_a_layer_does():
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    model = unet()
    params, _ = model.init(key(), x[0])
    assert pickle.loads(pickle.dumps(model)) == model
    module = SimpleNamespace(UNet=UNet)
    names = {"fnn": fnn, "jax": jax, UNet.__module__.rpartition(".")[2]: module}
    assert eval(repr(model), names) == model
    shape = jax.eval_shape(lambda k: model.init(k, x[0])[0], key())
    chex.assert_trees_all_equal_shapes_and_dtypes(shape, params)

    mixed = fnn.MixedPrecision(model)
    chex.assert_trees_all_equal(mixed.init(key(), x[0])[0], params)
    assert mixed(params, x[0]).dtype == jnp.float32

    same = UNet(fnn.Dense(2), jax.nn.relu, fnn.Dense(1))  # 3 -> 3 + 1
    deep = fnn.Repeat(fnn.Sequential(same, fnn.Dense(3)), 2)
    stacked, _ = deep.init(key(), x[0])
    assert stacked["stack"]["u_net_0"]["down"]["kernel"].shape == (2, 3, 2)
    assert fnn.batched(deep)(stacked, x).shape == (4, 3)

    def loss(params, x):
        return jnp.sum(jnp.square(model(params, x)))

    norms = per_example.gradients(loss)(params, x).norms()
    each = jax.vmap(jax.grad(loss), (None, 0))(params, x)
    expected = np.sqrt(
        sum(np.square(np.asarray(g).reshape(4, -1)).sum(1) for g in jax.tree.leaves(each))
    )
    np.testing.assert_allclose(norms, expected, rtol=1e-5)


def test_an_error_and_an_observer_name_the_path():
    model = fnn.Sequential(net=Blocks((fnn.Dense(3),), {"only": fnn.Dense(1)}))
    params, state = model.init(key(), jnp.ones(3))
    paths = []
    with fnn.layers.running.observing(lambda path, *_: paths.append("/".join(path))):
        model.apply(params, state, jnp.ones(3))
    assert paths == ["net/blocks_0", "net/blocks_0", "net/heads_only", "net"]
    with pytest.raises(ValueError, match="Dense") as error:
        model(params, jnp.ones(4))
    assert "in layer 'net/blocks_0'" in notes(error)
    wrong = fnn.Sequential(net=Blocks((fnn.Dense(2),), {"only": fnn.Dense(1)}))
    with pytest.raises(ValueError, match="Dense") as error:
        wrong.init(key(), jnp.ones(3))  # the first block, run again, gets 2 features
    assert "in layer 'net/blocks_0'" in notes(error)


def test_a_composite_reads_the_weights_of_a_module_with_its_names():
    model, x = Blocks((fnn.Dense(3),), {"left": fnn.Dense(1)}), jnp.ones(3)
    params, state = model.init(key(), x)
    arrays = pytorch.to_state_dict(model, params, state, x)
    assert sorted(arrays) == [
        "blocks.0.bias", "blocks.0.weight", "heads.left.bias", "heads.left.weight"
    ]  # fmt: skip
    np.testing.assert_array_equal(
        arrays["blocks.0.weight"], np.asarray(params["blocks_0"]["kernel"]).T
    )


def test_only_a_composite_that_may_draw_is_handed_a_key():
    assert not fnn.Residual(fnn.Sequential(fnn.Dense(2), jax.nn.relu)).draws
    assert fnn.Residual(fnn.Sequential(fnn.Dense(2), fnn.Dropout(0.5))).draws
    assert unet().draws  # `compute` may call run.key()

    class Noise(fnn.Sequential):
        def compute(self, run, x):
            return super().compute(run, x) + jax.random.normal(run.key(), x.shape)

    assert Noise(fnn.Dense(2)).draws


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: UNet(fnn.Dense(1), fnn.Dense(1), fnn.Dense(1)).init(0, jnp.ones(2)),
            TypeError,
            "typed key",
        ),
        (
            lambda: Blocks((fnn.Dense(1), 3), {}),
            TypeError,
            "layer 'blocks_1' of Blocks must be a layer or a callable, got 3",
        ),
        (
            lambda: Blocks((fnn.Dense(1), fnn.Dense), {}),
            TypeError,
            "layer 'blocks_1' of Blocks is the class fnn.Dense; give an instance",
        ),
        (
            lambda: Blocks((fnn.Dense(1),), {"a/b": fnn.Dense(1)}),
            ValueError,
            "Blocks has a layer 'heads_a/b'; a name can't contain '/'",
        ),
        (
            lambda: derived("Two", Blocks, heads_a=fnn.Layer)(
                (), {"a": fnn.Dense(1)}, fnn.Dense(1)
            ),
            ValueError,
            "Two has 2 layers of the name 'heads_a'",
        ),
        (
            lambda: derived("Mode", fnn.Composite, train=fnn.Layer)(fnn.Dense(1)),
            ValueError,
            "Mode can't name a layer 'train': run.train has a meaning",
        ),
        (
            lambda: derived("Own", fnn.Composite, children=tuple),
            TypeError,
            "Own can't have a field 'children'",
        ),
        (
            lambda: derived("Empty", fnn.Composite)()({}, 1.0),
            TypeError,
            r"Empty defines no compute\(self, run, x\)",
        ),
    ],
)  # fmt: skip
def test_a_wrong_composite_says_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_what_run_does_not_have_is_named():
    class Wrong(fnn.Composite):
        layer: fnn.Layer
        size: int = 3
        act: object = jax.nn.relu

        def compute(self, run, x):
            return getattr(run, x)

    def run(name):
        return Wrong(fnn.Dense(1)).apply({}, {}, name)

    with pytest.raises(AttributeError, match=r"no layer 'other'; it has layer"):
        run("other")
    with pytest.raises(AttributeError, match=r"has 3 in its field 'size'.*self\.size"):
        run("size")
    assert run("act")[0](-1.0) == 0


def test_a_plain_layer_that_holds_layers_and_no_init_names_composite():
    class Plain(fnn.Layer):
        parts: tuple[fnn.Layer, ...]

        def forward(self, params, x):
            return x

    for parts in ((fnn.Dense(1),), {"a": [fnn.Dense(1)]}):
        with pytest.raises(TypeError, match=r"field 'parts'.*fnn\.Composite"):
            Plain(parts).init(key(), jnp.ones(2))
    assert Plain(()).init(key(), jnp.ones(2)) == ({}, {})


def test_a_composite_is_trained():
    class Difference(fnn.Composite):
        """How far apart two inputs are, to one encoder."""

        encoder: fnn.Layer

        def compute(self, run, x):
            a, b = (run.encoder(each) for each in x)
            return jnp.sum(a - b)

    rng = np.random.default_rng(2)
    x = tuple(rng.normal(size=(64, 3)).astype(np.float32) for _ in range(2))
    y = (x[0] - x[1]) @ np.float32([1.0, -2.0, 3.0])
    result = fnn.fit(
        Difference(fnn.Sequential(fnn.Dense(1), fnn.BatchNorm(), fnn.Dense(1))),
        fnn.losses.squared_error,
        fnn.optimizers.Adam(0.05),
        (x, y),
        key=key(),
        epochs=40,
        batch_size=32,
        progress=False,
    )
    assert result.history["loss"][-1] < 0.05 * result.history["loss"][0]


def test_a_condition_on_values_is_not_taken_for_an_init_that_cannot_be_traced():
    class Conditional(fnn.Composite):
        layer: fnn.Layer

        def compute(self, run, x):
            return run.layer(x) if jnp.sum(x) > 0 else x

    for model in (Conditional(fnn.Dense(2)), fnn.Sequential(Conditional(fnn.Dense(2)))):
        with pytest.raises(jax.errors.TracerBoolConversionError):
            model.init(key(), jnp.ones(2))


def test_a_layer_called_as_in_pytorch_says_how_to_run_it():
    class Called(fnn.Composite):
        layer: fnn.Layer

        def compute(self, run, x):
            return self.layer(x)

    with pytest.raises(TypeError, match="missing 1 required") as error:
        Called(fnn.Dense(2)).init(key(), jnp.ones(2))
    assert "run.name(x) runs the layer" in notes(error)


def test_a_layer_without_an_annotation_is_refused():
    with pytest.raises(TypeError, match=r"Plain.layer is a layer without an annotation"):
        type("Plain", (fnn.Composite,), {"layer": fnn.Dense(2)})


def test_one_layer_in_two_fields_is_two_layers():
    class Two(fnn.Composite):
        a: fnn.Layer
        b: fnn.Layer

        def compute(self, run, x):
            return run.a(x) + run.b(x)

    layer = fnn.Dense(2)
    params, _ = Two(layer, layer).init(key(), jnp.ones(2))
    assert not np.array_equal(params["a"]["kernel"], params["b"]["kernel"])
