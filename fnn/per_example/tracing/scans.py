"""Taking products out of `lax.scan`: its steps then emit operands, not gradients.

A weight of which each step has its own slice (layers stacked over depth) gets its gradient
as a stacked output. The steps become the axis N of one product:

    step: gW: f32[d,p] = dot_general h dy  ->  g = dot_general hs dys   hs (L, T, d)

A weight that all steps share (a recurrent network) gets its gradient as a sum in the carry.
The steps become part of T, and the scan need not carry the sum:

    step: gW: f32[d,p] = dot_general h dy
          c' = add_any c gW                ->  g = dot_general hs dys   over L and T

JAX's derivative of a gate r stacks r, 1 - r and r (1 - r) of each step, for the scan of the
backward pass. Where that scan also emits operands, `rederive` lets it read r alone, and
compute the others again. So it takes no more memory than before.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.per_example.parts import lookups, products
from fnn.per_example.tracing.graph import (
    Atom,
    Constant,
    Equation,
    Graph,
    NotFactoredError,
    from_jaxpr,
)
from fnn.types import Array

if TYPE_CHECKING:  # `walking` imports this module
    from fnn.per_example.tracing.walking import Path, TracedProduct

CHEAP = ("add", "mul", "neg", "square", "sub")
FEW = 4  # such operations take no longer than reading what they compute


class Pieces(NamedTuple):
    """The arrays to emit for one: itself, or the pieces that it is concatenated from."""

    atoms: tuple[Atom, ...]
    axis: int = 0

    def joined(self, stacks: dict[Atom, Array]) -> Array:
        """Return the stack of the whole, given the stacks of the pieces."""
        first, *others = (stacks[atom] for atom in self.atoms)
        return jnp.concatenate([first, *others], self.axis + 1) if others else first


@dataclasses.dataclass(eq=False)
class Loop:
    """A scan whose steps emit more than before, and perhaps carry less.

    Attributes:
        body: The graph of one step.
        consts: The number of inputs that are the same for all steps.
        carries: The number of inputs that are carried; the rest is sliced.
        length: The number of steps.
        reverse: As for `lax.scan`.
        unroll: As for `lax.scan`.
        outputs: The outputs of the scan as it was: carries, and then stacks.
        emitted: Atoms of the body that the steps emit besides, and for each the variable of
            its stack in the graph around.
        sums: The places of carries that hold nothing but sums of products.
    """

    body: Graph
    consts: int
    carries: int
    length: int
    reverse: bool
    unroll: Any
    outputs: tuple[int, ...]
    emitted: dict[Atom, int]
    sums: set[int]

    def run(self, needed: set[int], *inputs: Any) -> Sequence[Any]:
        """Run the scan without the sums and the outputs that nothing needs."""
        consts, rest = inputs[: self.consts], inputs[self.consts :]
        initial, xs = rest[: self.carries], rest[self.carries :]
        wanted = [output in needed for output in self.outputs]
        kept = [k for k in range(self.carries) if wanted[k] or k not in self.sums]
        stacked = [k for k in range(self.carries, len(self.outputs)) if wanted[k]]
        # A step returns the kept carries, then the wanted stacks, then the emitted pieces.
        pieces = self._pieces()
        distinct = list(dict.fromkeys(x for made in pieces.values() for x in made.atoms))
        atoms = [self.body.outputs[k] for k in (*kept, *stacked)] + distinct

        def step(carry: list[Any], x: Any) -> tuple[list[Any], list[Any]]:
            carried: list[Any] = [None] * self.carries
            for k, value in zip(kept, carry, strict=True):
                carried[k] = value
            values = self.body.evaluate(atoms, [*consts, *carried, *x])
            return values[: len(kept)], values[len(kept) :]

        final, ys = lax.scan(
            step,
            [initial[k] for k in kept],
            list(xs),
            self.length,
            self.reverse,
            self.unroll,
        )
        results: list[Any] = [None] * len(self.outputs)
        for k, value in zip((*kept, *stacked), (*final, *ys), strict=False):
            results[k] = value
        stacks = dict(zip(distinct, ys[len(stacked) :], strict=True))
        return [*results, *(made.joined(stacks) for made in pieces.values())]

    def _pieces(self) -> dict[Atom, Pieces]:
        """Return for each emitted array the pieces to emit, if arrays share any of them.

        The cotangents of gates do: pieces that are emitted once take less memory.
        """
        made = {whole: self._concatenated(whole) for whole in self.emitted}
        uses = collections.Counter(x for pieces in made.values() for x in pieces.atoms)
        for whole, pieces in made.items():
            if all(uses[atom] == 1 for atom in pieces.atoms):
                made[whole] = Pieces((whole,))
        return made

    def _concatenated(self, atom: Atom) -> Pieces:
        equation = self.body.producer.get(atom) if isinstance(atom, int) else None
        if equation is None or equation.name != "concatenate":
            return Pieces((atom,))
        return Pieces(equation.inputs, equation.params["dimension"])


def hoist(
    graph: Graph,
    equation: Equation,
    atom: Atom,
    path: "Path",
    extract: Callable[..., "list[TracedProduct]"],
) -> "list[TracedProduct]":
    """Return the products that form one output of a scan, outside of it.

    The equation changes only once all products of a step are found. It then has more
    outputs, and `Loop.run` still computes the old ones if they are needed.

    Args:
        graph: The graph around the scan.
        equation: The scan.
        atom: Its output, a gradient.
        path: The path from the gradient to the output.
        extract: `walking.extract`, for the body of the scan and for the initial carry.

    Raises:
        NotFactoredError: If the output is not formed by products alone.
    """
    loop = equation.loop or opened(graph, equation)
    if loop is None:
        raise NotFactoredError("in a scan, which this version of JAX writes differently")
    place = loop.outputs.index(atom)
    summed, body = place < loop.carries, loop.body
    gradients = _addends(loop, place) if summed else [body.outputs[place]]
    try:
        of_a_step = [product for part in gradients for product in extract(body, part)]
        for product in of_a_step:
            _check(product, summed)
    except NotFactoredError as reason:
        raise NotFactoredError(f"in a scan, {reason}") from None
    equation.loop, equation.run = loop, loop.run
    lifted = [_lift(graph, equation, product, summed, path) for product in of_a_step]
    if summed:
        loop.sums.add(place)
        # The carry's initial value is part of the sum: a gradient from after the scan.
        lifted += extract(graph, equation.inputs[loop.consts + place], path)
    return lifted


def opened(graph: Graph, equation: Equation) -> Loop | None:
    """Return the parts of a scan, or None if this JAX's scan has other parameters."""
    params = equation.params
    # Versions of JAX have the numbers of inputs as parameters, or in a tree, `ft_in`.
    if "num_carry" in params:
        consts, carries = params["num_consts"], params["num_carry"]
    elif hasattr(params.get("ft_in"), "unpack"):
        consts, carries, _ = map(len, params["ft_in"].unpack())
    else:
        return None
    varying = [x in graph.varying for x in equation.inputs]
    varying[consts : consts + carries] = [True] * carries
    return Loop(
        from_jaxpr(params["jaxpr"], varying),
        consts,
        carries,
        params["length"],
        params["reverse"],
        params["unroll"],
        equation.outputs,
        {},
        set(),
    )


