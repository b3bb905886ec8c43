"""How much memory a step of training takes, before it is run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fnn import tree
from fnn.layers.base import spec
from fnn.platforms import compiler_options
from fnn.tables import text_table
from fnn.training.step import TrainState
from fnn.types import PyTree


class MemoryReport(NamedTuple):
    """The result of `memory_report`, in bytes; prints as a table."""

    parameters: int
    state: int
    optimizer: int
    batch: int
    outputs: int
    temporaries: int
    total: int

    def __str__(self) -> str:
        sizes = self._asdict().items()
        *rows, total = [(name, f"{size / 2**20:,.3f} MiB") for name, size in sizes]
        return text_table((), rows, numbers=1, total=total)


def memory_report(
    step: Callable[..., Any], train_state: TrainState, batch: PyTree
) -> MemoryReport:
    """Return the memory that a step takes by XLA's account, without running it.

    The step is compiled, which takes as long as its first call. Other data that a program
    keeps on the device is not counted.

    Args:
        step: The result of `make_step`, also under `jax.jit`, with donation or without.
        train_state: The state before the step, or the `jax.ShapeDtypeStruct` of each array.
        batch: A batch, or the `jax.ShapeDtypeStruct` of each array.

    Returns:
        Bytes of the parameters; of the model's state; of the optimizer's state, with that
        of a `PerExampleGradient`; of the batch; of the outputs, less those which take the
        memory of donated arguments; of temporaries, such as what the forward pass keeps
        for the backward pass; and in total, to which the step's key and number add a
        little.

    Raises:
        RuntimeError: If the backend gives no account of the memory of a program.

    Example:
        >>> model, adam = fnn.Dense(512), fnn.optimizers.Adam(1e-3)
        >>> x, y = jax.numpy.ones((64, 512)), jax.numpy.ones((64, 512))
        >>> params, state = model.init(jax.random.key(0), x[0])
        >>> train_state = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
        >>> objective = fnn.supervised(model, fnn.losses.squared_error)
        >>> step = jax.jit(fnn.make_step(objective, adam), donate_argnums=0)
        >>> report = fnn.memory_report(step, train_state, (x, y))
        >>> report.parameters == fnn.tree.nbytes(params), report.batch
        (True, 262144)
        >>> print(str(report).splitlines()[0])
        parameters   1.002 MiB
    """
    options = compiler_options()
    lower = getattr(step, "lower", None) or jax.jit(step, compiler_options=options).lower
    train_state, batch = spec((train_state, batch))
    used = lower(train_state, batch).compile().memory_analysis()
    if used is None:
        raise RuntimeError(f"{jax.default_backend()} gives no account of memory")
    outputs = used.output_size_in_bytes - used.alias_size_in_bytes
    return MemoryReport(
        parameters=tree.nbytes(train_state.params),
        state=tree.nbytes(train_state.state),
        optimizer=tree.nbytes((train_state.opt_state, train_state.gradient_state)),
        batch=tree.nbytes(batch),
        outputs=outputs,
        temporaries=used.temp_size_in_bytes,
        total=used.argument_size_in_bytes + outputs + used.temp_size_in_bytes,
    )
