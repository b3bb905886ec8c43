"""Bad input gets an error that says what, where, and what to do, before work is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import notes

import fnn
from fnn import losses, metrics, optimizers
from fnn.training.placing import finite_examples

MLP = fnn.Sequential(fnn.Flatten(), fnn.Dense(16), jax.nn.relu, fnn.Dense(10))


def images(n=20, dtype="float32"):
    return np.zeros((n, 28, 28), dtype)


def labels(n=20):
    return np.arange(n, dtype=np.int32) % 10


def fit(model=MLP, loss=losses.softmax_cross_entropy, **changes):
    arguments = {
        "optimizer": optimizers.SGD(0.1),
        "data": (images(), labels()),
        "key": jax.random.key(0),
        "epochs": 1,
        "batch_size": 10,
        "progress": False,
    }
    return fnn.fit(model, loss, **(arguments | changes))


def test_image_given_to_a_dense_layer_of_784():
    model = fnn.Sequential(fnn.Dense(16))
    params, _ = model.init(jax.random.key(0), jnp.zeros(784))
    with pytest.raises(
        ValueError, match=r"\(\.\.\., 784\).*float32\[28,28\].*Flatten"
    ) as e:
        model(params, jnp.zeros((28, 28)))
    assert "in layer 'dense_0', fnn.Dense(16), given x: float32[28,28]" in notes(e)


def test_batch_given_to_a_model_of_one_image():
    params, _ = MLP.init(jax.random.key(0), jnp.zeros((28, 28)))
    with pytest.raises(ValueError, match=r"batch of 32 examples, use fnn.batched") as e:
        MLP(params, jnp.zeros((32, 28, 28)))
    assert "in layer 'dense_0'" in notes(e)
    assert fnn.batched(MLP)(params, jnp.zeros((32, 28, 28))).shape == (32, 10)


def test_error_names_the_whole_path_once():
    inner = fnn.Sequential(fnn.Dense(4), fnn.Dense(4))
    model = fnn.Sequential(stem=fnn.Dense(4), block=fnn.Residual(inner))
    params, _ = model.init(jax.random.key(0), jnp.zeros(4))
    params["block"]["branch"]["dense_1"]["kernel"] = jnp.zeros((5, 4))
    with pytest.raises(ValueError, match="initialized for x") as e:
        jax.jit(model)(params, jnp.zeros(4))
    assert notes(e).count("in layer") == 1
    assert "in layer 'block/branch/dense_1', fnn.Dense(4)" in notes(e)


@pytest.mark.parametrize("label", [10, -1])
def test_labels_out_of_range(label):
    wrong = labels()
    wrong[7] = label
    with pytest.raises(ValueError, match=f"must be from 0 to 9, got {label}") as e:
        fit(data=(images(), wrong))
    assert "the target of example 7 of data" in notes(e)
    with pytest.raises(ValueError, match="must be from 0 to 9") as e:
        fit(validation=(images(), wrong))
    assert "of validation" in notes(e)
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        losses.binary_cross_entropy(jnp.zeros(1), 2)


def test_label_out_of_range_inside_jit_gives_nan():
    loss = jax.jit(losses.softmax_cross_entropy)
    assert np.isnan(loss(jnp.zeros(3), 3))
    assert np.isnan(loss(jnp.zeros(3), -1))


def test_integer_images():
    with pytest.raises(TypeError, match=r"floating-point.*uint8.*astype\('float32'\)") as e:
        fit(data=(images(dtype="uint8"), labels()))
    assert "in layer 'dense_0'" in notes(e)


def test_empty_data_set():
    with pytest.raises(ValueError, match=r"data is empty: x float32\[0,28,28\]"):
        fit(data=(images(0), labels(0)))


def test_lengths_that_differ():
    with pytest.raises(ValueError, match=r"data.*x: float32\[20,28,28\], y: int32\[19\]"):
        fit(data=(images(), labels(19)))


def test_missing_key_for_dropout():
    model = fnn.Sequential(fnn.Dropout(0.5))
    with pytest.raises(
        ValueError, match=r"Dropout in training needs a key: pass key="
    ) as e:
        model.apply({}, {}, jnp.zeros(3), train=True)
    assert "in layer 'dropout_0', fnn.Dropout(0.5)" in notes(e)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_the_data(value):
    x = images()
    x[3, 5, 5] = value
    with pytest.raises(
        ValueError, match=r"data x holds NaN or infinity in 1 of 20.*number 3"
    ):
        fit(data=(x, labels()))
    with pytest.raises(ValueError, match="validation x holds NaN"):
        fit(validation=(x, labels()))
    y = np.full(20, value, np.float32)
    with pytest.raises(ValueError, match="data y holds NaN"):
        fit(loss=losses.squared_error, data=(images(), y))


@pytest.mark.parametrize("shape", [(3,), (3, 2, 4), (3, 0)])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 3e38 + 3e38j])
def test_finite_examples_are_those_of_numpy(shape, value):
    x = np.full(shape, 1e38, np.complex64 if isinstance(value, complex) else np.float32)
    x[1:2] = value
    expected = np.isfinite(x).reshape(3, -1).all(1)
    np.testing.assert_array_equal(finite_examples(jnp.asarray(x)), expected)


def test_to_look_for_nan_in_the_data_takes_no_memory_for_each_number():
    x = jax.ShapeDtypeStruct((1000, 784), np.float32)
    used = finite_examples.lower(x).compile().memory_analysis()
    assert used.temp_size_in_bytes < 1000 * 784 / 8


def test_raw_keys():
    with pytest.raises(TypeError, match=r"jax.random.key\(seed\); got uint32\[2\]"):
        fit(key=jax.random.PRNGKey(0))
    with pytest.raises(TypeError, match="got int 0"):
        MLP.init(0, jnp.zeros((28, 28)))
    with pytest.raises(ValueError, match=r"one key, got keys of shape \(2,\)"):
        MLP.init(jax.random.split(jax.random.key(0)), jnp.zeros((28, 28)))


def test_init_from_a_shape_that_is_none():
    with pytest.raises(TypeError, match="must be an array or a jax"):
        MLP.init(jax.random.key(0), (28, 28))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
        ({"batch_size": 2.5}, ValueError, "batch_size must be a positive integer"),
        ({"batch_size": 21}, ValueError, "at most the number of examples, 20, got 21"),
        ({"optimizer": optimizers.SGD}, TypeError, "needs an optimizer.*got .*SGD"),
        ({"optimizer": 0.1}, TypeError, r"needs an optimizer with init\(params\)"),
        ({"model": fnn.batched(MLP)}, TypeError, "training takes the model of one example"),
        ({"model": fnn.Dense}, TypeError, "model must be an instance of fnn.Dense"),
        ({"model": jax.nn.relu}, TypeError, "model must be a layer, jax.nn.relu"),
        ({"data": images()}, TypeError, r"data must be a pair \(x, y\)"),
        ({"metrics": {"loss": metrics.accuracy}}, ValueError, "can't be named"),
        (
            {"metrics": [metrics.accuracy]},
            TypeError,
            "metrics must be a mapping from names",
        ),
        (
            {"metrics": "accuracy"},
            TypeError,
            "metrics must be a mapping.*got str 'accuracy'",
        ),
        ({"metrics": metrics.accuracy}, TypeError, "metrics must be a mapping.*accuracy"),
        ({"metrics": {"a": "b"}}, TypeError, r"metrics\['a'\] must be a function.*str 'b'"),
        ({"metrics": {1: metrics.accuracy}}, TypeError, "strings as names, got 1"),
        ({"augment": [fnn.data.RandomFlip()]}, TypeError, r"one function.*Augmentations\("),
        ({"augment": "flip"}, TypeError, r"augment must be a function of \(key, x\)"),
        ({"augment": fnn.data.RandomFlip}, TypeError, "augment is the class fnn.data.Rand"),
        ({"regularizer": 0.1}, TypeError, "regularizer must be a function of the param"),
        ({"regularizer": fnn.regularizers.L2}, TypeError, "regularizer is the class"),
        ({"loss": "mse"}, TypeError, r"loss must be a function of \(output, target\)"),
        ({"loss": None}, TypeError, "loss must be a function.*got NoneType None"),
        ({"loss": lambda y, t: None}, ValueError, "loss must give one number.*NoneType"),
        ({"loss": lambda y, t: jnp.int32(0)}, ValueError, r"floating-point.*int32\[\]"),
        ({"loss": lambda y, t: (y[0], 0)}, ValueError, r"gives \(float32\[\], int32\[\]\)"),
        ({"optimizer": "adam"}, TypeError, "needs an optimizer with init.*got 'adam'"),
        ({"epochs": "3"}, ValueError, "epochs must be a positive integer, got '3'"),
        ({"batch_size": None}, ValueError, "batch_size must be a positive integer"),
        ({"key": np.random.default_rng(0)}, TypeError, "typed key.*got Generator"),
        ({"early_stopping": 3}, TypeError, r"fnn.EarlyStopping\(patience=5\); got 3"),
        ({"early_stopping": fnn.EarlyStopping}, TypeError, "got fnn.EarlyStopping"),
        ({"callbacks": print}, TypeError, "callbacks must be a list of functions"),
        ({"callbacks": ["x"]}, TypeError, r"callbacks\[0\] must be a function"),
        ({"checkpoint": True}, TypeError, "checkpoint must be a folder.*got bool True"),
        ({"state": {"a": np.zeros(3)}}, ValueError, "state goes together with params"),
        ({"params": [1, 2]}, TypeError, r"dict with an entry per layer, got \[int 1"),
        ({"loss": lambda y, t: y}, ValueError, "must give one number"),
        ({"loss": losses.squared_error}, ValueError, "of one shape"),
    ],
)
def test_arguments_of_fit(change, error, message):
    with pytest.raises(error, match=message):
        fit(**change)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fnn.Dense(0), ValueError, "features must be a positive integer, got 0"),
        (lambda: fnn.Dense("8"), ValueError, "features must be a positive integer"),
        (lambda: fnn.Dense(True), ValueError, "features must be a positive integer"),
        (
            lambda: fnn.Dense(8, 16),
            TypeError,
            "bias of Dense must be True or False, got 16",
        ),
        (lambda: fnn.Maxout(8, 2, bias="no"), TypeError, "bias of Maxout must be True or"),
        (lambda: fnn.Conv(8, (3,), bias=16), ValueError, "bias must be one of"),
        (
            lambda: fnn.Dense(8, kernel_init="he_normal"),
            TypeError,
            r"kernel_init of Dense must be a function \(key, shape, dtype\).*'he_normal'",
        ),
        (
            lambda: fnn.Conv(8, (3,), kernel_init=fnn.initializers.VarianceScaling),
            TypeError,
            "kernel_init of Conv must be a function.*got type VarianceScaling",
        ),
        (lambda: fnn.Embedding(3, 2, 0.1), TypeError, "table_init of Embedding must be"),
        (lambda: fnn.Dropout(1.5), ValueError, r"rate must be in \[0, 1\], got 1.5"),
        (lambda: fnn.Dropout("a"), ValueError, r"rate must be in \[0, 1\]"),
        (lambda: fnn.Sequential(fnn.Dense), TypeError, "is the class fnn.Dense; give an"),
        (lambda: fnn.Sequential([fnn.Dense(1)]), TypeError, "give the layers one by one"),
        (lambda: fnn.Sequential(3), TypeError, "layer 0 of Sequential must be a layer"),
        (lambda: fnn.Sequential(fnn.Dense(1), a=fnn.Dense(1)), TypeError, "not both"),
        (lambda: fnn.Residual(3), TypeError, "branch of Residual must be a layer"),
        (lambda: fnn.Parallel(None), TypeError, "layer 0 of Parallel must be a layer"),
        (lambda: fnn.batched(2), TypeError, "layer of Batched must be a layer"),
        (lambda: optimizers.SGD(-0.1), ValueError, "learning_rate must not be negative"),
        (lambda: optimizers.SGD("fast"), ValueError, "must be one number or a schedule"),
        (lambda: optimizers.Adam(0.1, b1=2), ValueError, r"b1 must be in \[0, 1\]"),
        (lambda: optimizers.Momentum(0.1, form="x"), ValueError, "form must be one of"),
        (lambda: optimizers.Chain(0.1), TypeError, "Chain needs an optimizer"),
        (lambda: optimizers.ClipByGlobalNorm(-1), ValueError, "max_norm must be in"),
        (
            lambda: fnn.initializers.VarianceScaling(1.0, "both", "normal"),
            ValueError,
            "fan must be one of",
        ),
        (
            lambda: fnn.initializers.he_normal(jax.random.key(0), (3,), "float32"),
            ValueError,
            r"needs a shape \(\.\.\., in, out\), got \(3,\)",
        ),
    ],
)
def test_arguments_of_values(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_residual_of_another_shape():
    model = fnn.Sequential(fnn.Residual(fnn.Dense(3)))
    with pytest.raises(ValueError, match=r"float32\[3\], to float32\[4\].*shortcut") as e:
        model.init(jax.random.key(0), jnp.zeros(4))
    assert "in layer 'residual_0'" in notes(e)


def test_batched_without_a_batch_axis():
    with pytest.raises(ValueError, match="needs a leading axis"):
        fnn.batched(jnp.sin)({}, jnp.zeros(()))
    with pytest.raises(ValueError, match="as many examples in all leaves"):
        fnn.batched(lambda x: x["a"])({}, {"a": jnp.zeros(3), "b": jnp.zeros(2)})


class Counting(fnn.Layer):
    """Counts its calls."""

    def init(self, key, x):
        return {}, {"count": jnp.zeros((), jnp.int32)}

    def apply(self, params, state, x, *, key=None, train=False):
        return x, {"count": state["count"] + 1}


def test_short_form_of_a_model_with_state():
    for model in (Counting(), fnn.Sequential(Counting()), fnn.batched(Counting())):
        with pytest.raises(TypeError, match=r"this model holds state.*model.apply"):
            model({}, jnp.zeros((2, 3)))


def test_state_that_differs_between_examples():
    class Remember(Counting):
        def apply(self, params, state, x, *, key=None, train=False):
            return x, {"count": x}

    with pytest.raises(ValueError, match="out_axes") as e:
        fnn.batched(Remember()).apply({}, {"count": jnp.zeros(3)}, jnp.zeros((2, 3)))
    assert "jax.lax.pmean(..., 'batch')" in notes(e)


def test_params_and_state_mixed_up():
    variables = MLP.init(jax.random.key(0), jnp.zeros((28, 28)))
    x, score = images(), {"a": metrics.accuracy}
    for call in (
        lambda: MLP(variables, x[0]),
        lambda: fnn.predict(MLP, variables, {}, x),
        lambda: fnn.evaluate(MLP, variables, {}, (x, labels()), score),
        lambda: fnn.export(MLP, variables, {}, x[0]),
        lambda: fit(params=variables),
    ):
        with pytest.raises(TypeError, match=r"per layer, got .*params, state = model.init"):
            call()
    with pytest.raises(TypeError, match=r"^params must be a dict.*got NoneType None"):
        fnn.predict(MLP, None, {}, x)
    with pytest.raises(TypeError, match=r"^state must be a dict.*got NoneType None"):
        MLP.apply(variables[0], None, x[0])
    with pytest.raises(TypeError, match=r"^params must be.*per layer, got float32"):
        MLP(x[0], variables[0])


def test_a_model_without_state_takes_none_in_its_place():
    model, x = fnn.Sequential(fnn.Dense(2)), np.ones((3, 4), "float32")
    params, state = model.init(jax.random.key(0), x[0])
    y = np.ones((3, 2), "float32")
    scores = {"loss": losses.squared_error}
    found, expected = (
        (
            fnn.predict(model, params, none, x),
            fnn.evaluate(model, params, none, (x, y), scores)["loss"],
            fnn.export(model, params, none, x[0]).call(x),
        )
        for none in (None, state)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layer_without_a_body():
    class Nothing(fnn.Layer):
        pass

    with pytest.raises(TypeError, match="Nothing defines neither forward nor apply"):
        Nothing()({}, jnp.zeros(3))


def test_shapes_of_losses_and_metrics():
    with pytest.raises(ValueError, match=r"one shape; got float32\[3\] and float32\[3,1\]"):
        losses.squared_error(jnp.zeros(3), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        losses.softmax_cross_entropy(jnp.zeros((5, 3)), jnp.zeros(5, jnp.int32))
    with pytest.raises(TypeError, match="integer class or a distribution"):
        losses.softmax_cross_entropy(jnp.zeros(3), jnp.zeros(()))
    with pytest.raises(ValueError, match="logits of one example"):
        metrics.accuracy(jnp.zeros((5, 3)), jnp.zeros(5, jnp.int32))
    with pytest.raises(ValueError, match="one label for each logit"):
        metrics.binary_accuracy(jnp.zeros(3), jnp.zeros(2))


def test_plots_say_what_is_missing():
    with pytest.raises(ValueError, match="name must be one of"):
        fnn.plots.learning_curve({"loss": [1.0]}, "accuracy")
    with pytest.raises(ValueError, match="as many examples"):
        fnn.plots.misclassified(np.zeros((3, 8, 8)), np.zeros(3), np.zeros(2))


STEP = fnn.make_step(fnn.supervised(MLP, losses.softmax_cross_entropy), optimizers.SGD(0.1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda state: STEP(state, images()), r"a batch must be \(x, y\) or .*float32"),
        (lambda state: STEP(state, {"x": images(), "y": 0}), "a batch must be"),
        (lambda state: STEP(state, (0, 0, 0, 0)), "a batch must be"),
        (lambda state: STEP(state.params, (images(), labels())), "TrainState.create makes"),
        (
            lambda state: fnn.make_step(MLP, optimizers.SGD(0.1)),
            "make_step needs an object",
        ),
        (lambda state: fnn.make_step("mse", optimizers.SGD(0.1)), "make_step needs an obj"),
        (
            lambda state: fnn.TrainState.create({}, {}, "adam", key=jax.random.key(0)),
            "TrainState.create needs an optimizer.*got 'adam'",
        ),
        (
            lambda state: fnn.evaluate(
                MLP, {}, {}, (images(), labels()), [metrics.accuracy]
            ),
            "metrics must be a mapping",
        ),
        (
            lambda state: fnn.supervised(MLP, losses.nll, metrics=[metrics.accuracy]),
            "metrics must be a mapping",
        ),
    ],
)
def test_arguments_of_a_loop_of_ones_own(call, message):
    params, _ = MLP.init(jax.random.key(0), images()[0])
    state = fnn.TrainState.create(params, {}, optimizers.SGD(0.1), key=jax.random.key(1))
    with pytest.raises(TypeError, match=message):
        call(state)
