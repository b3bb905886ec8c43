"""The program of a function as a flat list of equations that can be run in part.

A jaxpr can be evaluated from its first equation on. A graph can also be walked back: each
variable knows the equation that produces it. And equations can be added, which nothing
evaluates unless it needs them.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

try:
    from jax.extend.core import Literal, Primitive
except ImportError as error:
    raise ImportError(
        f"fnn.per_example reads programs through jax.extend.core, which jax "
        f"{jax.__version__} lacks; install jax>=0.10"
    ) from error
NEEDED = (
    ("Primitive.get_bind_params", hasattr(Primitive, "get_bind_params")),
    ("jax.lax.pcast", hasattr(jax.lax, "pcast")),
    ("ShapedArray.manual_axis_type", hasattr(jax.typeof(0.0), "manual_axis_type")),
)
for name, there in NEEDED:
    if not there:
        raise ImportError(
            f"fnn.per_example needs {name}, which jax {jax.__version__} lacks; please "
            f"report this version"
        )

# Equations that do nothing but call a jaxpr, and the parameter that holds it. These are
# written out. Calls with custom derivative rules are not: without them, the program could
# not be differentiated again by these rules.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


class NotFactoredError(Exception):
    """The gradient is not a sum of products; the message says why, for `explain`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """An array or a number that the program holds."""

    value: Any


Atom: TypeAlias = int | Constant
"""An input of an equation: a variable, given by its number, or a constant."""


@dataclasses.dataclass(eq=False)
class Equation:
    """One operation.

    Attributes:
        name: The name of its primitive; `"apply"` for a function of the package.
        params: The parameters of the primitive.
        inputs: The atoms it reads.
        outputs: The variables that it produces.
        run: Called `(needed, *inputs)`; returns the outputs. An output that is not in the
            set `needed` may be None.
        effects: Whether it is run even if nothing needs its outputs.
        loop: The `Loop` of a scan, once products are taken out of it.
    """

    name: str
    params: dict[str, Any]
    inputs: tuple[Atom, ...]
    outputs: tuple[int, ...]
    run: Callable[..., Sequence[Any]]
    effects: bool = False
    loop: Any = None


class Graph:
    """Equations in an order in which they can be run.

    Attributes:
        inputs: The variables that are given.
        outputs: The atoms the function returns.
        equations: The equations; each reads what those before it produce.
        producer: The equation that produces a variable.
        avals: The abstract value of each variable: its shape and dtype.
        varying: The variables that may differ from example to example.
    """

    def __init__(self) -> None:
        self.inputs: tuple[int, ...] = ()
        self.outputs: tuple[Atom, ...] = ()
        self.equations: list[Equation] = []
        self.producer: dict[int, Equation] = {}
        self.avals: list[Any] = []
        self.varying: set[int] = set()

    def variable(self, aval: Any) -> int:
        """Return a new variable."""
        self.avals.append(aval)
        return len(self.avals) - 1

    def add(
        self,
        name: str,
        params: dict[str, Any],
        inputs: Iterable[Atom],
        outputs: Iterable[int],
        run: Callable[..., Sequence[Any]],
    ) -> Equation:
        """Append an equation."""
        equation = Equation(name, params, tuple(inputs), tuple(outputs), run)
        self.equations.append(equation)
        self.producer.update(dict.fromkeys(equation.outputs, equation))
        if self.varying.intersection(a for a in equation.inputs if isinstance(a, int)):
            self.varying.update(equation.outputs)
        return equation

    def apply(self, function: Callable[..., Any], *inputs: Atom) -> tuple[int, ...]:
        """Append the call of a function of arrays that returns a tuple of arrays."""
        avals = jax.eval_shape(function, *map(self.spec, inputs))
        outputs = tuple(self.variable(aval) for aval in avals)
        self.add("apply", {}, inputs, outputs, lambda _, *xs: function(*xs))
        return outputs

    def spec(self, atom: Atom) -> jax.ShapeDtypeStruct:
        """Return shape and dtype of a variable or a constant."""
        aval = jax.typeof(atom.value) if isinstance(atom, Constant) else self.avals[atom]
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype)

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """Return the shape of a variable or a constant."""
        return self.spec(atom).shape

    def floats(self, atom: Atom) -> bool:
        """Return whether the atom holds floating-point numbers."""
        return bool(jnp.issubdtype(self.spec(atom).dtype, jnp.floating))

    def uses(self, atom: Atom) -> int:
        """Return how often equations and outputs read a variable or a constant."""
        reads = sum(equation.inputs.count(atom) for equation in self.equations)
        return reads + self.outputs.count(atom)

    def is_zero(self, atom: Atom) -> bool:
        """Return whether the program shows that the atom is 0 everywhere."""
        if isinstance(atom, Constant):
            known = not isinstance(atom.value, jax.Array) and np.ndim(atom.value) == 0
            return known and bool(atom.value == 0)
        equation = self.producer.get(atom)
        if equation is None or equation.name not in ("broadcast_in_dim", "reshape"):
            return False
        return self.is_zero(equation.inputs[0])

    def evaluate(self, atoms: Sequence[Atom], inputs: Sequence[Any]) -> list[Any]:
        """Return the values of atoms: run the equations they need, and all with effects."""
        needed = {atom for atom in atoms if isinstance(atom, int)}
        wanted = []  # from the last to the first
        for equation in reversed(self.equations):
            if equation.effects or needed.intersection(equation.outputs):
                wanted.append(equation)
                needed.update(a for a in equation.inputs if isinstance(a, int))
        values: dict[int, Any] = dict(zip(self.inputs, inputs, strict=True))

        def read(atom: Atom) -> Any:
            return atom.value if isinstance(atom, Constant) else values.get(atom)

        for equation in reversed(wanted):
            results = equation.run(needed, *map(read, equation.inputs))
            values.update(zip(equation.outputs, results, strict=True))
        return [read(atom) for atom in atoms]


