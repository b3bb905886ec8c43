"""Taking products out of `lax.scan`: its steps then put out factors, not gradients.

A weight that every step has for its own (layers stacked over depth) gets its gradient as
a stacked output: the steps become batch axis N of one product. A weight that all steps
share (a recurrent network) gets it as a sum in the carry: they become part of T.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.per_example.parts import lookups, products
from fnn.per_example.tracing.graph import Atom, Equation, Graph, from_jaxpr
from fnn.per_example.tracing.paths import Found, NotFactoredError, Path
from fnn.types import Array


class Pieces(NamedTuple):
    """What is put out in place of an array: itself, or what it is concatenated of."""

    atoms: tuple[Atom, ...]
    axis: int = 0

    def joined(self, stacks: dict[Atom, Array]) -> Array:
        """Return the stack of the whole, given those of the pieces."""
        first, *others = (stacks[atom] for atom in self.atoms)
        return jnp.concatenate([first, *others], self.axis + 1) if others else first


@dataclasses.dataclass(eq=False)
class Loop:
    """A scan whose steps put out more than before, and perhaps carry less."""

    body: Graph
    consts: int
    carries: int
    length: int
    reverse: bool
    unroll: Any
    outputs: tuple[int, ...]  # of the scan as it was
    emitted: dict[Atom, int]  # what the steps put out besides, and its stacked variable
    sums: set[int]  # the carries that hold nothing but sums of products

    def run(self, needed: set[int], *inputs: Any) -> Sequence[Any]:
        """Run the scan without the sums and the outputs that nobody needs."""
        consts, rest = inputs[: self.consts], inputs[self.consts :]
        initial, xs = rest[: self.carries], rest[self.carries :]
        wanted = [output in needed for output in self.outputs]
        kept = [k for k in range(self.carries) if wanted[k] or k not in self.sums]
        stacked = [k for k in range(self.carries, len(self.outputs)) if wanted[k]]
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
        """Return for all that is emitted what it is concatenated of, if others share it.

        The cotangents of gates do: pieces that are put out once take less memory.
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
    path: Path,
    find: Callable[[Graph, Atom, Path], list[Found]],
) -> list[Found]:
    """Return the products that form one output of a scan, outside of it.

    Raises:
        NotFactoredError: If the output is not formed by products alone.
    """
    loop = equation.loop or opened(graph, equation)
    if loop is None:
        raise NotFactoredError("formed by scan, whose parameters this JAX names otherwise")
    place = loop.outputs.index(atom)
    summed, body = place < loop.carries, loop.body
    parts = _addends(loop, place) if summed else [body.outputs[place]]
    try:
        steps = [term for part in parts for term in find(body, part, Path())]
        for term in steps:
            _check(term, summed)
    except NotFactoredError as reason:
        raise NotFactoredError(f"in a scan, {reason}") from None
    equation.loop, equation.run = loop, loop.run
    terms = [_lift(graph, equation, term, summed, path) for term in steps]
    if summed:
        loop.sums.add(place)
        terms += find(graph, equation.inputs[loop.consts + place], path)
    return terms


def opened(graph: Graph, equation: Equation) -> Loop | None:
    """Return the parts of a scan, or None if this JAX's scan has other parameters."""
    params = equation.params
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
    """Return what each step adds to a carry, which must do nothing but add."""
    body, carried = loop.body, loop.body.inputs[loop.consts + place]
    if body.uses(carried) != 1:
        raise NotFactoredError("carried by a scan that reads it")
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
        raise NotFactoredError("carried by a scan that does not add to it")
    return addends


def _check(term: Found, summed: bool) -> None:
    if term.kind == "dot_general":
        return
    if not summed:
        raise NotFactoredError(f"a {term.kind} for each step")
    if term.params.get("feature_group_count", 1) != 1:
        raise NotFactoredError("a convolution with a grouped batch")


def _lift(
    graph: Graph,
    equation: Equation,
    term: Found,
    summed: bool,
    path: Path,
) -> Found:
    """Return the product of all steps that the product of one step is part of."""
    operands = tuple(_emit(graph, equation, operand) for operand in term.operands)
    params = dict(term.params)
    views = term.views if summed else _lifted(term, equation.loop.length)
    if term.kind == "dot_general":
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
        flat = functools.partial(_flat, term.kind, params)
        operands = graph.apply(flat, *operands)
    views = (*views, *path.views)
    lifted = dataclasses.replace(term, operands=operands, params=params, views=views)
    return lifted.scaled(graph, path.scales)


def _lifted(term: Found, length: int) -> tuple[Any, ...]:
    return tuple(view.lifted(length) for view in term.views)


def _flat(kind: str, params: dict[str, Any], a: Array, b: Array) -> tuple[Array, Array]:
    """Merge the axis of the steps into the axis over which one step sums."""
    if kind == "lookup":
        if b.shape[1] < a.shape[1]:  # one row for all ids of a step
            vocabulary = math.prod(params["shape"][axis] for axis in params["table"])
            b = lookups.spread(a, b, vocabulary)
        return products.merge(a, 0), products.merge(b, 0)
    numbers = params["dimension_numbers"]
    return products.merge(a, numbers.lhs_spec[1]), products.merge(b, numbers.rhs_spec[1])


def _emit(graph: Graph, equation: Equation, atom: Atom) -> int:
    """Return the variable that stacks what `atom` is in each step of the scan."""
    loop = equation.loop
    if atom not in loop.emitted:
        aval = loop.body.spec(atom)
        stacked = jax.ShapeDtypeStruct((loop.length, *aval.shape), aval.dtype)
        loop.emitted[atom] = graph.variable(stacked)
        equation.outputs = (*equation.outputs, loop.emitted[atom])
        graph.producer[loop.emitted[atom]] = equation
        graph.varying.add(loop.emitted[atom])
    return loop.emitted[atom]
