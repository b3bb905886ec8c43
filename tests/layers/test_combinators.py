"""How models are put together, named, initialized and taken apart."""

import functools
import operator
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn


def paths(model, x):
    params, _ = model.init(jax.random.key(0), x)
    return list(fnn.tree.flatten(params))


def test_names_are_kind_and_count():
    model = fnn.Sequential(
        fnn.Dense(4), jax.nn.relu, fnn.Sequential(fnn.Dense(3)), fnn.Dense(2, bias=False)
    )
    assert paths(model, jnp.zeros(5)) == [
        "dense_0/bias",
        "dense_0/kernel",
        "dense_1/kernel",
        "sequential_0/dense_0/bias",
        "sequential_0/dense_0/kernel",
    ]
    children = ["dense_0", "relu_0", "sequential_0", "dense_1"]
    assert list(model.children) == children
    odd = fnn.Sequential(lambda x: x, functools.partial(jnp.sum, axis=0), jnp.tanh)
    assert list(odd.children) == ["lambda_0", "sum_0", "tanh_0"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MaxPool", "max_pool"),
        ("RMSNorm", "rms_norm"),
        ("GRU", "gru"),
        ("Conv2D", "conv2_d"),
    ],
)
def test_kind_is_the_name_in_snake_case(name, kind):
    assert type(name, (fnn.Layer,), {"__module__": __name__}).kind == kind


class Tower(fnn.Sequential):
    """A kind of its own, which is made as every chain is."""


def test_a_subclass_without_fields_is_made_as_its_base_is():
    layers = (fnn.Dense(3), jax.nn.relu)
    assert Tower(*layers).children.keys() == fnn.Sequential(*layers).children.keys()
    assert Tower(a=fnn.Dense(3)) == Tower(fnn.Dense(3)).replace(names=("a",))
    assert Tower(*layers) != fnn.Sequential(*layers)


class Counted(fnn.Parallel):
    """A kind with fields of its own."""

    width: int
    note: str = "none"


def test_a_subclass_with_fields_takes_layers_too():
    made = Counted(fnn.Dense(3), jax.nn.relu, width=2, merge=sum)
    assert (made.width, made.note, len(made.layers)) == (2, "none", 2)
    text = "test_combinators.Counted(fnn.Dense(3), jax.nn.relu, merge=sum, width=2)"
    assert repr(made) == text
    assert made.replace(note="some")[:1] == Counted(
        fnn.Dense(3), width=2, merge=sum, note="some"
    )
    with pytest.raises(TypeError, match="Counted needs the argument width"):
        Counted(fnn.Dense(3))


def test_layers_without_parameters_rename_and_change_nothing():
    x, key = jnp.zeros(5), jax.random.key(0)
    short = fnn.Sequential(fnn.Dense(4), fnn.Dense(3))
    long = fnn.Sequential(fnn.Dropout(0.1), fnn.Dense(4), jnp.tanh, fnn.Dense(3), jnp.sin)
    chex.assert_trees_all_equal(short.init(key, x)[0], long.init(key, x)[0])


def test_equal_layers_are_initialized_differently():
    params, _ = fnn.Sequential(fnn.Dense(4), fnn.Dense(4)).init(
        jax.random.key(0), jnp.zeros(4)
    )
    assert not np.array_equal(params["dense_0"]["kernel"], params["dense_1"]["kernel"])


CHAIN = fnn.Sequential(
    fnn.Dense(4), jax.nn.relu, fnn.Dropout(0.5), fnn.Sequential(fnn.Dense(5)), fnn.Dense(3)
)
NAMED = fnn.Sequential(body=fnn.Dense(4), act=jnp.tanh, head=fnn.Dense(2))


@pytest.mark.parametrize(
    "model", [CHAIN, NAMED, fnn.Parallel(fnn.Dense(2), fnn.Dense(2), jnp.sin, merge=sum)]
)
@given(first=st.none() | st.integers(-7, 7), last=st.none() | st.integers(-7, 7))
def test_items_are_those_of_a_tuple_and_a_part_keeps_its_names(model, first, last):
    assert (len(model), list(model)) == (len(model.layers), list(model.layers))
    names = list(model.children)
    for i, name in enumerate(names):
        assert model[i] is model[i - len(model)] is model[name] is model.layers[i]
    for step in (None, 2, -1):
        cut = slice(first, last, step)
        part = model[cut]
        assert type(part) is type(model)
        assert (part.layers, list(part.children)) == (model.layers[cut], names[cut])
        assert getattr(part, "merge", None) is getattr(model, "merge", None)
    for same in (
        eval(repr(part), {"fnn": fnn, "jax": jax}),
        pickle.loads(pickle.dumps(part)),
        part.replace(),
        part[:],
    ):
        assert (same, hash(same)) == (part, hash(part))