def trace(function: Callable[..., Any], params: Any, *example: Any) -> tuple[Graph, Any]:
    """Return the graph of a function of trees of arrays, and the tree of its outputs."""
    program, shapes = jax.make_jaxpr(function, return_shape=True)(params, *example)
    parameters, others = (len(jax.tree.leaves(part)) for part in (params, example))
    return from_jaxpr(program, [False] * parameters + [True] * others), shapes


def from_jaxpr(program: Any, varying: Sequence[bool]) -> Graph:
    """Return the graph of a jaxpr, with the jaxprs that it calls written out.

    Args:
        program: The jaxpr, closed or not.
        varying: For each input, whether it may differ from example to example.
    """
    graph, jaxpr = Graph(), getattr(program, "jaxpr", program)
    graph.inputs = tuple(graph.variable(v.aval) for v in jaxpr.invars)
    graph.varying = {x for x, varies in zip(graph.inputs, varying, strict=True) if varies}
    graph.outputs = _inline(graph, program, graph.inputs)
    return graph


def _inline(graph: Graph, program: Any, arguments: Sequence[Atom]) -> tuple[Atom, ...]:
    """Append the equations of a jaxpr, called with `arguments`; return its outputs."""
    jaxpr = getattr(program, "jaxpr", program)
    constants = map(Constant, getattr(program, "consts", ()))
    environment: dict[Any, Atom] = dict(zip(jaxpr.constvars, constants, strict=True))
    environment.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Atom:
        return Constant(atom.val) if isinstance(atom, Literal) else environment[atom]

    for equation in jaxpr.eqns:
        inputs = tuple(map(read, equation.invars))
        results: Sequence[Atom]
        if (called := CALLS.get(equation.primitive.name)) is not None:
            if equation.params.get("differentiated") and equation.params["prevent_cse"]:
                inputs = _fence(graph, inputs)
            results = _inline(graph, equation.params[called], inputs)
        else:
            outputs = [graph.variable(v.aval) for v in equation.outvars]
            run, name = _binding(equation), equation.primitive.name
            added = graph.add(name, equation.params, inputs, outputs, run)
            added.effects, results = bool(equation.effects), added.outputs
        environment.update(zip(equation.outvars, results, strict=True))
    return tuple(map(read, jaxpr.outvars))


def _fence(graph: Graph, inputs: tuple[Atom, ...]) -> tuple[Atom, ...]:
    """Keep XLA from sharing what `jax.checkpoint` recomputes with its first computation."""
    variables = [atom for atom in inputs if isinstance(atom, int) and graph.floats(atom)]
    if not variables:
        return inputs

    def fence(*xs: Any) -> Any:
        return jax.lax.optimization_barrier(xs)

    fenced = dict(zip(variables, graph.apply(fence, *variables), strict=True))
    return tuple(fenced.get(a, a) if isinstance(a, int) else a for a in inputs)


def _binding(equation: Any) -> Callable[..., Sequence[Any]]:
    """Return the function that evaluates an equation as JAX does."""
    primitive, params = equation.primitive, equation.params
    context = getattr(equation, "ctx", None)

    def run(_: Any, *inputs: Any) -> Sequence[Any]:
        manager = context.manager if context is not None else contextlib.nullcontext()
        with manager:
            result = primitive.bind(*inputs, **primitive.get_bind_params(params))
        return result if primitive.multiple_results else (result,)

    return run
