"""Where parameters lie on a mesh: strategies, layouts, and what they refuse."""

import re

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.sharding import ByPath, FullySharded, Layout, Replicated, make_mesh

# Four by two devices that need not be there.
MESH = jax.sharding.AbstractMesh((4, 2), ("data", "model"))
PARAMS = {
    "dense_0": {"bias": jnp.zeros(6), "kernel": jnp.zeros((3, 8))},
    "dense_1": {"bias": jnp.zeros(5), "kernel": jnp.zeros((8, 12))},
}


def specs(strategy, params=PARAMS, *, in_use=False):
    find = strategy.specs_in_use if in_use else strategy.specs
    found = fnn.tree.flatten(find(MESH, params))
    return {path: tuple(spec) for path, spec in found.items()}


def test_replicated_splits_nothing():
    assert set(specs(Replicated()).values()) == {()}


def test_fully_sharded_splits_the_largest_dimension_that_the_mesh_divides():
    assert specs(FullySharded()) == {
        "dense_0/bias": (),  # 4 does not divide 6
        "dense_0/kernel": (None, "data"),
        "dense_1/bias": (),
        "dense_1/kernel": (None, "data"),
    }
    assert specs(FullySharded(), {"k": jnp.zeros((8, 6))}) == {"k": ("data",)}
    assert specs(FullySharded(), {"k": jnp.zeros(())}) == {"k": ()}


def test_rules_name_parameters_by_path():
    strategy = ByPath({"dense_*/kernel": (None, "model")}, rest=FullySharded())
    assert specs(strategy) == {
        "dense_0/bias": (),
        "dense_0/kernel": (None, "model"),
        "dense_1/bias": (),
        "dense_1/kernel": (None, "model"),
    }
    both = ByPath({"dense_1/kernel": (("data", "model"),)})
    assert specs(both)["dense_1/kernel"] == (("data", "model"),)


def test_a_step_uses_whole_parameters_but_for_stacks_and_what_rules_split():
    assert set(specs(FullySharded(), in_use=True).values()) == {()}
    stacked = {"stack": {"kernel": jnp.zeros((5, 4, 8))}}
    kernels = {"conv_1d": jnp.zeros((3, 4, 8)), "repeat_0": stacked}
    one_at_a_time = (None, None, "data")  # in a loop
    in_use = {"conv_1d": (), "repeat_0/stack/kernel": one_at_a_time}
    assert specs(FullySharded(), kernels, in_use=True) == in_use
    assert set(specs(Replicated(), in_use=True).values()) == {()}
    for rest in (Replicated(), FullySharded()):
        strategy = ByPath({"dense_1/kernel": ("model",)}, rest=rest)
        assert specs(strategy, in_use=True) == {
            "dense_0/bias": (),
            "dense_0/kernel": (),
            "dense_1/bias": (),
            "dense_1/kernel": ("model",),
        }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"conv*": ("model",)}, r"'conv\*' matches no parameter; the paths are"),
        (
            {"dense_0/*": (), "*/kernel": (None, "model")},
            r"several rules match the parameter 'dense_0/kernel': \['dense_0/\*', ",
        ),
        ({"dense_0/bias": (None, "model")}, "'dense_0/bias', float32.6., has more dim"),
        ({"dense_0/kernel": ("heads",)}, "names .'heads'.; the mesh has"),
        ({"dense_1/bias": ("model",)}, "length 5 among 2 devices"),
    ],
)
def test_rules_that_do_not_fit(rules, message):
    with pytest.raises(ValueError, match=message):
        ByPath(rules).specs(MESH, PARAMS)


@pytest.mark.parametrize("rules", [{}, ["*"], {"*": "model"}, {1: ("model",)}])
def test_rules_are_a_mapping_to_tuples(rules):
    with pytest.raises(TypeError, match="rules must"):
        ByPath(rules)


def test_strategies_are_values():
    strategy = ByPath({"*/kernel": jax.P(None, "model")}, rest=FullySharded())
    assert strategy == ByPath({"*/kernel": (None, "model")}, rest=FullySharded())
    assert eval(repr(strategy)) == strategy
    assert hash(Layout(make_mesh())) == hash(Layout(make_mesh(), Replicated()))


def test_what_belongs_to_a_parameter_lies_with_it():
    mesh = make_mesh(devices=jax.devices()[:1])
    layout = Layout(mesh, ByPath({"dense_0/kernel": (None, "model")}))
    adam = fnn.optimizers.Chain(
        fnn.optimizers.ClipByGlobalNorm(1.0), fnn.optimizers.Adam(1e-3)
    )
    train_state = fnn.TrainState.create(PARAMS, {}, adam, key=jax.random.key(0))
    shardings = fnn.tree.flatten(layout.shardings(train_state, PARAMS))
    split = [path for path, sharding in shardings.items() if tuple(sharding.spec)]
    assert len(split) == 3  # the kernel, and its two moments
    assert all(path.endswith("dense_0/kernel") for path in split)


def test_a_mesh_must_be_one():
    devices = jax.devices()[:1]
    with pytest.raises(TypeError, match="mesh must be a jax"):
        Layout("data")
    with pytest.raises(ValueError, match="must have an axis 'data'"):
        Layout(jax.make_mesh((1,), ("x",), devices=devices))
    explicit = (jax.sharding.AxisType.Explicit,)
    with pytest.raises(ValueError, match="must be automatic"):
        Layout(jax.make_mesh((1,), ("data",), explicit, devices=devices))
    with pytest.raises(TypeError, match="sharding must be a strategy"):
        Layout(make_mesh(devices=devices), jax.P("data"))


def test_the_devices_of_a_model_must_divide_all():
    with pytest.raises(ValueError, match="model=2 must divide the number of devices, 1"):
        make_mesh(model=2, devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="positive integer"):
        make_mesh(model=0)


def test_sharding_needs_a_mesh():
    data = jnp.ones((4, 2)), jnp.ones(4)
    with pytest.raises(ValueError, match=re.escape("FullySharded() needs a mesh")):
        fnn.fit(
            fnn.Dense(1),
            fnn.losses.squared_error,
            fnn.optimizers.SGD(0.1),
            data,
            key=jax.random.key(0),
            epochs=1,
            batch_size=2,
            sharding=FullySharded(),
        )
