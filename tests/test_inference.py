"""Prediction over many inputs, and programs that run without fnn."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

X = np.random.default_rng(0).normal(size=(23, 4)).astype("float32")
MODEL = fnn.Sequential(fnn.Dense(8), jax.nn.tanh, fnn.Dropout(0.5), fnn.Dense(3))


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(0), X[0])[0]


def by_hand(params, x):
    params = jax.tree.map(np.asarray, params)
    hidden = np.tanh(x @ params["dense_0"]["kernel"] + params["dense_0"]["bias"])
    return hidden @ params["dense_1"]["kernel"] + params["dense_1"]["bias"]


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_outputs_are_those_of_all_inputs_in_order(params, batch_size):
    outputs = fnn.predict(MODEL, params, {}, X, batch_size=batch_size)
    assert type(outputs) is np.ndarray
    np.testing.assert_allclose(outputs, by_hand(params, X), rtol=1e-5, atol=1e-6)


def test_inputs_may_be_a_file_and_a_tree(params, tmp_path):
    np.save(tmp_path / "x.npy", X)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    outputs = fnn.predict(MODEL, params, {}, stored, batch_size=5)
    np.testing.assert_allclose(outputs, by_hand(params, X), rtol=1e-5, atol=1e-6)

    class Both(fnn.Layer):
        def forward(self, params, x):
            return {"sum": x["a"] + x["b"], "a": x["a"]}

    both = fnn.predict(Both(), {}, {}, {"a": X, "b": 2 * X}, batch_size=10)
    np.testing.assert_array_equal(both["a"], X)
    np.testing.assert_allclose(both["sum"], 3 * X, rtol=1e-6)


def test_bad_inputs_of_prediction(params):
    with pytest.raises(ValueError, match="x is empty"):
        fnn.predict(MODEL, params, {}, X[:0])
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        fnn.predict(MODEL, params, {}, X, batch_size=0)
    with pytest.raises(ValueError, match="dense_0") as error:
        fnn.predict(MODEL, params, {}, X[:, :3])
    assert "initialized" in str(error.value)


def test_an_exported_program_runs_without_fnn(params, tmp_path):
    """In a process that has no fnn, on batches of several sizes."""
    exported = fnn.export(MODEL, params, {}, jax.ShapeDtypeStruct((4,), "float32"))
    (tmp_path / "model.bin").write_bytes(exported.serialize())
    np.save(tmp_path / "x.npy", X)
    program = """
import sys
sys.modules["fnn"] = None  # importing it fails
import jax.export, numpy as np
x = np.load("x.npy")
model = jax.export.deserialize(bytearray(open("model.bin", "rb").read()))
np.save("y.npy", np.concatenate([model.call(x[:3]), model.call(x[3:])]))
"""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    outputs = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(outputs, by_hand(params, X), rtol=1e-5, atol=1e-6)


CONVOLUTIONAL = fnn.Sequential(
    fnn.Conv(4, (3, 3), padding="same"),
    fnn.BatchNorm(),
    jax.nn.relu,
    fnn.MaxPool((2, 2)),
    fnn.Conv(6, (1, 1)),
    fnn.GroupNorm(2),
    fnn.DepthwiseConv((3, 3)),
    fnn.ConvTranspose(2, (2, 2), stride=2),
    fnn.GlobalPool("mean"),
    fnn.Dense(3),
)


@pytest.fixture(scope="module")
def convolutional():
    return jax.jit(CONVOLUTIONAL.init)(jax.random.key(1), jnp.ones((8, 8, 3)))


def test_convolutions_are_exported_for_any_batch_and_platform(convolutional):
    params, state = convolutional
    x = jax.random.normal(jax.random.key(0), (5, 8, 8, 3))
    exported = fnn.export(
        CONVOLUTIONAL, params, state, x[0], platforms=("cpu", "cuda", "tpu")
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    expected = fnn.predict(CONVOLUTIONAL, params, state, x)
    for size in (1, 5):
        outputs = exported.call(x[:size])
        np.testing.assert_allclose(outputs, expected[:size], rtol=1e-4, atol=1e-5)


def test_export_names_the_layer_that_refuses(convolutional):
    params, state = convolutional
    with pytest.raises(ValueError, match="Conv") as error:
        fnn.export(CONVOLUTIONAL, params, state, jnp.ones((8, 8, 1)))
    assert "conv_0" in str(error.value.__notes__)
