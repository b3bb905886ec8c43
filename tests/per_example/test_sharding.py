"""A batch that is spread over devices: the same answers, in a process of its own."""

import os
import subprocess
import sys

PROGRAM = """
import re
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
program = clip.lower(params_everywhere, *spread).compile().as_text()
kinds = r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)[a-z-]*\\("
operations = re.findall(kinds, program)
assert operations == ["all-reduce"], operations

# In blocks, each of which is spread over the devices as the batch is.
blocked = per_example.clipped_gradient(loss, 1.0, memory_budget=1)
with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    compiled = jax.jit(blocked).lower(params_everywhere, *spread).compile()
operations = re.findall(kinds, compiled.as_text())
assert set(operations) == {"all-reduce"}, operations
assert " while(" in compiled.as_text()
for x, y in zip(*map(jax.tree.leaves, (clip(params, *batch),
                                       compiled(params_everywhere, *spread)))):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)

def squares(params, *batch):
    g = per_example.gradients(loss, memory_budget=1)(params, *batch)
    return g.second_moment(), g.inner_products(params)

with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    compiled = jax.jit(squares).lower(params_everywhere, *spread).compile()
for x, y in zip(*map(jax.tree.leaves, (squares(params, *batch),
                                       compiled(params_everywhere, *spread)))):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)

def convolved(kernel, x, shift):
    y = jax.lax.conv_general_dilated(x[None] + shift, kernel, (1, 1), "SAME",
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.sum(jnp.tanh(y))

# A gradient that is formed for all examples, of copies of one on each device at a time.
kernel = jax.random.normal(keys[0], (3, 3, 12, 12))
images = jax.random.normal(keys[1], (16, 12, 12, 12)), jnp.arange(16.0)
spread_images = jax.device_put(images, jax.NamedSharding(mesh, jax.P("data")))
budget = images[0].shape[0] * kernel.nbytes
clip_images = per_example.clipped_gradient(convolved, 1.0, memory_budget=budget)
with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    compiled = jax.jit(clip_images).lower(kernel, *spread_images).compile()
assert set(re.findall(kinds, compiled.as_text())) == {"all-reduce"}
assert " while(" in compiled.as_text()
each = np.array(jax.jit(jax.vmap(jax.grad(convolved), (None, 0, 0)))(kernel, *images))
norms = np.sqrt(np.sum(each**2, (1, 2, 3, 4)))
everywhere = jax.device_put(kernel, jax.NamedSharding(mesh, jax.P()))
clipped = compiled(everywhere, *spread_images)
np.testing.assert_allclose(clipped.norms, norms, rtol=1e-4)
total = np.tensordot(np.minimum(1 / norms, 1), each, 1)
np.testing.assert_allclose(clipped.gradient, total, rtol=1e-4, atol=1e-5)

whole = per_example.gradients(loss)(params, *batch).norms(per_leaf=True)
P = jax.P

def on_one_device(params, *batch):
    result = per_example.clipped_gradient(loss, 1.0)(params, *batch)
    norms = per_example.gradients(loss)(params, *batch).norms(per_leaf=True)
    return norms, jax.lax.psum(result.gradient, "data")

for check_vma in (True, False):
    mapped = jax.shard_map(
        on_one_device, mesh=mesh, in_specs=(P(), P("data"), P("data")),
        out_specs=(P("data"), P()), check_vma=check_vma)
    norms, total = jax.jit(mapped)(params, *batch)
    for x, y in zip(jax.tree.leaves((norms, total)),
                    jax.tree.leaves((whole, clip(params, *batch).gradient))):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
print(len(jax.devices()))
"""


def test_batch_may_be_sharded():
    """By the compiler, with one sum over the devices, and by hand in `shard_map`."""
    flags = "--xla_force_host_platform_device_count=8"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )
    assert result.stdout.split() == ["8"], result.stderr
