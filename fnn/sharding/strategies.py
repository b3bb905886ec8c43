"""The placement of a model's parameters on a mesh, as values."""

import abc
import fnmatch
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax

from fnn import checks, tree
from fnn.sharding.meshes import DATA, size_of
from fnn.types import PyTree
from fnn.values import Value

Spec: TypeAlias = tuple[str | tuple[str, ...] | None, ...]
"""For each dimension of an array, the mesh axis or axes that split it, or `None`."""

MATRIX = 2
"""Number of dimensions of a matrix, in each layer of a stack."""


class Strategy(Value, abc.ABC):
    """Place parameters on a mesh; base of `Replicated`, `FullySharded` and `ByPath`.

    Example:
        >>> isinstance(fnn.sharding.Replicated(), fnn.sharding.Strategy)
        True
    """

    @abc.abstractmethod
    def specs(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        """Return a tree like `params` with a `jax.P` for every leaf.

        Args:
            mesh: The mesh.
            params: Arrays or their specs.

        Raises:
            ValueError: If the mesh does not allow this placement.
        """

    def specs_in_use(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        """Return the parameters' specs while a step computes with them: unchanged here.

        Args:
            mesh: The mesh.
            params: Arrays or their specs.
        """
        return self.specs(mesh, params)


class Replicated(Strategy):
    """Keep all parameters on every device: data parallelism.

    Every device computes the gradient of its part of the batch; one sum over the devices
    gives the gradient of the whole batch.

    Example:
        >>> mesh = fnn.sharding.make_mesh()
        >>> tuple(fnn.sharding.Replicated().specs(mesh, {"w": jax.numpy.ones(4)})["w"])
        ()
    """

    def specs(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        return jax.tree.map(lambda _: jax.P(), params)


class FullySharded(Strategy):
    """Split every parameter along its largest dimension that the mesh divides.

    Parameters and the optimizer's state take 1/n of the memory on each of n devices. A
    step gathers the parameters that it computes with, and each device keeps its part of the
    summed gradients: fully sharded data parallelism. A leaf is kept on every device if n
    does not divide any of its dimensions.

    Source: Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion
    parameter models".

    Example:
        >>> mesh = fnn.sharding.make_mesh()
        >>> params = {"w": jax.numpy.ones((2, 512))}
        >>> tuple(fnn.sharding.FullySharded().specs(mesh, params)["w"])
        (None, 'data')
    """

    def specs(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        parts = size_of(mesh, DATA)

        def spec(leaf: Any) -> jax.P:
            shape = leaf.shape
            divided = [
                i for i, length in enumerate(shape) if length and length % parts == 0
            ]
            if not divided:
                return jax.P()
            largest = max(divided, key=lambda i: shape[i])
            return jax.P(*(None,) * largest, DATA)

        return jax.tree.map(spec, params)

    def specs_in_use(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        """Return the parameters' specs in use: whole, except for stacks of matrices.

        Without this, the compiler splits convolutions like their kernels and exchanges the
        borders of images, which takes more memory than it saves. Stacks of matrices, as in
        `fnn.Repeat`, are left to the compiler: inside the loop it gathers the matrices of
        one layer at a time.
        """

        def spec(leaf: Any, stacked: int, kept: jax.P) -> jax.P:
            return kept if stacked and len(leaf.shape) - stacked == MATRIX else jax.P()

        stacked = tree.stacked_axes(params)
        return jax.tree.map(spec, params, stacked, self.specs(mesh, params))


class ByPath(Strategy):
    """Split parameters by rules on their paths: tensor parallelism.

    For an MLP whose hidden units are spread over the devices of the axis `model`, the
    first kernel is split by columns, the second by rows.

    Args:
        rules: For a glob on a parameter's path, as in `fnn.tree.match`, the mesh axes that
            split its dimensions, or `None` for an unsplit one:
            `{"dense_0/kernel": (None, "model"), "dense_1/kernel": ("model", None)}`.
        rest: The strategy for all other parameters.

    Raises:
        TypeError: If the rules are not a mapping from globs to tuples.
        ValueError: From `specs`, if a rule matches nothing, if two match one leaf, if an
            array has fewer dimensions than its rule, or if the mesh lacks an axis or does
            not divide a dimension.

    Example:
        >>> mesh = fnn.sharding.make_mesh()
        >>> columns = fnn.sharding.ByPath({"dense_*/kernel": (None, "model")})
        >>> params = {"dense_0": {"kernel": jax.numpy.ones((4, 8))}}
        >>> tuple(columns.specs(mesh, params)["dense_0"]["kernel"])
        (None, 'model')
    """

    rules: Mapping[str, Spec]
    rest: Strategy = Replicated()

    def __post_init__(self) -> None:
        self._set(rules=_as_rules(self.rules))
        if not isinstance(self.rest, Strategy):
            raise TypeError(f"rest must be a strategy of fnn.sharding, got {self.rest!r}")

    def specs(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        return self._specs(mesh, params, self.rest.specs(mesh, params))

    def specs_in_use(self, mesh: jax.sharding.Mesh, params: PyTree) -> PyTree:
        """Return the specs of the rules, and those of `rest` in use for the others."""
        return self._specs(mesh, params, self.rest.specs_in_use(mesh, params))

    def _specs(self, mesh: jax.sharding.Mesh, params: PyTree, rest: PyTree) -> PyTree:
        paths = list(tree.flatten(params))
        for glob in self.rules:
            if not fnmatch.filter(paths, glob):
                raise ValueError(
                    f"the rule {glob!r} matches no parameter; the paths are {paths}"
                )

        def spec(path: str, leaf: Any, otherwise: jax.P) -> jax.P:
            globs = [glob for glob in self.rules if fnmatch.fnmatchcase(path, glob)]
            if len(globs) > 1:
                raise ValueError(f"several rules match the parameter {path!r}: {globs}")
            if not globs:
                return otherwise
            _check_spec(mesh, path, leaf, self.rules[globs[0]])
            return jax.P(*self.rules[globs[0]])

        return tree.map_with_path(spec, params, rest)


def _as_rules(rules: Any) -> dict[str, Spec]:
    """Return rules as a dictionary of tuples, or raise."""
    if not isinstance(rules, Mapping) or not rules:
        raise TypeError(
            f"rules must be a mapping from globs to tuples of axes, got {rules!r}"
        )
    for glob, spec in rules.items():
        if not isinstance(glob, str) or not isinstance(spec, tuple | jax.P):
            raise TypeError(
                f"rules must map globs to tuples of the names of axes, such as "
                f"(None, 'model'), got {glob!r}: {spec!r}"
            )
    return {glob: tuple(spec) for glob, spec in rules.items()}


def _check_spec(mesh: jax.sharding.Mesh, path: str, leaf: Any, spec: Spec) -> None:
    """Raise unless the mesh can split an array by `spec`."""
    what = f"the rule {spec} for {path!r}, {checks.describe(leaf)},"
    if len(spec) > len(leaf.shape):
        raise ValueError(f"{what} has more dimensions than the array")
    for length, axes in zip(leaf.shape, spec, strict=False):
        names = () if axes is None else (axes,) if isinstance(axes, str) else axes
        if unknown := set(names) - set(mesh.axis_names):
            raise ValueError(
                f"{what} names {sorted(unknown)}; the mesh has {mesh.axis_names}"
            )
        if length % (parts := size_of(mesh, axes)):
            raise ValueError(
                f"{what} splits a dimension of length {length} among {parts} devices, "
                f"which do not divide it"
            )
