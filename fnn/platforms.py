"""For which platform a program is made, which need not be the one that makes it."""

import contextlib
from collections.abc import Iterator

import jax
from jax.sharding import AbstractDevice, AbstractMesh


def target() -> str:
    """Return the platform of the program that is being traced: `"cpu"`, `"tpu"`, ...

    It is that of the mesh in whose context the tracing is, and without one JAX's default.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


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
