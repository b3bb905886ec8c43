"""How arrays lie in PyTorch, by NumPy alone; `test_pytorch.py` has PyTorch itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import pytorch


def converted(model, shape, names=None):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    params, state = model.init(jax.random.key(0), x)
    state_dict = pytorch.to_state_dict(model, params, state, x, names=names)
    back = pytorch.from_state_dict(state_dict, model, x, names=names)
    jax.tree.map(np.testing.assert_array_equal, back, (params, state))
    return x, params, state, state_dict


def test_dense_after_flatten_reads_channels_first():
    model = fnn.Sequential(fnn.Flatten(), fnn.Dropout(0.1), fnn.LayerNorm(), fnn.Dense(5))
    x, params, _, state_dict = converted(model, (2, 3, 4))
    image = np.moveaxis(np.asarray(x), -1, 0).ravel()
    z = (image - image.mean()) / np.sqrt(image.var() + 1e-5)
    z = z * state_dict["2.weight"] + state_dict["2.bias"]
    y = state_dict["3.weight"] @ z + state_dict["3.bias"]
    np.testing.assert_allclose(y, model(params, x), rtol=1e-5, atol=1e-5)


def test_convolution_kernels_are_features_first():
    _, params, _, state_dict = converted(fnn.Conv(6, (3, 2), groups=2), (5, 5, 4))
    weight, kernel = state_dict["weight"], params["kernel"]
    assert weight.shape == (6, 2, 3, 2)
    for f, c, i, j in itertools.product(*map(range, weight.shape)):
        assert weight[f, c, i, j] == kernel[i, j, c, f]


def test_grouped_stamps_lie_along_the_channels():
    _, params, _, state_dict = converted(fnn.ConvTranspose(6, (3,), groups=2), (5, 4))
    weight, kernel = state_dict["weight"], params["kernel"]
    assert weight.shape == (4, 3, 3)  # in, features / groups, window
    for group, c, f, k in itertools.product(range(2), range(2), range(3), range(3)):
        assert weight[2 * group + c, f, k] == kernel[k, c, 3 * group + f]


def test_batch_statistics_have_their_names():
    model = fnn.Sequential(fnn.BatchNorm(), fnn.PReLU(per_feature=False))
    x, params, _, state_dict = converted(model, (2, 3))
    assert set(state_dict) == {
        *("0.weight", "0.bias", "0.running_mean", "0.running_var", "1.weight")
    }
    assert state_dict["1.weight"].shape == (1,)
    counted = state_dict | {"0.num_batches_tracked": np.int64(3)}
    given, _ = pytorch.from_state_dict(counted, model, x)
    jax.tree.map(np.testing.assert_array_equal, given, params)


def test_modules_are_named_by_position_by_name_or_by_the_table():
    block = fnn.Residual(fnn.Sequential(fnn.Dense(3), jax.nn.relu, fnn.Dense(3)))
    model = fnn.batched(fnn.Sequential(stem=fnn.Dense(3), body=fnn.Sequential(block)))
    names = {"body/residual_0": "layer1", "body/residual_0/branch/dense_1": "last"}
    x = jnp.ones((2, 3))
    params, state = model.init(jax.random.key(0), x)
    state_dict = pytorch.to_state_dict(model, params, state, x, names=names)
    layers = ("stem", "layer1.branch.0", "last")
    assert set(state_dict) == {f"{m}.{n}" for m in layers for n in ("weight", "bias")}
    plain = pytorch.to_state_dict(model, params, state, x)
    assert "body.0.branch.2.weight" in plain


def test_what_does_not_fit_is_listed():
    model, x = fnn.Dense(2), jnp.ones(3)
    state_dict = {"weight": np.ones((3, 2), np.float32), "gain": np.ones(1)}
    with pytest.raises(ValueError, match="does not fit the model") as caught:
        pytorch.from_state_dict(state_dict, model, x)
    assert str(caught.value).splitlines()[1:] == [
        "  'bias' is missing: float32[2], for 'params/bias'",
        "  'gain' is not in the model",
        "  'weight' is float32[3,2], but 'params/kernel' needs float32[2,3]",
    ]


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (fnn.Maxout(2, 2), (3,), "fnn.Maxout.*no counterpart for its 'bias'"),
        (fnn.Conv(2, (2,), bias="per_position"), (3, 1), "no counterpart for its 'bias'"),
        (fnn.Repeat(fnn.Dense(3), 2), (3,), "no counterpart for its 'stack'"),
        (
            fnn.Sequential(fnn.Dense(8), fnn.Reshape((2, 2, 2))),
            (3,),
            "orders the elements of an image differently, which affects 'reshape_0'",
        ),
        (
            fnn.Sequential(fnn.Residual(fnn.Flatten(), shortcut=fnn.Flatten())),
            (2, 2, 3),
            "which affects 'residual_0'",
        ),
        (
            fnn.Sequential(fnn.Flatten(), fnn.GroupNorm(2)),
            (2, 2, 2),
            "group_norm_0.*no counterpart for its 'scale'",
        ),
    ],
)
def test_what_pytorch_orders_otherwise_or_lacks_is_named(model, shape, message):
    x = jnp.ones(shape)
    params, state = model.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=message):
        pytorch.to_state_dict(model, params, state, x)


def test_names_of_no_layer_and_names_for_two_are_refused():
    model, x = fnn.Sequential(fnn.Dense(2), fnn.Dense(2)), jnp.ones(2)
    params, state = model.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"names has \['dense_7'\]; .*'dense_0'"):
        pytorch.to_state_dict(model, params, state, x, names={"dense_7": "fc"})
    with pytest.raises(ValueError, match=r"several arrays .*'0\.bias'"):
        pytorch.to_state_dict(model, params, state, x, names={"dense_1": "0"})