def test_a_part_is_named_only_where_counting_gives_other_names():
    assert CHAIN[:] == CHAIN
    assert CHAIN[:2] == fnn.Sequential(fnn.Dense(4), jax.nn.relu)
    assert repr(CHAIN[4:]) == "fnn.Sequential(dense_1=fnn.Dense(3))"
    assert NAMED[:1] == fnn.Sequential(body=fnn.Dense(4))
    assert CHAIN[3:][1:] == CHAIN[4:]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (5, IndexError, "Sequential has 5 layers, no layer 5"),
        (-6, IndexError, "Sequential has 5 layers, no layer -6"),
        ("dense_2", KeyError, "no layer 'dense_2'; it has dense_0, relu_0, dropout_0"),
        (1.0, TypeError, "float"),
    ],
)
def test_an_item_that_is_not_there(index, error, message):
    with pytest.raises(error, match=message):
        CHAIN[index]


def test_parts_run_on_the_parameters_of_the_whole_and_on_their_own():
    x, key = jnp.arange(5.0), jax.random.key(0)
    params, _ = CHAIN.init(key, x)
    whole, _ = CHAIN.apply(params, {}, x, key=key, train=True)
    for cut in (2, 4):
        first, second = CHAIN[:cut], CHAIN[cut:]
        h, _ = first.apply(params, {}, x, key=key, train=True)
        y, _ = second.apply(params, {}, h, key=key, train=True)
        np.testing.assert_array_equal(y, whole)
        own = {name: params[name] for name in second.children if name in params}
        again, _ = second.apply(own, {}, h, key=key, train=True)
        np.testing.assert_array_equal(again, whole)
        # The same names, so the same keys: a part begins as it does in the whole.
        chex.assert_trees_all_equal(second.init(key, h)[0], own)


def test_a_part_does_not_run_on_parameters_of_another_layer():
    """By another name, `dense_1` would be taken for `dense_0`, which has its width too."""
    model = fnn.Sequential(fnn.Dense(4), fnn.Dense(4))
    params, _ = model.init(jax.random.key(0), x := jnp.ones(4))
    np.testing.assert_array_equal(
        model[1:](params, x), x @ params["dense_1"]["kernel"] + params["dense_1"]["bias"]
    )
    with pytest.raises(Exception, match=r"\b(kernel|dense_1)\b"):
        model[1:]({"dense_0": params["dense_0"]}, x)


def test_fields_of_a_model_are_changed_by_replace():
    body = fnn.Sequential(*CHAIN.layers[:-1])
    assert body == CHAIN.replace(layers=CHAIN.layers[:-1])
    assert NAMED.replace() == NAMED
    with pytest.raises(ValueError, match="3 names for 1 layers"):
        NAMED.replace(layers=NAMED.layers[:1])


def test_repr_of_a_long_model_is_indented_and_evaluates():
    block = fnn.Residual(fnn.Sequential(*[fnn.Dense(64, bias=False)] * 4), jnp.sin)
    text = repr(fnn.Sequential(block, jax.nn.gelu))
    assert max(map(len, text.splitlines())) <= 88
    assert text.splitlines()[2] == "        fnn.Sequential("
    assert eval(text) == fnn.Sequential(block, jax.nn.gelu)


def test_every_example_has_a_key_of_its_own():
    model = fnn.batched(fnn.Dropout(0.5))
    y, _ = model.apply({}, {}, jnp.ones((8, 64)), key=jax.random.key(0), train=True)
    assert len({row.tobytes() for row in np.asarray(y)}) == 8


def test_every_layer_has_a_key_of_its_own():
    model = fnn.Parallel(fnn.Dropout(0.5), fnn.Dropout(0.5))
    (a, b), _ = model.apply({}, {}, jnp.ones(64), key=jax.random.key(0), train=True)
    assert not np.array_equal(a, b)


