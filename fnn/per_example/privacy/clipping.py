"""Sums of clipped per-example gradients: each adds at most a bound."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn import checks, tree
from fnn.per_example.factored import (
    MEMORY_BUDGET,
    FactoredGradients,
    gradients,
    squared_norms,
)
from fnn.per_example.parts.norms import together
from fnn.tree import Pattern
from fnn.types import Array, Key, PyTree, wide
from fnn.values import Value

METHODS = ("abadi", "automatic", "normalized")
RELATIONS = ("add_or_remove", "replace", "zero_out")


class Clipped(NamedTuple):
    """The result of a clipped gradient for a batch of B examples.

    Attributes:
        gradient: The sum of the clipped gradients over `normalize_by`, a tree like the
            parameters; with its noise, if it is private.
        losses: The losses, (B,).
        aux: The loss's other results, with a leading axis of examples.
        norms: The norms before clipping, (B,).
        clipped: The share of the counted examples of which some group was clipped, ().
        finite: Whether loss and norm are finite, (B,).
        counted: Which examples are in the sum, (B,).
    """

    gradient: PyTree
    losses: Array
    aux: PyTree
    norms: Array
    clipped: Array
    finite: Array
    counted: Array


class ClippedGradient(Value):
    """The sum of clipped per-example gradients; see `clipped_gradient`, which makes it.

    Example:
        >>> fnn.per_example.clipped_gradient(fnn.losses.squared_error, 1.0)
        fnn.per_example.ClippedGradient(fnn.losses.squared_error, 1.0)
    """

    loss: Callable[..., Any]
    max_norm: float | tuple[float, ...]
    has_aux: bool = False
    clipping: str | tuple[Pattern, ...] = "flat"
    method: str = "abadi"
    stability: float = 0.01
    normalize_by: float = 1.0
    zero_nonfinite: bool = False
    microbatch: int | None = None
    memory_budget: int = MEMORY_BUDGET

    def __post_init__(self) -> None:
        self._set(max_norm=_tuple(self.max_norm), clipping=_tuple(self.clipping))
        if isinstance(self.clipping, str):
            checks.one_of("clipping", self.clipping, ("flat", "per_leaf"))
        elif not self.clipping:
            raise ValueError("clipping must have a pattern for each group, got none")
        checks.one_of("method", self.method, METHODS)
        bounds = self.max_norm if isinstance(self.max_norm, tuple) else (self.max_norm,)
        for bound in bounds:
            checks.between("max_norm", bound, 0, math.inf)
        if self.method != "abadi" and math.inf in bounds:
            raise ValueError(f"max_norm must be finite for {self.method!r}, got inf")
        if isinstance(self.max_norm, tuple) and isinstance(self.clipping, tuple):
            if len(self.max_norm) != len(self.clipping):
                raise ValueError(
                    f"max_norm must be one number for each group; got {self.max_norm} "
                    f"for the groups {self.clipping}"
                )
        elif isinstance(self.max_norm, tuple):
            raise ValueError(
                f"max_norm may be several numbers where clipping lists groups; got "
                f"{self.max_norm} with clipping={self.clipping!r}"
            )
        checks.above_zero("stability", self.stability)
        checks.above_zero("normalize_by", self.normalize_by)
        if self.microbatch is not None:
            checks.positive_integer("microbatch", self.microbatch)
        checks.positive_integer("memory_budget", self.memory_budget)

    def __call__(
        self,
        params: PyTree,
        *batch: PyTree,
        mask: Array | None = None,
        key: Key | None = None,
    ) -> Clipped:
        """Compute the clipped gradient of a batch.

        Args:
            params: The parameters.
            *batch: Arrays with a leading axis of B examples.
            mask: (B,), booleans: which examples count; by default all. The others fill a
                batch of fixed length; gradient and share ignore them.
            key: Ignored. `make_step` gives it to all such gradients; `PrivateGradient`
                draws noise from it.

        Returns:
            The clipped gradient, and statistics of the gradients before clipping.

        Raises:
            ValueError: If the mask has a different length, or the microbatch does not
                divide the batch.
        """
        count = checks.leading_length(batch, "the batch")
        everyone = mask is None
        mask = jnp.ones(count, bool) if mask is None else jnp.asarray(mask)
        if mask.shape != (count,) or mask.dtype != bool:
            raise ValueError(
                f"mask must be booleans of shape ({count},), got {checks.describe(mask)}"
            )
        if self.microbatch is None or count <= self.microbatch:
            parts = self._sum(params, batch, mask, everyone)
        else:
            parts = self._in_microbatches(params, batch, mask, everyone)
        total, losses, aux, norms, touched, finite = parts
        counted = mask & finite if self.zero_nonfinite else mask
        dtype = losses.dtype
        share = jnp.sum((touched & counted).astype(dtype)) / jnp.maximum(
            jnp.sum(counted.astype(dtype)), 1
        )
        gradient = tree.scale(1 / self.normalize_by, total)
        return Clipped(gradient, losses, aux, norms, share, finite, counted)

    def sensitivity(self, relation: str = "add_or_remove") -> float:
        """Return how much the gradient may change, in norm, between neighbouring batches.

        Args:
            relation: `"add_or_remove"` one example, `"replace"` one by another, or
                `"zero_out"`: exchange one example for one whose gradient is 0.

        Returns:
            C / normalize_by, and twice that for `"replace"`, with C² = Σ of the squared
            bounds of the groups. It holds up to the rounding of the parameters' dtype.
            Unless `zero_nonfinite` is set, it holds only for finite gradients.
        """
        checks.one_of("relation", relation, RELATIONS)
        bounds = self.max_norm if isinstance(self.max_norm, tuple) else (self.max_norm,)
        bound = math.hypot(*bounds) / self.normalize_by
        return 2 * bound if relation == "replace" else bound

    def _sum(
        self, params: PyTree, batch: Sequence[PyTree], mask: Array, everyone: bool
    ) -> Any:
        """Return the clipped sum, losses, aux, norms, and which are clipped and finite."""
        compute = gradients(
            self.loss, has_aux=self.has_aux, memory_budget=self.memory_budget
        )
        g = compute(params, *batch)
        groups, bounds = self._groups(params)
        structure = jax.tree.structure(params)
        squares = squared_norms(g)
        whole = together(squares).norm()
        finite = jnp.isfinite(g.losses) & jnp.isfinite(whole)
        counted = mask & finite if self.zero_nonfinite else mask
        if self.zero_nonfinite or not everyone:
            g = _zeroed(g, counted)
        norms: dict[int, Array] = {}
        for group in set(groups):
            members = zip(squares, groups, strict=True)
            norms[group] = together([s for s, k in members if k == group]).norm()
        factors = {k: self._factor(norms[k], bounds[k]) for k in norms}
        weights = [jnp.where(counted, factors[k], 0) for k in groups]
        each = jax.tree.unflatten(structure, weights)
        total = g.weighted_sum(each)
        touched = jnp.zeros(mask.shape, bool)
        for k, norm in norms.items():
            touched |= norm > bounds[k]
        return total, g.losses, g.aux, whole, touched, finite

    def _in_microbatches(
        self, params: PyTree, batch: Sequence[PyTree], mask: Array, everyone: bool
    ) -> Any:
        count, size = mask.shape[0], self.microbatch or 1
        if count % size:
            raise ValueError(
                f"microbatch must divide the batch, got {size} for {count} examples; "
                f"pad the batch with examples that the mask leaves out"
            )

        def cut(x: Array) -> Array:
            return x.reshape(count // size, size, *x.shape[1:])

        def step(total: PyTree, part: Any) -> Any:
            summed, *each = self._sum(params, part[0], part[1], everyone)
            return jax.tree.map(lambda t, s: t + s.astype(t.dtype), total, summed), each

        dtypes = jax.tree.map(jnp.result_type, params)
        start = jax.tree.map(lambda p, d: jnp.zeros(jnp.shape(p), wide(d)), params, dtypes)
        # (B, ...) -> (B / size, size, ...) for the scan; its stacks go the way back.
        total, each = lax.scan(step, start, jax.tree.map(cut, (batch, mask)))
        total = jax.tree.map(lambda t, dtype: t.astype(dtype), total, dtypes)
        return total, *jax.tree.map(lambda x: x.reshape(count, *x.shape[2:]), each)

    def _groups(self, params: PyTree) -> tuple[list[int], tuple[float, ...]]:
        """Return the group of each leaf, in the tree's order, and each group's bound."""
        leaves = len(jax.tree.leaves(params))
        if self.clipping == "flat":
            groups, number = [0] * leaves, 1
        elif self.clipping == "per_leaf":
            groups, number = list(range(leaves)), leaves
        else:
            number = len(self.clipping)
            masks = [jax.tree.leaves(tree.match(params, p)) for p in self.clipping]
            marked = zip(tree.flatten(params), *masks, strict=True)
            groups = [_only(path, marks) for path, *marks in marked]
        if isinstance(self.max_norm, tuple):
            return groups, self.max_norm
        return groups, (self.max_norm / math.sqrt(number),) * number

    def _factor(self, norm: Array, bound: float) -> Array:
        """Return the factors that scale the gradients of a group, (B,)."""
        if self.method == "automatic":
            return bound / (norm + self.stability)
        # An infinite factor would turn zeros into NaN. No finite gradient needs a factor
        # above the largest number.
        most = jnp.finfo(norm.dtype).max
        scaled = jnp.minimum(bound / jnp.where(norm > 0, norm, 1), most)
        if self.method == "normalized":
            return jnp.where(norm > 0, scaled, 0)
        return jnp.where(norm > bound, scaled, 1)


def clipped_gradient(
    loss: Callable[..., Any],
    max_norm: float | Sequence[float],
    *,
    has_aux: bool = False,
    clipping: str | Sequence[Pattern] = "flat",
    method: str = "abadi",
    stability: float = 0.01,
    normalize_by: float = 1.0,
    zero_nonfinite: bool = False,
    microbatch: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> ClippedGradient:
    """Make the function that sums per-example gradients, each clipped: Σᵢ cᵢ gᵢ.

    The cost is about that of the gradient of the mean loss: one forward pass, one backward
    pass, and the norms; see `gradients`.

    Source: Abadi et al. 2016, "Deep learning with differential privacy"; Bu et al. 2023,
    "Automatic clipping".

    Args:
        loss: `loss(params, *example) -> scalar`, or `(scalar, aux)`, of one example.
        max_norm: C, the bound on the norm that one example adds; or, for groups, a bound
            for each. With K groups and one number, each group has C / √K.
        has_aux: Whether the loss returns a pair.
        clipping: `"flat"` clips the gradient as a whole; `"per_leaf"` each parameter by
            itself. Patterns of paths, one for each group, clip groups; each parameter must
            match one of them.
        method: `"abadi"`: c = min(1, C / ‖g‖); `"automatic"`: C / (‖g‖ + stability);
            `"normalized"`: C / ‖g‖.
        stability: For `"automatic"`.
        normalize_by: The divisor of the sum, for instance the expected batch size.
        zero_nonfinite: Whether to ignore an example with a NaN or infinite loss or norm.
            Otherwise it makes the gradient NaN.
        microbatch: The number of examples that are computed at a time, by `lax.scan`; by
            default all. On a CPU, convolutions in a scan are slow.
        memory_budget: As for `gradients`.

    Returns:
        A value that is called `(params, *batch, mask=None)` and returns a `Clipped`. Call
        it inside `jax.jit`. Its method `sensitivity` returns the bound that private
        training needs. `make_step` and `fit` take
        `functools.partial(clipped_gradient, max_norm=1.0)` as their `gradient`.

    Raises:
        ValueError: If an option is unknown, or a number is out of range.

    Example:
        >>> def loss(w, x):
        ...     return w @ x  # the gradient is x
        >>> clip = fnn.per_example.clipped_gradient(loss, 1.0)
        >>> result = clip(jax.numpy.zeros(2), jax.numpy.array([[0.0, 0.5], [3.0, 4.0]]))
        >>> result.gradient, result.clipped
        (Array([0.6, 1.3], dtype=float32), Array(0.5, dtype=float32))
        >>> clip.sensitivity("replace")
        2.0
    """
    return ClippedGradient(
        loss,
        _tuple(max_norm),
        has_aux,
        _tuple(clipping),
        method,
        stability,
        normalize_by,
        zero_nonfinite,
        microbatch,
        memory_budget,
    )


def _zeroed(g: FactoredGradients, counted: Array) -> FactoredGradients:
    """Set the factors of examples that don't count to 0, as 0 times NaN is NaN."""

    def zero(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        keep = counted.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(keep, x, jnp.zeros((), x.dtype))

    return FactoredGradients(g.losses, g.aux, jax.tree.map(zero, g.leaves))


def _only(path: str, marks: list[bool]) -> int:
    """Return the group of a path, given which groups match it."""
    if sum(marks) != 1:
        which = "none" if not any(marks) else "several"
        raise ValueError(
            f"each parameter must be in one group of clipping; {path!r} is in {which}"
        )
    return marks.index(True)


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value
