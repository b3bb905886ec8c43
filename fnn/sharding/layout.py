"""The placement of all training arrays on a mesh."""

import contextlib
from typing import Any

import jax
import numpy as np

from fnn import checks, tree
from fnn.platforms import place
from fnn.sharding.meshes import DATA, check_mesh, size_of
from fnn.sharding.strategies import Replicated, Strategy
from fnn.types import NDArray, PyTree
from fnn.values import Value


class Layout(Value):
    """Place batches, parameters and training state on a mesh.

    `fnn.fit(..., mesh=mesh, sharding=strategy)` uses one. In a loop of your own, place the
    state and the batches, and give the layout to `fnn.make_step`, which pins the new state.

    Args:
        mesh: A mesh with an axis `data`, along which batches are split.
        strategy: The placement of the parameters.

    Raises:
        TypeError: If the arguments are of the wrong kind.
        ValueError: If the mesh has no axis `data`, or axes that are not automatic.

    Example:
        >>> layout = fnn.sharding.Layout(fnn.sharding.make_mesh())
        >>> model, adam = fnn.Dense(1), fnn.optimizers.Adam(0.1)
        >>> x, y = jax.numpy.ones((8, 3)), jax.numpy.ones(8)
        >>> params, state = model.init(jax.random.key(0), x[0])
        >>> train_state = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
        >>> train_state = layout.place(train_state, params)
        >>> objective = fnn.supervised(model, fnn.losses.squared_error)
        >>> step = jax.jit(fnn.make_step(objective, adam, layout=layout), donate_argnums=0)
        >>> train_state, metrics = step(train_state, layout.place_batch((x, y)))
        >>> int(train_state.step)
        1
    """

    mesh: jax.sharding.Mesh
    strategy: Strategy = Replicated()

    def __post_init__(self) -> None:
        check_mesh(self.mesh)
        if not isinstance(self.strategy, Strategy):
            raise TypeError(
                f"sharding must be a strategy, such as fnn.sharding.FullySharded(), "
                f"got {self.strategy!r}"
            )

    @property
    def parts(self) -> int:
        """The number of parts of a batch."""
        return size_of(self.mesh, DATA)

    @property
    def batch(self) -> jax.NamedSharding:
        """The sharding of a batch: its leading axis, the examples, split along `data`."""
        return jax.NamedSharding(self.mesh, jax.P(DATA))

    @property
    def everywhere(self) -> jax.NamedSharding:
        """The sharding of arrays that are copied to every device."""
        return jax.NamedSharding(self.mesh, jax.P())

    def shardings(self, values: PyTree, params: PyTree) -> PyTree:
        """Return the sharding of each leaf of `values`, a tree of `jax.NamedSharding`.

        A leaf that belongs to a parameter, such as a moment of Adam, has the parameter's
        sharding. It is recognized by its path, which ends in the parameter's, and by its
        shape. All other leaves, such as keys and running statistics, are on every device.

        Args:
            values: Arrays or their specs: the parameters, a `fnn.TrainState`, anything
                that holds trees like the parameters.
            params: The parameters, or their specs.

        Raises:
            ValueError: If the strategy can't place the parameters on the mesh.
        """
        specs = tree.flatten(self.strategy.specs(self.mesh, params))
        shapes = {path: leaf.shape for path, leaf in tree.flatten(params).items()}

        def sharding(path: str, leaf: Any) -> jax.NamedSharding:
            names = path.split("/")
            ends = ("/".join(names[i:]) for i in range(len(names)))
            owner = next((end for end in ends if shapes.get(end) == leaf.shape), None)
            spec = jax.P() if owner is None else specs[owner]
            return jax.NamedSharding(self.mesh, spec)

        return tree.map_with_path(sharding, values)

    def constrain(self, values: PyTree, params: PyTree) -> PyTree:
        """Constrain, inside `jax.jit`, the sharding of each leaf of `values`."""
        shardings = self.shardings(values, params)
        return jax.lax.with_sharding_constraint(values, shardings)

    def gather(self, params: PyTree) -> PyTree:
        """Return parameters, inside `jax.jit`, in their sharding for use in a step."""
        specs = self.strategy.specs_in_use(self.mesh, params)
        shardings = jax.tree.map(lambda spec: jax.NamedSharding(self.mesh, spec), specs)
        return jax.lax.with_sharding_constraint(params, shardings)

    def scatter(self, grads: PyTree, params: PyTree) -> PyTree:
        """Return gathered parameters' gradients, inside `jax.jit`, in the stored sharding.

        They are summed whole, as they were computed, so the parameters' sharding does not
        change how gradients are computed.
        """
        return self.constrain(self.gather(grads), params)

    def place(self, values: PyTree, params: PyTree) -> PyTree:
        """Return `values` with each leaf placed by `shardings`."""
        return place(values, self.shardings(values, params))

    def place_batch(self, batch: PyTree) -> PyTree:
        """Return a batch, split along `data`.

        With several processes, each gives its own part of the batch; all parts have the
        same size.

        Raises:
            ValueError: If the devices of this process do not divide its examples.
        """
        parts = self.parts // jax.process_count()
        examples = checks.leading_length(batch, "a batch")
        if examples % parts:
            raise ValueError(
                f"the {parts} parts of the mesh's axis {DATA!r} do not divide a batch of "
                f"{examples} examples"
            )
        return _from_own_parts(batch, self.batch)

    def place_batches(self, batches: PyTree) -> PyTree:
        """Return several batches, (batches, examples, ...), each split along `data`.

        With several processes, each gives its own part of every batch.
        """
        return _from_own_parts(batches, jax.NamedSharding(self.mesh, jax.P(None, DATA)))

    def rows_of_process(self, examples: int) -> NDArray:
        """Return which rows of a batch of `examples` are on this process's devices.

        A process needs to load only these rows of a batch, in this order.
        """
        numbers = np.arange(examples)
        parts = self.batch.addressable_devices_indices_map((examples,)).values()
        return np.unique(np.concatenate([numbers[part] for part in parts]))

    def place_everywhere(self, values: PyTree) -> PyTree:
        """Return `values` with a copy of each leaf on every device."""
        return place(values, jax.tree.map(lambda _: self.everywhere, values))

    def tracing(self) -> contextlib.AbstractContextManager[Any]:
        """Trace for the platform of the mesh inside this context."""
        return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

    def check_divides(self, examples: int, what: str) -> None:
        """Raise unless every device gets the same number of examples."""
        if examples % self.parts:
            raise ValueError(
                f"{what} must be a multiple of {self.parts}, the number of devices along "
                f"the axis {DATA!r} of the mesh, got {examples}"
            )


def _from_own_parts(values: PyTree, sharding: jax.NamedSharding) -> PyTree:
    """Return arrays; each process gives the part for its own devices."""
    if jax.process_count() == 1:
        return jax.device_put(values, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)),
        values,
    )
