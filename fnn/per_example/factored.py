"""Per-example gradients of any loss, kept as the factors of which they are products.

First the pipeline: trace, extract, evaluate, build, keep. Then the questions to its result.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn import checks, tree
from fnn.per_example.parts import norms
from fnn.per_example.parts.leaf import Kept, Leaf, leaf_of, parts_of
from fnn.per_example.parts.norms import SquaredNorm
from fnn.per_example.parts.products import Formed
from fnn.per_example.report import Explanation, explain
from fnn.per_example.tracing.graph import Graph, trace
from fnn.per_example.tracing.walking import extract_all
from fnn.types import Array, PyTree, Shape

MEMORY_BUDGET = 2**26
SHOWN_LEAVES = 20


def gradients(
    loss: Callable[..., Any],
    *,
    has_aux: bool = False,
    memory_budget: int = MEMORY_BUDGET,
) -> "Callable[..., FactoredGradients]":
    """Make the function that computes the gradients of a loss for each example.

    The gradient of one example is traced. Where a parameter's gradient is a product (of a
    matrix with a vector or a sequence, a convolution, a lookup in a table; also inside
    `scan`, and a sum of several), its operands are kept instead. Other gradients are
    formed. So any loss works, at about the price of one gradient of the mean loss.

    Source: Goodfellow 2015, "Efficient per-example gradient computations"; Bu et al.
    2023, "Differentially private optimization on large model at small cost".

    Args:
        loss: `loss(params, *example) -> scalar`, or `(scalar, aux)`, of one example. Any
            function that JAX can differentiate; it must not couple the examples.
        has_aux: Whether the loss returns a pair.
        memory_budget: Bytes that one parameter may take for temporaries beside the factors.
            Larger work is done for a block of examples at a time.

    Returns:
        A function `(params, *batch) -> FactoredGradients`, each array of the batch having
        a leading axis of examples. Call it inside `jax.jit`.

    Raises:
        TypeError: If a parameter is not of real floating-point numbers.
        ValueError: If the loss is not a scalar, the arrays of the batch differ in length,
            or the loss names an axis that does not exist.

    Example:
        >>> def loss(params, x, y):
        ...     return fnn.losses.squared_error(params["kernel"].T @ x, y)
        >>> params = {"kernel": jax.numpy.ones((3, 2))}
        >>> x, y = jax.numpy.ones((4, 3)), jax.numpy.zeros((4, 2))
        >>> g = fnn.per_example.gradients(loss)(params, x, y)
        >>> g.losses, g.mean()["kernel"].shape
        (Array([18., 18., 18., 18.], dtype=float32), (3, 2))
    """
    checks.positive_integer("memory_budget", memory_budget)

    def compute(params: PyTree, *batch: PyTree) -> FactoredGradients:
        _check_parameters(params)
        if not batch:
            raise ValueError("gradients needs a batch: call it (params, *batch)")
        checks.leading_length(batch, "the batch")
        params = _varying(params, batch)
        one = functools.partial(_one_example, loss, has_aux)
        axes = (None, *[0] * len(batch))
        # The loss is traced once, for one example; `vmap` then batches what is evaluated.
        losses, aux, kept = jax.vmap(one, in_axes=axes)(params, *batch)
        flat, structure = jax.tree.flatten(params)
        count = losses.shape[0]
        leaves = [
            leaf_of(k, jnp.shape(p), jnp.result_type(p), count, memory_budget)
            for k, p in zip(kept, flat, strict=True)
        ]
        return FactoredGradients(losses, aux, jax.tree.unflatten(structure, leaves))

    return compute


def _one_example(
    loss: Callable[..., Any], has_aux: bool, params: PyTree, *example: PyTree
) -> tuple[Array, PyTree, list[Kept]]:
    """Return loss, aux, and what is kept of the gradient of each parameter.

    It is run in `vmap`: all arrays that it returns get a leading axis of examples.
    """
    graph, aux_shape = _trace(loss, has_aux, params, example)
    count = len(jax.tree.leaves(params))
    heads, grads = graph.outputs[:-count], graph.outputs[-count:]
    extracted = extract_all(graph, grads)
    # Evaluate the operands of products, and of the gradients only those to be formed.
    atoms = list(heads)
    for gradient, (products, why) in zip(grads, extracted, strict=True):
        atoms += [gradient] if why else [x for each in products for x in each.operands]
    values = graph.evaluate(atoms, jax.tree.leaves((params, *example)))
    loss_value, *flat_aux = values[: len(heads)]
    rest = iter(values[len(heads) :])
    kept = [
        Kept((Formed(jnp.asarray(next(rest))),), why)
        if why
        else Kept(parts_of([each.build(next(rest), next(rest)) for each in products]), "")
        for products, why in extracted
    ]
    aux = jax.tree.unflatten(jax.tree.structure(aux_shape), flat_aux)
    return loss_value, aux, kept


def _trace(
    loss: Callable[..., Any], has_aux: bool, params: PyTree, example: Sequence[PyTree]
) -> tuple[Graph, PyTree]:
    """Return the graph of loss, aux and gradients, and aux as shapes."""

    def scalar(params: PyTree, *example: PyTree) -> Any:
        return _check_loss(loss(params, *example), has_aux)

    function = jax.value_and_grad(scalar, has_aux=True)
    try:
        graph, ((_, aux_shape), _) = trace(function, params, *example)
    except NameError as error:
        if "unbound axis name" not in str(error):
            raise
        raise ValueError(
            f"the loss couples the examples of a batch ({error}), so that gradients of "
            f"single examples do not exist; normalize within one example, for instance by "
            f"layer or group normalization, or use stored statistics"
        ) from error
    except Exception as error:
        said = (
            f"gradients called the loss with one example, {checks.describe(example)}, and "
            f"not with a batch; if it takes a batch, write the loss of one example, or "
            f"give it x[None] and take its only value"
        )
        if type(error) in (TypeError, ValueError, IndexError):  # as JAX's of shapes are
            clear = type(error)(f"{said}. It raised: {error}")
            for note in getattr(error, "__notes__", ()):  # the path of the layer
                clear.add_note(note)
            raise clear from error
        error.add_note(said)
        raise
    return graph, aux_shape


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FactoredGradients:
    """The gradients g₁ ... g_B of a loss for the examples of a batch; see `gradients`.

    They are computed once for many questions; inside `jax.jit`, only what is asked is
    computed. `FactoredGradients` is a pytree: it crosses `jit`, `vmap` and `scan`.
    Statistics are computed in float32 if the parameters are narrower.

    Attributes:
        losses: The losses of the examples, (B,).
        aux: The auxiliary outputs of the loss, each leaf with a leading axis of examples.

    Example:
        >>> loss = lambda w, x, y: 0.5 * (w @ x - y) ** 2  # gᵢ = (w·xᵢ - yᵢ) xᵢ
        >>> x, y = jax.numpy.array([[3.0, 4.0], [1.0, 0.0]]), jax.numpy.array([1.0, 2.0])
        >>> g = fnn.per_example.gradients(loss)(jax.numpy.zeros(2), x, y)
        >>> g.norms()
        Array([5., 2.], dtype=float32)
    """

    losses: Array
    aux: PyTree
    leaves: PyTree  # a `Leaf` in place of each parameter

    def __repr__(self) -> str:
        count = next(iter(getattr(self.losses, "shape", ())), "?")
        rows = self.explain().rows if count != "?" else ()
        lines = [
            f"  {row.path or 'params'}: {list(row.shape)}, {row.rule}"
            for row in rows[:SHOWN_LEAVES]
        ]
        if len(rows) > SHOWN_LEAVES:
            lines.append(f"  and {len(rows) - SHOWN_LEAVES} more; see explain()")
        return "\n".join([f"FactoredGradients of {count} examples", *lines])

    def norms(self, *, per_leaf: bool = False) -> PyTree:
        """Return ‖gᵢ‖, (B,), of all parameters together or of each, in a tree.

        They are computed in float32 or wider. Let u be the unit roundoff there, 2⁻²⁴ in
        float32. For a product of A, (T, d), and G, (T, p), let n = T + d + p + 8, and
        S = Σₜ (|Aₜ - m| + |m|) |Gₜ|, m being the mean of Aₜ; cotangents of rows looked up
        in a table add their lengths to S. By the rule that `explain` names, the tests hold
        the error to

        - n u S, of the norm: formed (and forgotten), |a|² |g|², rows of a table;
        - n u S², of the squared norm: the centred Gram form, a table that is looked up
          and multiplied, and parts of these. A norm far below S, where positions cancel in
          other ways than through their mean, has few digits, and may be too small.

        No norm is negative, nor NaN where the products of factors are finite. Factors are
        scaled before they are squared, so that a norm is right wherever it is in the range
        of the dtype. Its square may not be in that range, see `squared_norms`.
        """
        if per_leaf:
            return self._map(lambda leaf: leaf.squared_norms().norm())
        return norms.together(squared_norms(self)).norm()

    def squared_norms(self, *, per_leaf: bool = False) -> PyTree:
        """Return ‖gᵢ‖², (B,), of all parameters together or of each, in a tree.

        In float32, it is infinite for norms above 1.8e19, and 0 for those below 1e-19.
        """
        if per_leaf:
            return self._map(lambda leaf: leaf.squared_norms().squared())
        return norms.together(squared_norms(self)).squared()

    def weighted_sum(self, weights: PyTree) -> PyTree:
        """Return Σᵢ wᵢ gᵢ, a tree like the parameters.

        If the gradient of an example is not finite, neither is the sum, even with weight 0.

        Args:
            weights: (B,); or a tree like the parameters, with weights (B,) for each.

        Raises:
            ValueError: If the weights are not one for each example.
        """
        if jax.tree_util.all_leaves([weights]):
            each = self._map(lambda _: _per_example(weights, self.losses.shape))
        else:
            self._check_structure("weights", weights)
            each = jax.tree.map(lambda w: _per_example(w, self.losses.shape), weights)
        return self._map(lambda leaf, w: leaf.weighted_sum(w).astype(leaf.dtype), each)

    def mean(self) -> PyTree:
        """Return 1/B Σᵢ gᵢ, a tree like the parameters: the gradient of the mean loss.

        NaN for an empty batch.
        """
        return self._map(lambda leaf: _mean(leaf).astype(leaf.dtype))

    def inner_products(self, v: PyTree) -> Array:
        """Return ⟨gᵢ, v⟩, (B,), for a tree v like the parameters."""
        self._check_structure("v", v)
        return self._added(self._map(lambda leaf, u: leaf.inner(_like(leaf, u)), v))

    def gram(self, other: "FactoredGradients | None" = None) -> Array:
        """Return ⟨gᵢ, hⱼ⟩, (B, B'), with the gradients of another batch or with its own.

        It is the empirical neural tangent kernel of the loss, and the influence of one
        step on example j upon the loss of example i, up to the learning rate.
        """
        other = self if other is None else other
        mine, theirs = (g._shapes() for g in (self, other))
        if mine != theirs:
            raise ValueError(
                f"other must be of the same parameters, of shapes {mine}, got {theirs}"
            )
        return self._added(self._map(Leaf.gram, other.leaves))

    def second_moment(self) -> PyTree:
        """Return 1/B Σᵢ gᵢ², element by element, a tree like the parameters.

        It is the diagonal of the empirical Fisher matrix 1/B Σᵢ gᵢ gᵢᵀ.
        """
        return self._map(_second_moment)

    def variance(self) -> PyTree:
        """Return 1/B Σᵢ (gᵢ - ḡ)², element by element, a tree like the parameters.

        It is computed as the second moment less the square of the mean, and is not below
        0. Its error, relative to the second moment, is that of the dtype.
        """
        return self._map(lambda leaf: _variance(_second_moment(leaf), _mean(leaf)))

    def signal_to_noise(self) -> PyTree:
        """Return |ḡ| / √variance, element by element; 0 where both are 0."""

        def ratio(leaf: Leaf) -> Array:
            mean = _mean(leaf)
            deviation = jnp.sqrt(_variance(_second_moment(leaf), mean))
            return jnp.where(mean == 0, 0, jnp.abs(mean) / deviation)

        return self._map(ratio)

    def materialize(self, examples: Any = None) -> PyTree:
        """Return the gradients themselves, (B, ...) for each parameter.

        Args:
            examples: Integers (n,), which examples to return; by default all.
        """
        chosen = self if examples is None else self.take(examples)
        return chosen._map(lambda leaf: leaf.formed().astype(leaf.dtype))

    def take(self, examples: Any) -> "FactoredGradients":
        """Return the gradients of some examples, given as integers (n,)."""
        examples = jnp.asarray(examples)
        if examples.ndim != 1 or not jnp.issubdtype(examples.dtype, jnp.integer):
            raise TypeError(
                f"examples must be integers, (n,), got {checks.describe(examples)}"
            )
        losses, aux = jax.tree.map(lambda x: x[examples], (self.losses, self.aux))
        leaves = self._map(lambda leaf: leaf.take(examples))
        return FactoredGradients(losses, aux, leaves)

    def explain(self) -> Explanation:
        """Return how each parameter's norms are computed, why, and at what cost."""
        return explain(self.leaves, self.losses.shape[0])

    def _map(self, function: Callable[..., Any], *rest: PyTree) -> PyTree:
        return jax.tree.map(
            function, self.leaves, *rest, is_leaf=lambda node: isinstance(node, Leaf)
        )

    def _shapes(self) -> dict[str, Shape]:
        """Return the shapes of the parameters by path."""
        specs = self._map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        return {path: spec.shape for path, spec in tree.flatten(specs).items()}

    def _check_structure(self, name: str, value: PyTree) -> None:
        structures = {jax.tree.structure(x) for x in (self._map(lambda _: 0), value)}
        if len(structures) > 1:
            raise ValueError(
                f"{name} must be a tree like the parameters, got {checks.describe(value)}"
            )

    def _added(self, each: PyTree) -> Array:
        """Return the sum of arrays, one for each parameter, in the widest dtype."""
        arrays: list[Array] = jax.tree.leaves(each)
        widest = max((x.dtype for x in arrays), key=lambda dtype: dtype.itemsize)
        return functools.reduce(operator.add, (x.astype(widest) for x in arrays))


def squared_norms(g: FactoredGradients) -> list[SquaredNorm]:
    """Return the squared norms for each parameter, all in the widest of their dtypes."""
    leaves = jax.tree.leaves(g.leaves, is_leaf=lambda node: isinstance(node, Leaf))
    widest = max((leaf.wide for leaf in leaves), key=lambda d: jnp.dtype(d).itemsize)
    return [leaf.squared_norms().astype(widest) for leaf in leaves]


def _check_parameters(params: PyTree) -> None:
    leaves = jax.tree.leaves(params)
    if not all(map(_is_real, leaves)):
        wrong = {p: x for p, x in tree.flatten(params).items() if not _is_real(x)}
        path, leaf = next(iter(wrong.items()))
        raise TypeError(
            f"parameters must be real floating-point numbers; {path or 'params'} is "
            f"{checks.describe(leaf)}; let the loss close over what is not trained"
        )
    if not leaves:
        raise ValueError(f"params holds no array: {params!r}")


def _is_real(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    floating = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    return bool(floating) or isinstance(leaf, float)


def _varying(params: PyTree, batch: PyTree) -> PyTree:
    """Let parameters differ over the mesh axes of `shard_map` that the batch differs over.

    Otherwise JAX would sum the gradient of a parameter that all devices share over them.
    """

    def axes(x: Any) -> frozenset[str]:
        return jax.typeof(x).manual_axis_type.varying

    everywhere = frozenset[str]().union(*map(axes, jax.tree.leaves(batch)))

    def vary(x: Any) -> Any:
        new = tuple(sorted(everywhere - axes(x)))
        return lax.pcast(x, new, to="varying") if new else x

    return jax.tree.map(vary, params)


def _check_loss(result: Any, has_aux: bool) -> tuple[Array, PyTree]:
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(
            f"with has_aux, the loss must return a pair (scalar, aux), got {result!r}"
        )
    value, aux = result if has_aux else (result, None)
    if not hasattr(value, "dtype") or np.shape(value) != ():
        hint = "; did you mean has_aux=True?" if isinstance(value, tuple) else ""
        raise ValueError(
            f"the loss of one example must be a scalar, got {checks.describe(value)}{hint}"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"the loss must be a floating-point number, got {checks.describe(value)}"
        )
    return value, aux


def _per_example(weights: Any, shape: tuple[int, ...]) -> Array:
    if np.shape(weights) != shape:
        raise ValueError(
            f"weights must be one for each of {shape[0]} examples, "
            f"got {checks.describe(weights)}"
        )
    return jnp.asarray(weights)


def _like(leaf: Leaf, direction: Any) -> Array:
    if jnp.shape(direction) != leaf.shape:
        raise ValueError(
            f"v must be like the parameters: one has shape {leaf.shape}, v there "
            f"{checks.describe(jnp.asarray(direction))}"
        )
    return jnp.asarray(direction)


def _mean(leaf: Leaf) -> Array:
    """Return the mean gradient in the dtype of statistics."""
    return leaf.weighted_sum(None) / jnp.asarray(leaf.count, leaf.wide)


def _second_moment(leaf: Leaf) -> Array:
    return leaf.sum_of_squares() / jnp.asarray(leaf.count, leaf.wide)


def _variance(square: Array, mean: Array) -> Array:
    return jnp.maximum(square - jnp.square(mean), 0)
