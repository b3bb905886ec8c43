"""Weights from and to PyTorch: the same outputs on both sides. Needs torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import checkpoint, pytorch

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def channels_first(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim > 2 else x)


def channels_last(y):
    y = y.detach().numpy()
    return np.moveaxis(y, 1, -1) if y.ndim > 2 else y


def examples(shape):
    return np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)


def randomized(tensors):
    """Return random values for a state dict; variances stay positive."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(v.shape, generator=generator) + 0.5 if v.is_floating_point() else v
        for name, v in tensors.items()
    }


def numpy_of(model, params, state, x):
    y, _ = fnn.batched(model).apply(params, state, jnp.asarray(x))
    return np.asarray(y)


def check_round_trip(ours, theirs, shape, tmp_path):
    x = examples(shape)
    theirs.eval()
    theirs.load_state_dict(randomized(theirs.state_dict()))
    given = theirs.state_dict()
    params, state = pytorch.from_state_dict(given, ours, x[0])
    with torch.no_grad():
        expected = channels_last(theirs(channels_first(x)))
    np.testing.assert_allclose(numpy_of(ours, params, state, x), expected, **TOLERANCE)
    back = pytorch.to_state_dict(ours, params, state, x[0])
    for name, array in back.items():
        np.testing.assert_array_equal(array, given[name].numpy())
    # And from fnn's own random values, through a file.
    params, state = ours.init(jax.random.key(1), x[0])
    pytorch.save(tmp_path / "w.safetensors", ours, params, state, x[0])
    arrays = checkpoint.load(tmp_path / "w.safetensors")
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    with torch.no_grad():
        got = channels_last(theirs(channels_first(x)))
    np.testing.assert_allclose(got, numpy_of(ours, params, state, x), **TOLERANCE)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    again, _ = pytorch.load(tmp_path / "w.pt", ours, x[0])
    jax.tree.map(np.testing.assert_array_equal, again, params)


LAYERS = {
    "Linear": (fnn.Dense(5), nn.Linear(4, 5), (4,)),
    "Linear without bias": (fnn.Dense(5, bias=False), nn.Linear(4, 5, False), (4,)),
    "Conv1d": (
        fnn.Conv(6, (3,), padding=2, dilation=2),
        nn.Conv1d(4, 6, 3, padding=2, dilation=2),
        (9, 4),
    ),
    "Conv2d": (
        fnn.Conv(6, (3, 2), stride=(2, 1), padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1),
        (9, 8, 4),
    ),
    "Conv2d in groups": (
        fnn.Conv(6, (3, 3), groups=2),
        nn.Conv2d(4, 6, 3, groups=2),
        (9, 8, 4),
    ),
    "Conv3d": (fnn.Conv(6, (3, 2, 1)), nn.Conv3d(4, 6, (3, 2, 1)), (5, 4, 3, 4)),
    "depthwise": (fnn.DepthwiseConv((3, 3), 2), nn.Conv2d(4, 8, 3, groups=4), (9, 8, 4)),
    "ConvTranspose1d": (
        fnn.ConvTranspose(6, (3,), stride=2),
        nn.ConvTranspose1d(4, 6, 3, stride=2),
        (5, 4),
    ),
    "ConvTranspose2d": (
        fnn.ConvTranspose(6, (3, 4), stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, (3, 4), stride=2, padding=1, output_padding=1),
        (5, 6, 4),
    ),
    "ConvTranspose2d in groups": (
        fnn.ConvTranspose(6, (3, 2), groups=2),
        nn.ConvTranspose2d(4, 6, (3, 2), groups=2),
        (5, 6, 4),
    ),
    "ConvTranspose3d": (
        fnn.ConvTranspose(2, (3, 2, 2)),
        nn.ConvTranspose3d(4, 2, (3, 2, 2)),
        (3, 3, 3, 4),
    ),
    "BatchNorm1d": (fnn.BatchNorm(), nn.BatchNorm1d(4), (4,)),
    "BatchNorm2d": (fnn.BatchNorm(), nn.BatchNorm2d(4), (5, 6, 4)),
    "BatchNorm2d without affine": (
        fnn.BatchNorm(scale=False, shift=False),
        nn.BatchNorm2d(4, affine=False),
        (5, 6, 4),
    ),
    "LayerNorm": (fnn.LayerNorm(), nn.LayerNorm(4), (4,)),
    "RMSNorm": (fnn.RMSNorm(), nn.RMSNorm(4, eps=1e-5), (4,)),
    "GroupNorm": (fnn.GroupNorm(2), nn.GroupNorm(2, 4), (5, 6, 4)),
    "InstanceNorm2d": (fnn.InstanceNorm(), nn.InstanceNorm2d(4, affine=True), (5, 6, 4)),
    "PReLU": (fnn.PReLU(), nn.PReLU(4), (5, 6, 4)),
    "PReLU with one slope": (fnn.PReLU(per_feature=False), nn.PReLU(), (4,)),
    "Flatten of images": (
        fnn.Sequential(
            fnn.Conv(3, (2, 2)),
            jax.nn.relu,
            fnn.Flatten(),
            fnn.Dropout(0.5),
            fnn.BatchNorm(),
            fnn.Dense(5),
            fnn.LayerNorm(),
        ),
        nn.Sequential(
            nn.Conv2d(4, 3, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.BatchNorm1d(3 * 3 * 2),
            nn.Linear(3 * 3 * 2, 5),
            nn.LayerNorm(5),
        ),
        (4, 3, 4),
    ),
    "Flatten and another Sequential": (
        fnn.Sequential(fnn.Flatten(), fnn.Sequential(jax.nn.relu, fnn.Dense(5))),
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Linear(24, 5))),
        (3, 2, 4),
    ),
    "LeNet": (
        fnn.models.lenet(),
        nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        ),
        (28, 28, 1),
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "shape"), LAYERS.values(), ids=list(LAYERS))
def test_outputs_are_equal_both_ways(ours, theirs, shape, tmp_path):
    check_round_trip(ours, theirs, shape, tmp_path)


