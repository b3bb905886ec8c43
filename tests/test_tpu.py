"""Training steps compile for TPU, on a machine that has none (extra `tpu`)."""

import inspect
import re

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.sharding import FullySharded, Layout, make_mesh

pytest.importorskip("libtpu")
from jax.experimental import topologies

BATCH = 64
NUMBER, LABEL = jnp.float32, jnp.int32
CASES = {
    "perceptron": (fnn.models.perceptron(), (4,), (1,), NUMBER),
    "linear_regression": (fnn.models.linear_regression(), (4,), (1,), NUMBER),
    "logistic_regression": (fnn.models.logistic_regression(), (4,), (), LABEL),
    "mlp": (fnn.models.mlp(64, 32, 10, dropout=0.5), (784,), (), LABEL),
    "lenet": (fnn.models.lenet(), (28, 28, 1), (), LABEL),
    "vgg_small": (fnn.models.vgg_small(width=8), (32, 32, 3), (), LABEL),
    "resnet_cifar": (fnn.models.resnet_cifar(8), (32, 32, 3), (), LABEL),
    "autoencoder": (fnn.models.autoencoder(16, 8, inputs=64), (64,), (64,), NUMBER),
}
COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)[a-z-]*\("
)


@pytest.fixture(scope="module")
def mesh():
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4")
    return make_mesh(devices=topology.devices)


def compiled(layout, model, shape, target, dtype):
    """Return the program of a training step."""
    loss = fnn.losses.squared_error if dtype is NUMBER else fnn.losses.softmax_cross_entropy
    adam = fnn.optimizers.Adam(1e-3)
    step = fnn.make_step(fnn.supervised(model, loss), adam, layout=layout)

    def create(key):
        params, state = model.init(key, jnp.zeros(shape))
        return fnn.TrainState.create(params, state, adam, key=key)

    train_state = jax.eval_shape(create, jax.random.key(0))
    placed = jax.tree.map(
        lambda leaf, sharding: leaf.update(sharding=sharding),
        train_state,
        layout.shardings(train_state, train_state.params),
    )
    batch = tuple(
        jax.ShapeDtypeStruct((BATCH, *rest), kind, sharding=layout.batch)
        for rest, kind in ((shape, NUMBER), (target, dtype))
    )
    return jax.jit(step, donate_argnums=0).lower(placed, batch).compile().as_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_step_compiles_for_eight_chips_and_only_sums_over_them(mesh, name):
    program = compiled(Layout(mesh), *CASES[name])
    assert set(COLLECTIVE.findall(program)) == {"all-reduce"}


@pytest.mark.slow
def test_fully_sharded_convolutions_gather_kernels_and_exchange_no_borders(mesh):
    conv = fnn.Conv(16, (3, 3), padding="same", bias=False)
    model = fnn.Sequential(conv, jax.nn.relu, conv, fnn.GlobalPool("mean"), fnn.Dense(8))
    program = compiled(Layout(mesh, FullySharded()), model, (16, 16, 8), (), LABEL)
    assert set(COLLECTIVE.findall(program)) == {"all-gather", "all-reduce"}


def test_every_model_has_a_case():
    functions = inspect.getmembers(fnn.models, inspect.isfunction)
    own = {name for name, function in functions if function.__module__ == "fnn.models"}
    assert {name for name in own if not name.startswith("_")} == set(CASES)
