"""Arrays spread over devices, saved on some and restored on others, by both ways."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import pytest

from fnn.checkpoint import OrbaxCheckpointer

PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np
from fnn.checkpoint import Checkpointer, OrbaxCheckpointer

kind, folder = sys.argv[1:]
checkpointer = {"file": Checkpointer, "orbax": OrbaxCheckpointer}[kind](folder, keep=2)

def spread(n):
    types, devices = (jax.sharding.AxisType.Auto,), jax.devices()[:n]
    mesh = jax.make_mesh((n,), ("d",), types, devices=devices)
    return jax.NamedSharding(mesh, jax.P("d"))

def tree(sharding):
    w = jax.device_put(jnp.arange(24.0).reshape(8, 3), sharding)
    return {"w": w, "key": jax.random.key(3), "step": jnp.int32(7)}

with checkpointer.open() as writer:
    for step in (1, 2, 3):
        writer.save(step, tree(spread(4)), metrics={"loss": 0.5}, metadata={"a": [1]})
assert checkpointer.latest() == 3
for n in (1, 2, 4):
    template = tree(spread(n))
    for like in (template, {**template, "w": jax.ShapeDtypeStruct(
            (8, 3), "float32", sharding=spread(n))}):
        restored = checkpointer.restore(like)
        assert restored[1:] == (3, {"loss": 0.5}, {"a": [1]})
        assert restored.tree["w"].sharding == spread(n), restored.tree["w"].sharding
        np.testing.assert_array_equal(restored.tree["w"], np.arange(24.0).reshape(8, 3))
        assert int(restored.tree["step"]) == 7
        assert restored.tree["key"].dtype == template["key"].dtype
        assert jax.random.key_data(restored.tree["key"]).tolist() == [0, 3]
try:
    checkpointer.restore({"v": template["w"]})
except ValueError:
    print("agree")
"""


@pytest.mark.parametrize("kind", ["file", "orbax"])
def test_values_come_back_on_another_number_of_devices(kind, tmp_path):
    if kind == "orbax":
        pytest.importorskip("orbax.checkpoint")
    flags = "--xla_force_host_platform_device_count=4"
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, str(tmp_path)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.stdout == "agree\n", result.stderr[-3000:]


OF_SEVERAL_PROCESSES = """
import sys
import jax, numpy as np
from fnn.checkpoint import OrbaxCheckpointer

folder, address, me = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(address, num_processes=2, process_id=me)
mesh = jax.make_mesh((4,), ("d",), (jax.sharding.AxisType.Auto,))
spread, whole = (jax.NamedSharding(mesh, s) for s in (jax.P("d"), jax.P()))
rows = np.arange(24, dtype="float32").reshape(8, 3)

def tree(step):
    mine = step * rows[4 * me : 4 * me + 4]
    w = jax.make_array_from_process_local_data(spread, mine)
    n = jax.make_array_from_process_local_data(whole, np.int32(step))
    return {"w": w, "n": n}

assert not tree(1)["w"].is_fully_addressable
checkpointer = OrbaxCheckpointer(folder, keep=1, every=2, best=("loss", "min"))
with checkpointer.open() as writer:
    for step, loss in enumerate((0.0, 3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 5.0), 1):
        if writer.due(step):
            writer.save(step, tree(step), metrics={"loss": loss}, metadata={"a": step})
assert checkpointer.steps() == (4, 8)
assert checkpointer.best_step() == 4
for step in (4, 8):
    for place in (spread, whole):
        w = jax.ShapeDtypeStruct((8, 3), "float32", sharding=place)
        restored = checkpointer.restore({"w": w, "n": tree(0)["n"]}, step)
        assert restored[1:] == (step, {"loss": 1.0 if step == 4 else 5.0}, {"a": step})
        assert restored.tree["w"].sharding == place
        for shard in restored.tree["w"].addressable_shards:
            np.testing.assert_array_equal(shard.data, step * rows[shard.index])
        assert int(restored.tree["n"].addressable_data(0)) == step
print("agree")
jax.distributed.shutdown()
"""


def test_each_of_two_processes_writes_and_reads_its_part(
    tmp_path, start_process, free_port
):
    pytest.importorskip("orbax.checkpoint")
    address = f"localhost:{free_port()}"
    command = [sys.executable, "-c", OF_SEVERAL_PROCESSES, tmp_path, address]
    processes = [start_process([*command, i]) for i in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert output.endswith("agree\n"), errors[-3000:]


def test_orbax_keeps_the_newest_and_the_best(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    checkpointer = OrbaxCheckpointer(tmp_path, keep=2, every=2, best=("loss", "min"))
    weights = {"w": jnp.zeros(3)}
    nan = float("nan")
    with checkpointer.open() as writer:
        for step, loss in enumerate((0, 3, 0, 1, 0, 2, 0, 4, 0, nan, 0, None), 1):
            if writer.due(step):
                writer.save(step, weights, metrics={} if loss is None else {"loss": loss})
        with pytest.raises(ValueError, match="best is by 'loss'"):
            writer.save(13, weights, metrics={"accuracy": 1.0})
        with pytest.raises(ValueError, match="more than the newest, 12, got 12"):
            writer.save(12, weights)
    assert checkpointer.steps() == (4, 10, 12)
    assert (checkpointer.best_step(), checkpointer.latest()) == (4, 12)
    with checkpointer.open() as writer:  # what was written before is still known
        assert not writer.due(13)
        writer.save(15, weights, metrics={"loss": 2})
    assert checkpointer.steps() == (4, 12, 15)
    assert checkpointer.restore(weights, 4).metrics == {"loss": 1}


def test_orbax_reads_what_repeat_stacked_under_its_old_name(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    checkpointer = OrbaxCheckpointer(tmp_path)

    def saved(name):
        stacked = {name: {"kernel": jnp.arange(3.0), "key": jax.random.key(1)}}
        return {"params": {"repeat_0": stacked}, "opt_state": (stacked, jnp.ones(1))}

    with checkpointer.open() as writer:
        writer.save(1, saved("layer"))
    new = saved("stack")
    chex.assert_trees_all_equal(checkpointer.restore(new).tree, new)
    with pytest.raises((KeyError, ValueError)):
        checkpointer.restore({"params": {"stack": {"bias": jnp.ones(1)}}})


def test_orbax_refuses_what_it_can_not_do(tmp_path):
    with pytest.raises(ValueError, match="every must be a positive integer"):
        OrbaxCheckpointer(tmp_path, every=0)
    with pytest.raises(ValueError, match="best must be the name of a metric"):
        OrbaxCheckpointer(tmp_path, best="loss")
    with pytest.raises(ValueError, match="best_step needs best"):
        OrbaxCheckpointer(tmp_path).best_step()
