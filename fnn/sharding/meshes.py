"""Meshes of devices with the axes that fnn names: `data` and `model`."""

from collections.abc import Sequence

import jax
import numpy as np

from fnn import checks

DATA, MODEL = "data", "model"


def spread(examples: int) -> int:
    """Return the number of devices that share the examples in the program being traced.

    It is 1 without a mesh, if the mesh does not divide them, and inside `jax.shard_map`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if DATA not in mesh.axis_names:
        return 1
    kind = mesh.axis_types[mesh.axis_names.index(DATA)]
    parts = mesh.shape[DATA] if kind == jax.sharding.AxisType.Auto else 1
    return parts if examples % parts == 0 else 1


def make_mesh(
    model: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> jax.sharding.Mesh:
    """Arrange devices as a mesh of shape (data, model).

    The examples of a batch are split along `data`; a rule of `ByPath` may split a parameter
    along `model`. Both axes are automatic: the compiler chooses the sharding of
    intermediate values.

    Args:
        model: Number of devices that share one copy of the model.
        devices: The devices; by default all, including those of other processes.

    Raises:
        ValueError: If `model` is not a positive integer, or does not divide the number of
            devices.

    Example:
        >>> mesh = fnn.sharding.make_mesh()
        >>> mesh.axis_names, mesh.shape["data"] == jax.device_count()
        (('data', 'model'), True)
    """
    model = checks.positive_integer("model", model)
    devices = jax.devices() if devices is None else list(devices)
    if len(devices) % model or not devices:
        raise ValueError(f"model={model} must divide the number of devices, {len(devices)}")
    shape = (len(devices) // model, model)
    types = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh(shape, (DATA, MODEL), axis_types=types, devices=devices)


def check_mesh(mesh: jax.sharding.Mesh) -> None:
    """Raise unless a mesh has an axis `data`, and only automatic axes."""
    if not isinstance(mesh, jax.sharding.Mesh):
        raise TypeError(
            f"mesh must be a jax.sharding.Mesh, such as fnn.sharding.make_mesh(), "
            f"got {mesh!r}"
        )
    if DATA not in mesh.axis_names:
        raise ValueError(f"mesh must have an axis {DATA!r}, got {mesh.axis_names}")
    if any(kind is not jax.sharding.AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            f"the axes of mesh must be automatic, jax.sharding.AxisType.Auto, "
            f"got {mesh.axis_types}"
        )


def size_of(mesh: jax.sharding.Mesh, axes: str | tuple[str, ...] | None) -> int:
    """Return the number of parts of an array dimension split along some axes."""
    names = () if axes is None else (axes,) if isinstance(axes, str) else axes
    return int(np.prod([mesh.shape[name] for name in names], dtype=int))