def _addends(loop: Loop, place: int) -> list[Atom]:
    """Return what each step adds to a carry; it must do nothing else with the carry."""
    body, carried = loop.body, loop.body.inputs[loop.consts + place]
    if body.uses(carried) != 1:
        raise NotFactoredError("carried by a scan whose steps read it")
    addends, queue, seen = [], [body.outputs[place]], False
    while queue:
        atom = queue.pop()
        equation = body.producer.get(atom) if isinstance(atom, int) else None
        if atom == carried:
            seen = True
        elif equation is not None and equation.name == "add_any" and body.uses(atom) == 1:
            queue.extend(equation.inputs)
        else:
            addends.append(atom)
    if not seen:
        raise NotFactoredError("carried by a scan whose steps do not add to it")
    return addends


def _check(product: "TracedProduct", summed: bool) -> None:
    """Raise if products of this kind can't be joined over steps."""
    if product.kind == "dot_general":
        return
    if not summed:
        what = "lookup" if product.kind == "lookup" else "convolution"
        raise NotFactoredError(f"a {what} for each step")
    if product.params.get("feature_group_count", 1) != 1:
        raise NotFactoredError("a convolution with a grouped batch")


def _lift(
    graph: Graph,
    equation: Equation,
    product: "TracedProduct",
    summed: bool,
    path: "Path",
) -> "TracedProduct":
    """Return the product of all steps that the product of one step is part of.

    For a sum over L steps of `dot_general` with operands (T, d) and (T, p), contracted over
    axis 0: operands (L, T, d) and (L, T, p), contracted over axes 0 and 1. For a stack of
    them, axis 0 is a batch axis instead, and the views leave it where it is.
    """
    operands = tuple(_emit(graph, equation, operand) for operand in product.operands)
    params, chain = dict(product.params), product.views
    if not summed:
        chain = tuple(view.lifted(equation.loop.length) for view in chain)
    if product.kind == "dot_general":
        contract, batch = (
            tuple(tuple(axis + 1 for axis in axes) for axes in pair)
            for pair in params["dimension_numbers"]
        )
        if summed:
            contract = tuple((0, *axes) for axes in contract)
        else:
            batch = tuple((0, *axes) for axes in batch)
        params["dimension_numbers"] = (contract, batch)
    else:
        flat = functools.partial(_flat, product.kind, params)
        operands = graph.apply(flat, *operands)
    chain = (*chain, *path.views)
    lifted = dataclasses.replace(product, operands=operands, params=params, views=chain)
    return lifted.scaled(graph, path.scales)