class MeanOfBatch(fnn.Layer):
    """Remembers the mean of the last batch."""

    def init(self, key, x):
        return {}, {"mean": jnp.zeros(x.shape)}

    def apply(self, params, state, x, *, key=None, train=False):
        mean = jax.lax.pmean(x, "batch") if train else state["mean"]
        return x - mean, {"mean": mean}


def test_state_comes_back_unbatched():
    model = fnn.Sequential(jnp.sin, MeanOfBatch())
    batch = jnp.arange(6.0).reshape(3, 2)
    params, state = model.init(jax.random.key(0), batch[0])
    assert (params, list(state)) == ({}, ["mean_of_batch_0"])
    y, state = fnn.batched(model).apply(params, state, batch, train=True)
    mean = np.sin(np.arange(6.0).reshape(3, 2)).mean(0)
    np.testing.assert_allclose(state["mean_of_batch_0"]["mean"], mean, atol=1e-7)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-7)
    again, same = fnn.batched(model).apply(params, state, batch)
    chex.assert_trees_all_close((again, same), (y, state), atol=1e-7)


def test_axis_can_have_another_name():
    layer = fnn.layers.Function(lambda x: jax.lax.psum(x, "examples"))
    y = fnn.batched(layer, axis_name="examples")({}, jnp.arange(3.0))
    np.testing.assert_array_equal(y, 3.0)


def test_a_chain_of_linear_layers_is_one_linear_map(x64):
    model = fnn.Sequential(fnn.Dense(5), fnn.Dense(4), fnn.Dense(2))
    params, _ = model.init(jax.random.key(0), jnp.zeros(3))
    w = functools.reduce(np.matmul, (params[f"dense_{i}"]["kernel"] for i in range(3)))
    x = np.random.default_rng(0).normal(size=3)
    np.testing.assert_allclose(model(params, jnp.asarray(x)), x @ w, rtol=1e-12)


def test_summary_counts_what_can_be_counted_by_hand():
    block = fnn.Residual(fnn.Sequential(fnn.Dense(8, bias=False), jax.nn.relu))
    model = fnn.Sequential(fnn.Flatten(), fnn.Dense(8), block)
    summary = fnn.summary(model, jax.ShapeDtypeStruct((3, 4), "float32"))
    assert [row.path for row in summary.rows] == [
        "flatten_0",
        "dense_0",
        "residual_0/branch/dense_0",
        "residual_0/branch/relu_0",
    ]
    assert [row.parameters for row in summary.rows] == [0, 12 * 8 + 8, 8 * 8, 0]
    assert [row.flops for row in summary.rows] == [0, 2 * 12 * 8 + 8, 2 * 8 * 8, 8]
    assert summary.parameters == 168
    assert summary.nbytes == 4 * 168
    assert summary.flops == 2 * 12 * 8 + 8 + 2 * 8 * 8 + 8 + 8
    assert summary.rows[1].output == "float32[8]"
    assert "total" in str(summary)
    assert fnn.summary(fnn.Dense(2), jnp.zeros(3)).rows[0].path == "dense"


