"""Residuals that a scan computes again from others, instead of reading them.

JAX's derivative of a gate r stacks r, 1 - r and r (1 - r) of each step for the scan back.
Where that also puts out factors, it gets r alone, and memory is what it was.
"""

from fnn.per_example.tracing import scans
from fnn.per_example.tracing.graph import Atom, Constant, Equation, Graph
from fnn.per_example.tracing.scans import Loop

CHEAP = ("add", "mul", "neg", "square", "sub")
FEW = 4  # operations, which take no longer than reading what they compute


def rederive(graph: Graph) -> None:
    """Let scans out of which products were taken compute what they need not read."""
    for equation in graph.equations:
        if equation.loop is None:
            continue
        read = [graph.producer.get(x) for x in equation.inputs if isinstance(x, int)]
        for source in dict.fromkeys(read):
            if source is not None and source.name == "scan" and source.loop is None:
                opened = scans.opened(graph, source)
                if opened is not None:
                    _rederive(equation, opened)


def _rederive(equation: Equation, source: Loop) -> None:
    """Compute what a few operations make of the rest that another scan stacked."""
    body, inputs = equation.loop.body, list(equation.inputs)
    places = _places(equation, source)
    names: dict[Atom, int] = {atom: body.inputs[k] for atom, k in places.items()}
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
    """Return where an equation reads the stacks of what another scan's steps computed."""
    first = equation.loop.consts + equation.loop.carries
    stacked = source.outputs[source.carries :]
    return {
        source.body.outputs[source.outputs.index(atom)]: place
        for place, atom in enumerate(equation.inputs)
        if place >= first and atom in stacked
    }


def _steps(body: Graph, atom: int, known: dict[Atom, int]) -> list[Equation]:
    """Return the few operations that make an atom of known ones, if there are such."""
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
    """Append an operation of one body to another, where variables have other names."""
    for output in step.outputs:
        names.setdefault(output, body.variable(source.avals[output]))
    inputs = [names[x] if isinstance(x, int) else x for x in step.inputs]
    outputs = [names[x] for x in step.outputs]
    body.add(step.name, step.params, inputs, outputs, step.run)