def _flat(kind: str, params: dict[str, Any], a: Array, b: Array) -> tuple[Array, Array]:
    """Merge the axis of L steps into the axis over which one step sums.

    For a lookup, ids (L, T) and rows (L, T, p) become (L T,) and (L T, p). For a
    convolution, it is the axis of images, which JAX reads as that of channels.
    """
    if kind == "lookup":
        if b.shape[1] < a.shape[1]:  # one row for all ids of a step
            vocabulary = math.prod(params["shape"][axis] for axis in params["table"])
            b = lookups.repeat_row(a, b, vocabulary)
        return products.merge(a, 0), products.merge(b, 0)
    numbers = params["dimension_numbers"]
    return products.merge(a, numbers.lhs_spec[1]), products.merge(b, numbers.rhs_spec[1])


def _emit(graph: Graph, equation: Equation, atom: Atom) -> int:
    """Return the variable that stacks the values of `atom` in all steps of the scan."""
    loop = equation.loop
    if atom not in loop.emitted:
        aval = loop.body.spec(atom)
        stacked = jax.ShapeDtypeStruct((loop.length, *aval.shape), aval.dtype)
        loop.emitted[atom] = graph.variable(stacked)
        equation.outputs = (*equation.outputs, loop.emitted[atom])
        graph.producer[loop.emitted[atom]] = equation
        graph.varying.add(loop.emitted[atom])
    return loop.emitted[atom]


def rederive(graph: Graph) -> None:
    """Let scans that emit operands recompute cheap residuals instead of reading them."""
    for equation in graph.equations:
        if equation.loop is None:
            continue
        read = [graph.producer.get(x) for x in equation.inputs if isinstance(x, int)]
        for source in dict.fromkeys(read):
            if source is not None and source.name == "scan" and source.loop is None:
                forward = opened(graph, source)
                if forward is not None:
                    _rederive(equation, forward)


def _rederive(equation: Equation, source: Loop) -> None:
    """Recompute the residuals that a few cheap operations derive from other residuals.

    Args:
        equation: The scan that reads the residuals, of the backward pass.
        source: The scan that stacks them, of the forward pass.
    """
    body, inputs = equation.loop.body, list(equation.inputs)
    places = _places(equation, source)
    names: dict[Atom, int] = {atom: body.inputs[k] for atom, k in places.items()}
    # Derive the residuals first, then run the rest of the body as it was.
    before, body.equations = body.equations, []
    for made in source.body.equations:
        for atom in made.outputs:
            steps = _steps(source.body, atom, names) if atom in places else []
            for step in steps:
                _copy(step, source.body, body, names)
            if steps:
                inputs[places[atom]] = Constant(None)
    body.equations += before
    equation.inputs = tuple(inputs)


def _places(equation: Equation, source: Loop) -> dict[Atom, int]:
    """Return at which input an equation reads each stack of another scan.

    The keys are atoms of the other scan's body.
    """
    first = equation.loop.consts + equation.loop.carries
    stacked = source.outputs[source.carries :]
    return {
        source.body.outputs[source.outputs.index(atom)]: place
        for place, atom in enumerate(equation.inputs)
        if place >= first and atom in stacked
    }


def _steps(body: Graph, atom: int, known: dict[Atom, int]) -> list[Equation]:
    """Return the few cheap operations that derive an atom from known ones, or none."""
    steps: list[Equation] = []
    queue = [atom]
    while queue:
        step = body.producer.get(queue.pop())
        if step is None or step.name not in CHEAP or len(steps) == FEW:
            return []
        steps.append(step)
        queue += [x for x in step.inputs if isinstance(x, int) and x not in known]
    return list(dict.fromkeys(reversed(steps)))


def _copy(step: Equation, source: Graph, body: Graph, names: dict[Atom, int]) -> None:
    """Append an operation of one body to another, whose variables `names` has."""
    for output in step.outputs:
        names.setdefault(output, body.variable(source.avals[output]))
    inputs = [names[x] if isinstance(x, int) else x for x in step.inputs]
    outputs = [names[x] for x in step.outputs]
    body.add(step.name, step.params, inputs, outputs, step.run)
