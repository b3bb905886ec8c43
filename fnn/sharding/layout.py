"""Where everything that training holds lies on a mesh."""

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
    """Place batches, parameters and what goes with them on a mesh.

    `fnn.fit(..., mesh=mesh, sharding=strategy)` uses one. In a loop of your own, place the
    state and the batches, and give the layout to `fnn.make_step`, which pins the new state.

    Args:
        mesh: With an axis `data`, along which batches are split.
        strategy: How the parameters lie.

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
        """Into how many parts a batch is split."""
        return size_of(self.mesh, DATA)

    @property
    def batch(self) -> jax.NamedSharding:
        """How a batch lies: its examples, the leading axis, split along `data`."""
        return jax.NamedSharding(self.mesh, jax.P(DATA))

    @property
    def everywhere(self) -> jax.NamedSharding:
        """How lies what every device has a copy of."""
        return jax.NamedSharding(self.mesh, jax.P())

    def shardings(self, values: PyTree, params: PyTree) -> PyTree:
        """Return where each leaf of `values` lies, a tree of `jax.NamedSharding`.

        A leaf that belongs to a parameter, as the moments of Adam do, lies as the
        parameter; it is known by its path, which ends in that of the parameter, and by its
        shape. All others, such as keys and running statistics, are on every device.

        Args:
            values: Arrays or their specs: the parameters, a `fnn.TrainState`, anything
                that holds trees like the parameters.
            params: The parameters, or their specs.

        Raises:
            ValueError: If the parameters can't lie on the mesh as the strategy says.
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
        """Pin, inside `jax.jit`, where each leaf of `values` lies."""
        shardings = self.shardings(values, params)
        return jax.lax.with_sharding_constraint(values, shardings)

    def gather(self, params: PyTree) -> PyTree:
        """Return parameters, inside `jax.jit`, as they lie while a step uses them."""
        specs = self.strategy.specs_in_use(self.mesh, params)
        shardings = jax.tree.map(lambda spec: jax.NamedSharding(self.mesh, spec), specs)
        return jax.lax.with_sharding_constraint(params, shardings)

    def scatter(self, grads: PyTree, params: PyTree) -> PyTree:
        """Return the gradients to gathered parameters, inside `jax.jit`, as these lie.

        They are summed as they came, whole, so that where the parts of the parameters lie
        has no say in how gradients are computed.
        """
        return self.constrain(self.gather(grads), params)

    def place(self, values: PyTree, params: PyTree) -> PyTree:
        """Return `values` with each leaf where `shardings` says."""
        return place(values, self.shardings(values, params))

    def place_batch(self, batch: PyTree) -> PyTree:
        """Return a batch, split along `data`.

        Where there are several processes, each gives its own part of the batch, all of
        the same size.

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

        Where there are several processes, each gives its own part of every batch.
        """
        return _from_own_parts(batches, jax.NamedSharding(self.mesh, jax.P(None, DATA)))

    def rows_of_process(self, examples: int) -> NDArray:
        """Return which rows of a batch of so many examples lie on this process's devices.

        Of a batch that a loader reads, a process needs these alone, in this order.
        """
        numbers = np.arange(examples)
        parts = self.batch.addressable_devices_indices_map((examples,)).values()
        return np.unique(np.concatenate([numbers[part] for part in parts]))

    def place_everywhere(self, values: PyTree) -> PyTree:
        """Return `values` with a copy of each leaf on every device."""
        return place(values, jax.tree.map(lambda _: self.everywhere, values))

    def tracing(self) -> contextlib.AbstractContextManager[Any]:
        """Let what is traced inside be made for the platform of the mesh."""
        return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

    def check_divides(self, examples: int, what: str) -> None:
        """Raise unless every device gets as many of some examples as any other."""
        if examples % self.parts:
            raise ValueError(
                f"{what} must be a multiple of {self.parts}, the number of devices along "
                f"the axis {DATA!r} of the mesh, got {examples}"
            )


def _from_own_parts(values: PyTree, sharding: jax.NamedSharding) -> PyTree:
    """Return arrays of which each process gives the part that lies on its devices."""
    if jax.process_count() == 1:
        return jax.device_put(values, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)),
        values,
    )
