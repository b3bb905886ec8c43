"""Where programs run, and where arrays lie: on which platform, on whose devices."""

import contextlib
from collections.abc import Iterator

import jax
from jax.sharding import AbstractDevice, AbstractMesh

from fnn.types import PyTree


def target() -> str:
    """Return the platform of the program that is being traced: `"cpu"`, `"tpu"`, ...

    It is that of the mesh in whose context the tracing is, and without one JAX's default.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def place(values: PyTree, shardings: PyTree) -> PyTree:
    """Return values that every process has, with each leaf where it is to lie."""
    if jax.process_count() == 1:
        return jax.device_put(values, shardings)
    # `device_put` does not take keys to devices of other processes.
    return jax.jit(lambda leaves: leaves, out_shardings=shardings)(values)


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """Let what is traced inside be made for a platform.

    Example:
        >>> with tracing_for("tpu"):
        ...     target()
        'tpu'
    """
    device = AbstractDevice(device_kind=platform, num_cores=None, platform=platform)
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        yield