def test_embedding():
    ours, theirs = fnn.Embedding(9, 4), nn.Embedding(9, 4)
    x = np.array([[3, 0, 8], [1, 1, 2]])
    params, state = pytorch.from_state_dict(theirs.state_dict(), ours, x[0])
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_array_equal(numpy_of(ours, params, state, x), expected)
    back = pytorch.to_state_dict(ours, params, state, x[0])
    np.testing.assert_array_equal(back["weight"], theirs.weight.detach().numpy())


class Block(nn.Module):
    """As in the usual implementations, projection included."""

    def __init__(self, inputs, features, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = None
        if stride > 1:
            conv = nn.Conv2d(inputs, features, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(features))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


@pytest.mark.slow
def test_resnet_20():
    names = {"conv_0": "conv1", "batch_norm_0": "bn1", "dense_0": "fc"}
    for i in range(9):
        block = f"layer{1 + i // 3}.{i % 3}"
        names[f"residual_{i}"] = block
        for j in range(2):
            names[f"residual_{i}/branch/conv_{j}"] = f"{block}.conv{j + 1}"
            names[f"residual_{i}/branch/batch_norm_{j}"] = f"{block}.bn{j + 1}"
        if i in (3, 6):
            names[f"residual_{i}/shortcut"] = f"{block}.downsample"
    ours, theirs = fnn.models.resnet_cifar(20), ResNet20()
    x = examples((32, 32, 3))
    torch.manual_seed(0)
    theirs.train()
    with torch.no_grad():
        theirs(channels_first(x))  # running statistics, updated as in training
    theirs.eval()
    params, state = pytorch.from_state_dict(theirs.state_dict(), ours, x[0], names=names)
    with torch.no_grad():
        expected = theirs(channels_first(x)).numpy()
    got = np.asarray(jax.jit(fnn.batched(ours).apply)(params, state, x)[0])
    np.testing.assert_allclose(got, expected, **TOLERANCE)
    back = pytorch.to_state_dict(ours, params, state, x[0], names=names)
    fresh = ResNet20()
    fresh.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in back.items()})
    with torch.no_grad():
        np.testing.assert_array_equal(fresh.eval()(channels_first(x)).numpy(), expected)
