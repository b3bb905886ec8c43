"""Layers that are not what a layer should be, and parameters of other models, are named."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key, notes

import fnn
from fnn import checkpoint, losses, metrics, optimizers, pytorch

X = np.ones(4, "float32")


class Broken(fnn.Layer):
    """Does as it is told, and nothing by itself."""

    made: Any = ({}, {})
    output: Any = None

    def init(self, key, x):
        return self.made

    def apply(self, params, state, x, *, key=None, train=False):
        return self.output


class OfValues(fnn.Layer):
    """Looks at the values of x in `init`."""

    look: Any = None

    def init(self, key, x):
        return {"w": self.look(x)}, {}

    def forward(self, params, x):
        return x


class InitOfKey(fnn.Layer):
    def init(self, key):
        return {}, {}

    def forward(self, params, x):
        return x


class ForwardOfX(fnn.Layer):
    def forward(self, x):
        return x


class ForwardOfKey(fnn.Layer):
    def forward(self, params, x, key):
        return x


class ApplyOfX(fnn.Layer):
    def apply(self, params, x):
        return x


class OtherName(fnn.Layer):
    def init(self, key, x):
        return {"w": jnp.ones(())}, {}

    def forward(self, params, x):
        return params["weight"] * x


def numpy_of(x):
    return np.tanh(x)


BROKEN = {
    "only params": (
        Broken({"w": X}),
        r"init of Broken must return a pair.*w: float32\[4\]",
    ),
    "no pair": (Broken(None), "init of Broken must return a pair.*got NoneType None"),
    "an array": (
        Broken((X, {})),
        r"pair \(params, state\) of nested dicts.*\(float32\[4\]",
    ),
    "a text": (Broken(({"w": "a"}, {})), "arrays as leaves.*w: str 'a'"),
    "only y": (Broken(output=X), r"apply of Broken must return a pair \(output, state\)"),
    "two rows": (Broken(output=np.ones((2, 3))), r"pair.*got float64\[2,3\].*forward"),
    "no y": (Broken(output=(None, {})), r"Broken\(.* returned None instead of an output"),
    "x[0]": (OfValues(lambda x: x[0]), "init of OfValues reads more of x than shape and"),
    "sum of x": (OfValues(jnp.sum), "x is a jax.ShapeDtypeStruct; x.shape"),
    "x.T": (OfValues(lambda x: x.T), "init of OfValues reads more"),
    "2 x": (OfValues(lambda x: 2 * x), "init of OfValues reads more"),
    "init of key": (InitOfKey(), r"init of InitOfKey must take \(self, key, x\), it takes"),
    "forward of x": (ForwardOfX(), r"must take \(self, params, x\), it takes \(self, x\)"),
    "forward of key": (ForwardOfKey(), r"forward of ForwardOfKey must take \(self, params"),
    "apply of x": (ApplyOfX(), r"must take \(self, params, state, x, key=..., train=...\)"),
    "another name": (
        OtherName(),
        "there is no 'weight': params has 'w'",
    ),
    "two arguments": (lambda x, y: x, r"as a layer, must take \(x\), it takes \(x, y\)"),
    "nothing": (lambda x: None, "returned None instead of an output"),
    "NumPy": (numpy_of, "numpy_of, as a layer, computes in NumPy.*jax.numpy"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_layer_is_said_with_its_path(name):
    layer, message = BROKEN[name]
    model = fnn.Sequential(body=layer)
    with pytest.raises((TypeError, ValueError), match=message) as error:
        model.init(key(), X)
    assert "in layer 'body', " in notes(error)


# The model of `fit` is a layer, not a callable; its `init` sees arrays, which have values.
OF_VALUES = {"x[0]", "x.T", "2 x", "sum of x"}
MODELS = [
    name
    for name, (layer, _) in BROKEN.items()
    if isinstance(layer, fnn.Layer) and name not in OF_VALUES
]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_wrong_with_a_layer_that_is_the_model_is_said_by_fit(name):
    layer, message = BROKEN[name]
    data = np.ones((2, 4), "float32"), np.ones((2, 4), "float32")
    with pytest.raises((TypeError, ValueError), match=message) as error:
        fnn.fit(
            layer,
            losses.squared_error,
            optimizers.SGD(0.1),
            data,
            key=key(),
            epochs=1,
            batch_size=2,
            progress=False,
        )
    assert "in the model, " in notes(error)


@pytest.mark.parametrize("called", [True, False])
def test_fields_are_declared_and_not_set(called):
    class Made(fnn.Layer):
        def __init__(self, size):
            if called:
                super().__init__()
            self.size = size

    with pytest.raises(dataclasses.FrozenInstanceError, match=r"can't set 'size'.*`size: "):
        Made(3)
    with pytest.raises(AttributeError, match=r"fnn.Dense is a value.*method replace"):
        fnn.Dense(3).features = 4
    with pytest.raises(AttributeError, match=r"can't set 'b1': fnn.optimizers.Adam"):
        optimizers.Adam(0.1).b1 = 0.5


def test_a_module_of_another_library_is_no_layer():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="layer 0 of Sequential is Linear of torch"):
        fnn.Sequential(torch.nn.Linear(3, 2))


def joined(x):
    return jnp.concatenate([x["image"], x["meta"]])


DICTS = fnn.Sequential(stem=fnn.Sequential(joined, fnn.Dense(3)))


def test_a_missing_key_of_the_input_is_named_with_the_keys_there_and_the_path():
    x = {"image": np.ones((2, 4), "float32"), "meta": np.ones((2, 4), "float32")}
    params, _ = DICTS.init(key(), jax.tree.map(lambda a: a[0], x))
    del x["meta"]
    one, y, score = {"image": X}, np.zeros(2, int), {"a": metrics.accuracy}
    for call in (
        lambda: DICTS.init(key(), one),
        lambda: DICTS(params, one),
        lambda: fnn.batched(DICTS)(params, x),
        lambda: fnn.predict(DICTS, params, {}, x),
        lambda: fnn.evaluate(DICTS, params, {}, (x, y), score),
    ):
        with pytest.raises(ValueError, match="there is no 'meta': x has 'image'") as error:
            call()
        assert "in layer 'stem/joined_0', " in notes(error)


class Named(fnn.Layer):
    """Looks something up in a table of its own."""

    name: str
    raised: bool = False

    def init(self, key, x):
        return {"inner": {"w": jnp.ones(())}}, {}

    def forward(self, params, x):
        if self.raised:
            raise KeyError(self.name)
        functions = {"relu": jax.nn.relu, "outer": params["inner"]}
        function = functions[self.name]
        return (function)(x) if callable(function) else function["v"] * x


@pytest.mark.parametrize("x", [X, {"a": X}], ids=["array", "dict"])
def test_a_key_that_a_layer_misses_elsewhere_is_its_own_error(x):
    for layer in (Named("gelu"), Named("gelu", raised=True)):
        with pytest.raises(KeyError, match="gelu") as error:
            fnn.Sequential(layer).init(key(), x)
        assert "in layer 'named_0', " in notes(error)
    message = r"there is no 'v': params\['inner'\] has 'w'"
    with pytest.raises(ValueError, match=message):
        fnn.Sequential(Named("outer")).init(key(), x)


def dense(*widths):
    return fnn.Sequential(*[fnn.Dense(width) for width in widths])


MODEL = dense(5, 3)
DATA = np.ones((6, 4), "float32"), np.zeros(6, int)


def fit(params, state=None):
    sgd = optimizers.SGD(0.1)
    options = {"epochs": 1, "batch_size": 3, "progress": False, "key": key()}
    loss = losses.softmax_cross_entropy
    return fnn.fit(MODEL, loss, sgd, DATA, params=params, state=state, **options)


def train(params):
    objective = fnn.supervised(MODEL, losses.softmax_cross_entropy)
    options = {"epochs": 1, "batch_size": 3, "key": key(), "params": params}
    return fnn.train(objective, optimizers.SGD(0.1), DATA, **options)


TAKE_PARAMS = {
    "predict": lambda params: fnn.predict(MODEL, params, {}, DATA[0]),
    "evaluate": lambda params: fnn.evaluate(
        MODEL, params, {}, DATA, {"a": metrics.accuracy}
    ),
    "export": lambda params: fnn.export(MODEL, params, {}, DATA[0][0]),
    "fit": fit,
    "train": train,
    "to_state_dict": lambda params: pytorch.to_state_dict(MODEL, params, {}, DATA[0][0]),
}


@pytest.mark.parametrize("way", TAKE_PARAMS)
def test_parameters_of_another_width_or_model_are_named_by_path(way):
    wide, _ = dense(7, 3).init(key(), X)
    with pytest.raises(
        ValueError, match=r"not those of the model, fnn.Sequential"
    ) as error:
        TAKE_PARAMS[way](wide)
    assert "params 'dense_0/kernel' is float32[4,7], the model has float32[4,5]" in str(
        error.value
    )
    assert "params 'dense_1/kernel' is float32[7,3], the model has float32[5,3]" in str(
        error.value
    )
    short, _ = dense(5).init(key(), X)
    with pytest.raises(ValueError, match="there is no 'bias': params has no keys") as error:
        TAKE_PARAMS[way](short)
    assert "params 'dense_1/kernel' is missing, the model has float32[5,3]" in notes(error)


def test_parameters_of_another_width_are_named_by_load(tmp_path):
    wide, _ = dense(7, 3).init(key(), X)
    own, _ = MODEL.init(key(), X)
    checkpoint.save(tmp_path / "w.safetensors", wide)
    message = (
        r"'dense_0/kernel' is float32\[4,7\] in the file, but float32\[4,5\] in the temp"
    )
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "w.safetensors", own)
    for call in (checkpoint.load, checkpoint.save):
        with pytest.raises(TypeError, match=r"must be the path of a file, got \{dense_0"):
            call(own, tmp_path / "w.safetensors")


def test_a_part_of_a_model_runs_on_the_parameters_of_the_whole():
    params, _ = MODEL.init(key(), X)
    part = fnn.Sequential(*MODEL.layers[:-1])
    assert fnn.predict(part, params, {}, DATA[0]).shape == (6, 5)


def test_a_layer_of_ones_own_may_take_parameters_of_other_lengths():
    class Positions(fnn.Layer):
        def init(self, key, x):
            return {"table": jnp.ones(x.shape)}, {}

        def forward(self, params, x):
            return x + params["table"][: len(x)]

    model = fnn.Sequential(Positions(), jnp.sum)
    params, _ = model.init(key(), np.ones(8, "float32"))
    np.testing.assert_array_equal(fnn.predict(model, params, {}, DATA[0]), np.full(6, 8))


def test_state_that_is_missing_is_named():
    model = fnn.Sequential(fnn.BatchNorm(), fnn.Dense(3))
    params, _ = model.init(key(), X)
    with pytest.raises(ValueError, match=r"there is no 'mean'.*state has no keys") as error:
        fnn.predict(model, params, {}, DATA[0])
    assert "state 'batch_norm_0/mean' is missing, the model has float32[4]" in notes(error)


FLOATS = {
    "Dense": fnn.Dense(2),
    "Conv": fnn.Conv(2, (3, 3)),
    "ConvTranspose": fnn.ConvTranspose(2, (3, 3)),
    "DepthwiseConv": fnn.DepthwiseConv((3, 3)),
    "Maxout": fnn.Maxout(2, 2),
    "MaxPool": fnn.MaxPool((2, 2)),
    "AvgPool": fnn.AvgPool((2, 2)),
    "GlobalPool": fnn.GlobalPool("mean"),
    "BatchNorm": fnn.BatchNorm(),
    "LayerNorm": fnn.LayerNorm(),
    "RMSNorm": fnn.RMSNorm(),
    "GroupNorm": fnn.GroupNorm(1),
    "InstanceNorm": fnn.InstanceNorm(),
    "PReLU": fnn.PReLU(),
    "Dropout": fnn.Dropout(0.5),
    "DropConnect": fnn.DropConnect(2, 0.5),
    "GaussianNoise": fnn.GaussianNoise(0.1),
}


@pytest.mark.parametrize("name", FLOATS)
def test_integer_images_are_refused_with_the_cast_to_write(name):
    model = fnn.Sequential(FLOATS[name])
    pixels = jax.ShapeDtypeStruct((8, 8, 1), "uint8")
    message = rf"{name} takes floating-point numbers, got uint8.*images.astype\('float32'\)"
    with pytest.raises(TypeError, match=message) as error:
        model.init(key(), pixels)
    assert "in layer '" in notes(error)
    floats = jax.ShapeDtypeStruct((8, 8, 1), "float32")
    variables = jax.eval_shape(model.init, key(), floats)
    with pytest.raises(TypeError, match=message):
        jax.eval_shape(model.apply, *variables, pixels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: dict(t.nn.Linear(3, 2).named_parameters()), r"'weight'.*its detach\(\)"),
        (lambda t: t.nn.Linear(3, 2).bfloat16().state_dict(), r"'weight'.*its float\(\)"),
        (lambda t: t.nn.Linear(3, 2, device="meta").state_dict(), r"'weight'.*its cpu\(\)"),
        (lambda t: t.nn.Linear(3, 2), "must be a mapping.*got Linear"),
        (lambda t: "w.pt", "must be a mapping.*got str 'w.pt'"),
    ],
)
def test_tensors_of_a_state_dict_say_how_numpy_can_read_them(make, message):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=f"^state_dict {message}"):
        pytorch.from_state_dict(make(torch), fnn.Dense(2), jnp.ones(3))


def test_tensors_are_not_saved_and_say_what_to_give(tmp_path):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"'w' must be an array.*give its detach\(\)"):
        checkpoint.save(tmp_path / "w", {"w": torch.zeros(2, requires_grad=True)})
    with pytest.raises(TypeError, match="'w' must be a JAX or NumPy array"):
        checkpoint.save(tmp_path / "w", {"w": torch.zeros(2)})
