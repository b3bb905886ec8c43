"""A batch that is spread over devices: the same answers, in a process of its own."""

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from fnn import per_example

def loss(params, x, i):
    h = jnp.tanh(x @ params["kernel"]) + params["table"][i]
    return jnp.sum(h @ params["kernel"].T) ** 2

keys = jax.random.split(jax.random.key(0), 4)
params = {"kernel": jax.random.normal(keys[0], (6, 5)),
          "table": jax.random.normal(keys[1], (7, 5))}
batch = (jax.random.normal(keys[2], (16, 3, 6)), jax.random.randint(keys[3], (16, 3), 0, 7))
clip = jax.jit(per_example.clipped_gradient(loss, 1.0))
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
spread = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
params_everywhere = jax.device_put(params, jax.NamedSharding(mesh, jax.P()))
for x, y in zip(*map(jax.tree.leaves, (clip(params, *batch),
                                       clip(params_everywhere, *spread)))):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
private = jax.jit(per_example.private_gradient(loss, 1.0, 2.0, normalize_by=1.0))
key = jax.random.key(5)
for x, y in zip(*map(jax.tree.leaves, (private(params, *batch, key=key),
                                       private(params_everywhere, *spread, key=key)))):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
print(len(jax.devices()))
"""


def test_batch_may_be_sharded():
    flags = "--xla_force_host_platform_device_count=8"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )
    assert result.stdout.split() == ["8"], result.stderr
