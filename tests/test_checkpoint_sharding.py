"""Arrays spread over devices, saved on some and restored on others, by both ways."""

import os
import subprocess
import sys

import pytest

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