def test_zero_initialization_never_breaks_symmetry():
    """Hidden units that start equal stay equal (course: why zero fails)."""
    zeros = fnn.initializers.zeros
    model = fnn.Sequential(
        fnn.Dense(4, kernel_init=zeros), jax.nn.sigmoid, fnn.Dense(1, kernel_init=zeros)
    )
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0], np.float32)
    params, _, _ = fnn.fit(
        model, fnn.losses.squared_error, fnn.optimizers.SGD(0.5), (x, y),
        key=jax.random.key(0), epochs=50, batch_size=2, progress=False,
    )  # fmt: skip
    kernel = params["dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, jnp.broadcast_to(kernel[:, :1], kernel.shape))


class Draws(fnn.Layer):
    def apply(self, params, state, x, *, key=None, train=False):
        return x + jax.random.normal(key, x.shape), state


class DrawsBetween(fnn.Sequential):
    def apply(self, params, state, x, *, key=None, train=False):
        x = x + jax.random.normal(key, x.shape)
        return super().apply(params, state, x, key=key, train=train)


@pytest.mark.parametrize(
    "model",
    [
        fnn.Sequential(fnn.Residual(fnn.Sequential(fnn.Parallel(Draws(), merge=sum)))),
        fnn.Sequential(fnn.Residual(DrawsBetween(jnp.tanh))),
        fnn.Repeat(fnn.Residual(Draws()), 2),
        fnn.Sequential(fnn.Dropout(0.5)),
    ],
)
def test_what_draws_gets_a_key_however_deep_it_is(model):
    x = jnp.ones((2, 64))
    y, _ = fnn.batched(model).apply({}, {}, x, key=jax.random.key(0), train=True)
    other, _ = fnn.batched(model).apply({}, {}, x, key=jax.random.key(1), train=True)
    assert (y[0] != y[1]).any()
    assert (y != other).any()


def test_no_key_is_made_for_what_can_not_draw():
    block = fnn.Residual(fnn.Sequential(fnn.Dense(3), jax.nn.relu))
    model = fnn.batched(fnn.Sequential(block, fnn.Repeat(block, 2)))
    params, state = model.init(jax.random.key(0), x := jnp.ones((2, 3)))
    apply = jax.make_jaxpr(lambda key: model.apply(params, state, x, key=key, train=True))
    assert "random" not in str(apply(jax.random.key(1)))


@pytest.mark.parametrize("combinator", [fnn.Sequential, fnn.Parallel])
def test_the_name_of_stacked_parameters_is_reserved(combinator):
    message = f"{combinator.__name__} can't name a layer 'stack': the name is reserved"
    with pytest.raises(ValueError, match=message):
        combinator(stem=jnp.tanh, stack=fnn.Dense(2))


def programs_of(function):
    """Return how many programs a call compiles."""
    compiled = []

    def count(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        function()
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    return len(compiled)


def test_an_eager_init_is_one_program():
    branch = fnn.Parallel(fnn.Dense(5), fnn.Dense(3), merge=jnp.concatenate)
    model = fnn.Sequential(fnn.Dense(7), branch, fnn.Repeat(fnn.Residual(fnn.Dense(8)), 3))
    key, x = jax.random.key(0), jnp.ones(4)
    assert programs_of(lambda: model.init(key, x)) == 1
    assert programs_of(lambda: model.init(key, x)) == 0
    traced = jax.jit(model.init)(key, x)
    chex.assert_trees_all_close(model.init(key, x), traced, rtol=1e-6, atol=1e-7)


class Full(fnn.Layer):
    value: object

    def init(self, key, x):
        value = self.value
        value = value() if callable(value) else value
        value = value["of"] if isinstance(value, dict) else value
        return {"w": jnp.full(x.shape, value)}, {}

    def forward(self, params, x):
        return x


class Concrete(fnn.Layer):
    value: object

    def init(self, key, x):
        return {"w": np.asarray(jax.random.normal(key, x.shape))}, {}

    def forward(self, params, x):
        return x


def test_init_runs_as_it_is_written_where_it_cannot_be_one_program():
    """A NumPy array is made of traced values; a set can't be hashed."""
    key, x = jax.random.key(0), jnp.ones(2)
    for layer in (Concrete(1.0), Concrete({1.0})):
        params, _ = fnn.Sequential(layer).init(key, x)
        assert isinstance(params[f"{layer.kind}_0"]["w"], np.ndarray)


def test_layers_that_are_equal_but_for_a_type_make_their_own_values():
    key, x = jax.random.key(0), jnp.ones(2)
    for value, dtype in ((1, jnp.int32), (1.0, jnp.float32), (True, jnp.bool_)):
        held = value, {"of": value}, functools.partial(operator.pos, value)
        for each in held if value is not True else held[:2]:
            params, _ = fnn.Sequential(Full(each)).init(key, x)
            assert params["full_0"]["w"].dtype == dtype


def test_an_init_that_fails_runs_once():
    calls = []

    class Failing(fnn.Layer):
        def init(self, key, x):
            calls.append(x)
            raise ValueError("no weights today")

        def forward(self, params, x):
            return x

    with pytest.raises(ValueError, match="no weights today"):
        fnn.Sequential(Failing()).init(jax.random.key(0), jnp.ones(2))
    assert len(calls) == 1


def test_a_model_without_parts_is_true():
    assert len(fnn.Sequential()) == 0
    assert fnn.Sequential()
    assert fnn.Parallel()
