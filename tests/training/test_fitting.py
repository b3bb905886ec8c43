"""`fit`, its parts, and what they promise."""

import functools
import io
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import losses, metrics, optimizers
from fnn.training import progress
from fnn.training.running import runner, sources

MODEL = fnn.Sequential(fnn.Dense(8), jax.nn.relu, fnn.Dropout(0.2), fnn.Dense(3))


def data(n=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype("float32")
    return x, (x[:, 0] + x[:, 1] > 0).astype("int32")


def fit(model=MODEL, loss=losses.softmax_cross_entropy, **changes):
    arguments = {
        "optimizer": optimizers.Adam(0.01),
        "data": data(),
        "key": jax.random.key(0),
        "epochs": 3,
        "batch_size": 16,
        "progress": False,
    }
    return fnn.fit(model, loss, **(arguments | changes))


def test_same_seed_gives_the_same_bits_and_another_does_not():
    one, same, other = fit(), fit(), fit(key=jax.random.key(1))
    chex.assert_trees_all_equal(one.params, same.params)
    np.testing.assert_array_equal(one.history["loss"], same.history["loss"])
    assert not np.array_equal(one.history["loss"], other.history["loss"])


@pytest.mark.parametrize("batch_size", [1, 7, 16, 25, 50])
def test_every_example_counts_once_and_equally(batch_size):
    """At rate 0 the epoch's averages are the plain means over the whole set."""
    model = fnn.Sequential(fnn.Dense(3))
    result = fit(
        model,
        optimizer=optimizers.SGD(0.0),
        batch_size=batch_size,
        epochs=1,
        metrics={"accuracy": metrics.accuracy},
        validation=data(33, seed=1),
    )
    for part, prefix in ((data(), ""), (data(33, seed=1), "val_")):
        x, y = part
        logits = np.asarray(x @ result.params["dense_0"]["kernel"], np.float64)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        loss, accuracy = -log_p[np.arange(len(y)), y].mean(), (logits.argmax(1) == y).mean()
        np.testing.assert_allclose(result.history[f"{prefix}loss"], [loss], rtol=1e-5)
        np.testing.assert_allclose(
            result.history[f"{prefix}accuracy"], [accuracy], rtol=1e-5
        )


def test_one_epoch_is_the_loop_by_hand_in_float64(x64):
    """Linear regression by mini-batches, the partial batch included."""
    x, y = data(10)
    x, y = x.astype("float64"), x[:, :1].astype("float64")
    result = fit(
        fnn.Dense(1, bias=False),
        losses.squared_error,
        optimizer=optimizers.SGD(0.05),
        data=(x, y),
        batch_size=4,
        epochs=2,
    )
    init_key, order_key, _ = jax.random.split(jax.random.key(0), 3)
    params, _ = jax.jit(fnn.Dense(1, bias=False).init)(init_key, x[0])
    w = np.asarray(params["kernel"])
    for epoch in range(2):
        key = jax.random.fold_in(order_key, epoch)
        order = np.asarray(fnn.data.permutation(key, 10))
        for first in range(0, 10, 4):
            rows = order[first : first + 4]
            gradient = 2 * x[rows].T @ (x[rows] @ w - y[rows]) / len(rows)
            w = w - 0.05 * gradient
    np.testing.assert_allclose(result.params["kernel"], w, rtol=1e-12)


def test_loops_agree():
    """Compiled with bounds as arguments, compiled whole, and called from the host."""
    step = fnn.make_step(
        fnn.supervised(MODEL, losses.softmax_cross_entropy), optimizers.Adam(0.01)
    )
    order = sources.shuffled_order(jax.random.key(1), 0, 50, 16)
    arrays = jax.tree.map(jnp.asarray, data())
    dataset = sources.Dataset(arrays, order, 0, 50, 16, True)
    params, state = MODEL.init(jax.random.key(2), dataset.arrays[0][0])
    train_state = fnn.TrainState.create(
        params, state, step.optimizer, key=jax.random.key(3)
    )
    carry = runner.start(train_state, {"loss": jnp.zeros(())})
    ends = [
        loop(step, carry, dataset, 0, 4)
        for loop in (runner.any_count_loop, runner.fixed_count_loop, runner.host_loop)
    ]
    half = runner.any_count_loop(step, carry, dataset, 0, 2)
    ends.append(runner.any_count_loop(step, half, dataset, 2, 2))
    for end in ends[1:]:
        chex.assert_trees_all_close(
            end.train_state.params, ends[0].train_state.params, rtol=1e-5, atol=1e-7
        )
        chex.assert_trees_all_close(end.totals, ends[0].totals, rtol=1e-5)
    chex.assert_trees_all_equal(ends[3], ends[0])


class Conv1(fnn.Layer):
    """A convolution, to see how the loop is chosen."""

    def init(self, key, x):
        return {"kernel": jnp.full((3, 1, 2), 0.1)}, {}

    def forward(self, params, x):
        y = jax.lax.conv_general_dilated(
            x[None], params["kernel"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return y[0]


def test_a_convolution_is_called_from_the_host_on_the_cpu():
    def chosen(model, x):
        params, state = model.init(jax.random.key(0), x)
        return runner.choose_loop(
            jax.make_jaxpr(jax.jit(model.apply))(params, state, x).jaxpr
        )

    expected = (
        runner.host_loop if jax.default_backend() == "cpu" else runner.fixed_count_loop
    )
    assert chosen(Conv1(), jnp.ones((4, 1))) is expected
    scanned = fnn.Sequential(Conv1(), functools.partial(jnp.sum, axis=0))
    assert chosen(scanned, jnp.ones((4, 1))) is expected
    assert chosen(fnn.Dense(2), jnp.ones(4)) is not runner.host_loop
    x, y = data()
    result = fit(
        fnn.Sequential(Conv1(), fnn.Flatten(), fnn.Dense(3)), data=(x[..., None], y)
    )
    assert result.history["loss"][-1] < result.history["loss"][0]


def test_model_fits_and_can_be_trained_on():
    result = fit(epochs=40)
    assert result.history["loss"].shape == (40,)
    assert result.history["loss"][-1] < 0.5 * result.history["loss"][0]
    more = fit(params=result.params, state=result.state, epochs=1)
    assert more.history["loss"][0] < 1.5 * result.history["loss"][-1]
    chex.assert_trees_all_equal_shapes_and_dtypes(more.params, result.params)


def test_history_has_what_is_promised():
    result = fit(
        validation=data(9, 1),
        metrics={"accuracy": metrics.accuracy},
        regularizer=lambda params: 0.1 * fnn.tree.norm(params),
        optimizer=optimizers.Adam(fnn.schedules.InverseTimeDecay(0.01, 1.0, period=4)),
    )
    assert list(result.history) == [
        "loss",
        "accuracy",
        "penalty",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
    ]
    assert all(column.shape == (3,) for column in result.history.values())
    # The last update of epoch e is number 4 e + 3, as 50 examples make 4 batches of 16.
    expected = [0.01 / (1 + t / 4) for t in (3, 7, 11)]
    np.testing.assert_allclose(result.history["learning_rate"], expected, rtol=1e-6)


def test_regularizer_shrinks_the_weights():
    plain = fit(epochs=20)
    penalized = fit(epochs=20, regularizer=lambda p: 0.1 * fnn.tree.dot(p, p))
    assert fnn.tree.norm(penalized.params) < fnn.tree.norm(plain.params)


def test_augment_sees_every_example_with_a_key_of_its_own():
    def noisy(key, x):
        return x + jax.random.normal(key, x.shape)

    result = fit(augment=noisy)
    assert not np.array_equal(result.history["loss"], fit().history["loss"])


def test_pytrees_of_inputs_and_outputs():
    class Sum(fnn.Layer):
        def forward(self, params, x):
            return {"total": x["a"] + x["b"]}

    def loss(output, target):
        return losses.squared_error(output["total"], target["t"])

    model = fnn.Sequential(Sum(), fnn.layers.Function(lambda y: y))
    x, _ = data()
    result = fit(model, loss, data=({"a": x, "b": -x}, {"t": np.zeros_like(x)}))
    np.testing.assert_array_equal(result.history["loss"], 0)


def test_interrupt_returns_what_was_trained(capsys, monkeypatch):
    original = progress._Lines.epoch

    def interrupt(self, epoch, row, examples):
        original(self, epoch, row, examples)
        if epoch == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress._Lines, "epoch", interrupt)
    result = fit(epochs=1000, progress=True)
    assert result.history["loss"].shape == (5,)
    printed = capsys.readouterr().out
    assert "interrupted: returning what was trained in 20 steps" in printed
    chex.assert_trees_all_equal(result.params, fit(epochs=5).params)


class Counter(fnn.Layer):
    """A parameter that counts the updates."""

    def init(self, key, x):
        return {"count": jnp.zeros(())}, {}

    def forward(self, params, x):
        return params["count"]


def nan_from(count, bad_step):
    return jnp.where(count > bad_step - 0.5, jnp.nan, -count)


@pytest.mark.parametrize("bad_step", [0, 1, 3, 4, 6])
def test_non_finite_loss_stops_and_keeps_the_last_good_parameters(bad_step, monkeypatch):
    """The loss is NaN once the parameter has been changed so often; 4 steps an epoch."""
    monkeypatch.setattr(runner, "FIRST_PIECE", 3)
    arguments = {"optimizer": optimizers.SGD(1.0), "epochs": 5}
    arguments["data"] = data()[0], np.full(50, bad_step, "float32")
    with pytest.warns(
        RuntimeWarning, match=f"step {bad_step % 4} of epoch {bad_step // 4}"
    ):
        result = fit(Counter(), nan_from, **arguments)
    assert result.params["count"] == max(bad_step - 1, 0)
    assert len(result.history.get("loss", [])) == bad_step // 4


def test_divergence_keeps_finite_parameters():
    with pytest.warns(RuntimeWarning, match="try a lower learning rate"):
        result = fit(
            fnn.Dense(1, bias=False),
            losses.squared_error,
            data=(data()[0], data()[0][:, :1]),
            optimizer=optimizers.SGD(1e18),
            epochs=9,
        )
    assert fnn.tree.all_finite(result.params)


def test_step_counts_and_leaves_its_argument_alone():
    step = fnn.make_step(
        fnn.supervised(MODEL, losses.softmax_cross_entropy), optimizers.SGD(0.1)
    )
    x, y = map(jnp.asarray, data())
    params, state = MODEL.init(jax.random.key(0), x[0])
    train_state = fnn.TrainState.create(
        params, state, step.optimizer, key=jax.random.key(1)
    )
    new, reported = jax.jit(step)(train_state, (x, y))
    assert (train_state.step, new.step) == (0, 1)
    assert set(reported) == {"loss"}
    weighted, _ = jax.jit(step)(train_state, (x, y, jnp.ones(50)))
    chex.assert_trees_all_close(weighted.params, new.params, rtol=1e-5, atol=1e-7)


def test_weights_leave_examples_out():
    objective = fnn.supervised(fnn.Dense(3), losses.softmax_cross_entropy)
    x, y = data()
    params, _ = fnn.Dense(3).init(jax.random.key(0), x[0])
    mask, compiled = np.arange(50) < 20, jax.jit(objective)
    some, _ = compiled(params, {}, (x, y, mask), jax.random.key(1))
    alone, _ = compiled(params, {}, (x[:20], y[:20]), jax.random.key(1))
    np.testing.assert_allclose(some, alone, rtol=1e-6)


@given(n=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 5))
def test_evaluate_is_exact_for_any_batch_size(n, batch_size, seed):
    x, y = data(n, seed)
    params = {"kernel": jnp.eye(4)[:, :3]}
    model = fnn.Dense(3, bias=False)
    found = fnn.evaluate(
        model, params, {}, (x, y), {"accuracy": metrics.accuracy}, batch_size=batch_size
    )
    expected = (x[:, :3].argmax(1) == y).mean()
    np.testing.assert_allclose(found["accuracy"], expected, rtol=1e-6)


def test_fitting_again_compiles_nothing(monkeypatch):
    fit(epochs=1)
    traced = []
    original = fnn.training.Step.__call__
    monkeypatch.setattr(
        fnn.training.Step, "__call__", lambda *a: traced.append(a) or original(*a)
    )
    fit(epochs=1)
    assert len(traced) <= 1  # the trace that looks for convolutions


def test_progress_prints_a_line_an_epoch(capsys):
    fit(progress=True, validation=data(5, 1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  loss ")
    assert "val_loss" in lines[0]


def test_progress_without_rich(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    fit(progress=True)
    assert capsys.readouterr().out.startswith("epoch 1/3  loss ")


def test_bar_shows_the_figures(monkeypatch):
    from rich.console import Console

    console = Console(record=True, force_terminal=True, width=120, file=io.StringIO())
    with progress._Bar(console, 2, 4) as bar:
        bar.advance(0, 2, {"loss": 0.75})
        live = bar.live.get_renderable().renderables[-1]
        bar.epoch(0, {"loss": 0.5, "seconds": 1.0}, 100.0)
        bar.say("hello")
    text = console.export_text()
    assert live == "step 2/4  loss 0.7500"
    assert "hello" in text
    assert "loss 0.5000  1.00 s  100 examples/s" in text
