"""Platforms of programs, and placement of arrays on devices."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import jax
from jax.sharding import AbstractDevice, AbstractMesh

from fnn.types import PyTree

_Function = TypeVar("_Function", bound=Callable[..., Any])


def target() -> str:
    """Return the platform of the program that is being traced: `"cpu"`, `"tpu"`, ...

    It is the platform of the mesh in context, or JAX's default without a mesh.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


# XLA's own choice for the CPU, without INDIVIDUAL_CONVOLUTION.
_WITHOUT_CONVOLUTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


def compiler_options() -> dict[str, str]:
    """Return the options of `jax.jit` with which convolutions are compiled well.

    On the CPU, XLA gives convolutions of more than 16 channels to the library YNNPACK,
    which takes up to five times as long as XLA itself for the gradient of the kernel, as
    `benchmarks` shows. With these options XLA keeps them; programs without convolutions
    compile as before. `fit`, `evaluate` and `predict` compile with them.

    Returns:
        The options, for the outermost `jax.jit`; none for other platforms, or if the
        installed jaxlib does not know them.

    Example:
        >>> model, x = fnn.batched(fnn.Conv(32, (3, 3))), jax.numpy.ones((2, 9, 9, 3))
        >>> params, _ = model.init(jax.random.key(0), x)
        >>> apply = jax.jit(model, compiler_options=fnn.compiler_options())
        >>> apply(params, x).shape
        (2, 7, 7, 32)
    """
    return dict(_WITHOUT_CONVOLUTIONS) if target() == "cpu" and _known() else {}


@functools.cache
def _known() -> bool:
    """Return whether jaxlib knows the options, which are experimental."""
    try:
        jax.jit(lambda: None, compiler_options=_WITHOUT_CONVOLUTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def options_for_one_run() -> dict[str, str]:
    """Return the options of `jax.jit` for a program that runs once, such as `init`.

    On the CPU, the initial values of a small U-Net compile in 9 s instead of 32 s at LLVM's
    level 1. They have the same bits and run as fast; at level 0 they run six times slower.
    """
    return {"xla_backend_optimization_level": "1"} if target() == "cpu" else {}


def compiled(
    function: Callable[..., Any],
    options: Callable[[], dict[str, str]] = compiler_options,
    **arguments: Any,
) -> Callable[..., Any]:
    """Return `jax.jit(function, **arguments)`, with `compiler_options` or others.

    The options are read at the call, because importing a module must not start a device.
    """

    @functools.cache
    def jitted(chosen: tuple[tuple[str, str], ...]) -> Callable[..., Any]:
        return jax.jit(function, compiler_options=dict(chosen), **arguments)

    @functools.wraps(function)
    def call(*positional: Any) -> Any:
        return jitted(tuple(options().items()))(*positional)

    return call


def traced_once(static: int | tuple[int, ...] = ()) -> Callable[[_Function], _Function]:
    """Trace a function once for all arguments of the same shapes and dtypes.

    Networks have many equal layers, and optimizers many leaves. JAX would trace the
    operations of each of them again, a large part of the time before training begins:
    0.34 s instead of 0.14 s for the step of 50 dense layers. `jit` keeps the trace, and
    `inline=True` puts its operations at the call, so XLA sees the same program as
    without it. Outside `jit`, the function is a compiled program.

    Args:
        static: The positions of arguments that are not arrays. They must hash.

    Example:
        >>> @traced_once(static=0)
        ... def power(n, x):
        ...     print("tracing")
        ...     return x**n
        >>> print(jax.jit(lambda x, y: power(2, x) + power(2, y))(1.0, 2.0))
        tracing
        5.0
    """

    def decorate(function: _Function) -> _Function:
        return cast("_Function", jax.jit(function, static_argnums=static, inline=True))

    return decorate


def place(values: PyTree, shardings: PyTree) -> PyTree:
    """Return values that every process has, with each leaf placed by `shardings`."""
    if jax.process_count() == 1:
        return jax.device_put(values, shardings)
    # `device_put` does not take keys to devices of other processes.
    return jax.jit(lambda leaves: leaves, out_shardings=shardings)(values)


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """Trace for a platform inside this context.

    Example:
        >>> with tracing_for("tpu"):
        ...     target()
        'tpu'
    """
    device = AbstractDevice(device_kind=platform, num_cores=None, platform=platform)
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        yield
