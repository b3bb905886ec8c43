"""State dicts of PyTorch from parameters and state, and the other way round."""

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import jax
import numpy as np

from fnn import checkpoint, checks, tree
from fnn.layers.agreement import check_agreement
from fnn.layers.base import Layer, spec
from fnn.pytorch.links import find_links
from fnn.types import NDArray, Params, PyTree, State

COUNTER = "num_batches_tracked"
"""The buffer of batch normalization that only PyTorch has."""


def to_state_dict(
    model: Layer,
    params: Params,
    state: State | None,
    x: PyTree,
    *,
    names: Mapping[str, str] | None = None,
) -> dict[str, NDArray]:
    """Return parameters and state as the `state_dict` of the same model in PyTorch.

    Args:
        model: A model of layers that PyTorch has.
        params: Its parameters.
        state: Its state; `{}` or `None` if it has none.
        x: One example, or its `jax.ShapeDtypeStruct`.
        names: PyTorch's names of modules, by fnn's paths of layers; see the package's docs.

    Raises:
        ValueError: If parameters or state are not those of the model, if a layer has no
            counterpart, a path in `names` is not that of a layer, or two arrays would have
            the same name.

    Example:
        >>> from fnn import pytorch
        >>> model, x = fnn.Sequential(fnn.Dense(2), jax.nn.relu), jax.numpy.ones(3)
        >>> params, state = model.init(jax.random.key(0), x)
        >>> state_dict = pytorch.to_state_dict(model, params, state, x)
        >>> {name: array.shape for name, array in state_dict.items()}
        {'0.bias': (2,), '0.weight': (2, 3)}
    """
    state = {} if state is None else state
    links = find_links(model, x, names or {})
    check_agreement(model, params, state, spec(x))
    leaves = tree.flatten({"params": params, "state": state})
    return {rule.name: rule.to(np.asarray(leaves[path])) for path, rule in links}


def from_state_dict(
    state_dict: Mapping[str, Any],
    model: Layer,
    x: PyTree,
    *,
    names: Mapping[str, str] | None = None,
) -> tuple[Params, State]:
    """Return parameters and state from the `state_dict` of the same model in PyTorch.

    Args:
        state_dict: Arrays by name: tensors on the CPU, or NumPy's.
        model: As in `to_state_dict`, like the other arguments.
        x: One example, or its `jax.ShapeDtypeStruct`.
        names: PyTorch's names of modules, by fnn's paths of layers.

    Raises:
        TypeError: If `state_dict` is not a mapping, or a value is not an array that NumPy
            can read; the error says how to convert it.
        ValueError: As in `to_state_dict`, or if arrays are missing, superfluous, or of
            other shapes or dtypes than the model's; all are listed.

    Example:
        >>> from fnn import pytorch
        >>> model = fnn.Dense(2)
        >>> state_dict = {"weight": jax.numpy.ones((2, 3)), "bias": jax.numpy.zeros(2)}
        >>> params, state = pytorch.from_state_dict(state_dict, model, jax.numpy.ones(3))
        >>> params["kernel"].shape
        (3, 2)
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict must be a mapping from names to arrays, such as "
            f"module.state_dict(), got {checks.describe(state_dict)}"
        )
    links = find_links(model, x, names or {})
    params, state = jax.eval_shape(model.init, jax.random.key(0), spec(x))
    template = {"params": params, "state": state}
    specs = tree.flatten(template)
    given = {
        name: checks.as_numpy(value, f"state_dict {name!r}")
        for name, value in state_dict.items()
        if not name.endswith(COUNTER)
    }
    known = {rule.name for _, rule in links}
    problems = [f"{name!r} is not in the model" for name in given if name not in known]
    leaves = {}
    for path, rule in links:
        wanted = checks.describe(rule.to(np.zeros(specs[path].shape, specs[path].dtype)))
        if rule.name not in given:
            problems.append(f"{rule.name!r} is missing: {wanted}, for {path!r}")
        elif (got := checks.describe(given[rule.name])) != wanted:
            problems.append(f"{rule.name!r} is {got}, but {path!r} needs {wanted}")
        else:
            leaves[path] = rule.back(given[rule.name])
    if problems:
        shown = "".join(f"\n  {problem}" for problem in sorted(problems))
        raise ValueError(f"the state_dict does not fit the model:{shown}")
    full = tree.map_with_path(lambda path, _: jax.numpy.array(leaves[path]), template)
    return full["params"], full["state"]


def save(
    path: str | PathLike[str],
    model: Layer,
    params: Params,
    state: State,
    x: PyTree,
    *,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write a file for PyTorch, in the safetensors format.

    There, `model.load_state_dict(safetensors.torch.load_file(path))` reads it.

    Args:
        path: The file's path; other arguments are those of `to_state_dict`.
        model: A model of layers that PyTorch has.
        params: Its parameters.
        state: Its state.
        x: One example, or its `jax.ShapeDtypeStruct`.
        names: PyTorch's names of modules, by fnn's paths of layers.

    Raises:
        ValueError: As in `to_state_dict`.

    Example:
        >>> import pathlib, tempfile
        >>> from fnn import pytorch
        >>> model, x = fnn.Dense(2), jax.numpy.ones(3)
        >>> params, state = model.init(jax.random.key(0), x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "model.safetensors")
        ...     pytorch.save(path, model, params, state, x)
        ...     restored, _ = pytorch.load(path, model, x)
        >>> bool((restored["kernel"] == params["kernel"]).all())
        True
    """
    checkpoint.save(path, to_state_dict(model, params, state, x, names=names))


def load(
    path: str | PathLike[str],
    model: Layer,
    x: PyTree,
    *,
    names: Mapping[str, str] | None = None,
) -> tuple[Params, State]:
    """Read parameters and state from a file of PyTorch.

    Args:
        path: A file that ends in `.safetensors`, or one written by
            `torch.save(state_dict, path)`. The latter needs torch, which then reads only
            arrays, no code.
        model: A model of layers that PyTorch has.
        x: One example, or its `jax.ShapeDtypeStruct`.
        names: PyTorch's names of modules, by fnn's paths of layers.

    Raises:
        ValueError: As in `from_state_dict`; `fnn.checkpoint.CorruptedError`, which is one,
            if the file is damaged.
        ImportError: If it is not a safetensors file and torch is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from fnn import pytorch
        >>> state_dict = {"fc.weight": jax.numpy.ones((2, 3))}
        >>> model = fnn.Sequential(fnn.Dense(2, bias=False))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "model.safetensors")
        ...     fnn.checkpoint.save(path, state_dict)
        ...     x, names = jax.numpy.ones(3), {"dense_0": "fc"}
        ...     params, state = pytorch.load(path, model, x, names=names)
        >>> params["dense_0"]["kernel"].shape
        (3, 2)
    """
    if fspath(path).endswith(".safetensors"):
        state_dict = checkpoint.load(path, verify=False)
    else:
        import torch

        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    return from_state_dict(state_dict, model, x, names=names)
