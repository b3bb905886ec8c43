"""Where numbers that are not finite came from, and what there was before them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.layers.base import Layer, show_layer
from fnn.layers.running import observing
from fnn.training.evaluation import check_metrics
from fnn.training.loop import examples_of
from fnn.training.objective import Supervised
from fnn.training.running.runner import Piece
from fnn.training.step import Step, TrainState
from fnn.types import Array, Batch, Params, PyTree


class Trouble(NamedTuple):
    """A step that went wrong, and the train state to go back to.

    `loss` is that of the step, `layer` the first layer whose output was not finite, or
    `""`, `gradients` the paths of the parameters whose gradients were not, and `objection`
    what the loss has to say against the targets of the batch.
    """

    step: int
    loss: float
    layer: str
    gradients: tuple[str, ...]
    good: TrainState
    objection: str = ""

    def __str__(self) -> str:
        what = [f"the loss was {self.loss:.4g}"]
        if self.objection:
            what.append(self.objection)
        if self.layer:
            what.append(f"the first layer to give NaN or infinity was {self.layer}")
        if self.gradients:
            paths = ", ".join(self.gradients[:5])
            more = f" and {len(self.gradients) - 5} more" if self.gradients[5:] else ""
            what.append(f"gradients with NaN or infinity were those of {paths}{more}")
        return "; ".join(what)


def find_trouble(step: Step, previous: Piece | None, piece: Piece) -> Trouble | None:
    """Return what went wrong in a piece, or None where nothing did.

    The loss of step k is that of the parameters before it. So if it is not finite, those
    before step k - 1 are the last that are known to be good. They are computed again. If
    the parameters before step k are not finite either, it is step k - 1 that went wrong.
    """
    if piece.bad_step < 0 and _finite(piece.after.train_state.params):
        return None
    k = piece.last if piece.bad_step < 0 else piece.bad_step
    last = k - 1  # the last step before that changed anything
    while last >= piece.first and _is_empty(piece.batch(last)):
        last -= 1
    good, batch = _before(previous, piece, last)
    at_fault, train_state = last, good
    if k < piece.last:
        now = piece.rerun(k)
        if _finite(now.params):
            at_fault, train_state, batch = k, now, piece.batch(k)
    loss, layer, gradients = _examine(step, train_state, batch)
    objection = _objection(step.objective, train_state, batch)
    return Trouble(max(at_fault, 0), loss, layer, gradients, good, objection)


def _before(previous: Piece | None, piece: Piece, i: int) -> tuple[TrainState, Batch]:
    """Return train state and batch of step i, which may lie in the piece before."""
    if i < piece.first:
        piece, i = (previous, previous.last - 1) if previous else (piece, piece.first)
        while i > piece.first and _is_empty(piece.batch(i)):
            i -= 1
    return piece.rerun(i), piece.batch(i)


def _is_empty(batch: Batch) -> bool:
    """Return whether no example of a batch counts."""
    return len(batch) == 3 and not examples_of(batch)


def _examine(
    step: Step, train_state: TrainState, batch: Batch
) -> tuple[float, str, tuple[str, ...]]:
    """Return the loss of a step, its first bad layer, and its bad gradients."""
    shown: dict[str, str] = {}  # the layers in the order in which they are applied
    bad: set[str] = set()

    def observe(path: tuple[str, ...], layer: Layer, *values: PyTree) -> None:
        name, y = "/".join(path), values[-1]
        shown.setdefault(name, show_layer(layer))

        def record(finite: Array) -> None:
            if not finite:
                bad.add(name)

        jax.debug.callback(record, tree.all_finite(y))

    def objective(params: Params) -> tuple[Array, Array]:
        key = jax.random.fold_in(train_state.key, train_state.step)
        value, (_, metrics) = step.objective(params, train_state.state, batch, key)
        return value, metrics["loss"]

    with observing(observe):
        gradient = jax.jit(jax.grad(objective, has_aux=True))
        grads, loss = gradient(train_state.params)
    jax.effects_barrier()
    first = next((f"{name!r}, {text}" for name, text in shown.items() if name in bad), "")
    gradients = [p for p, g in tree.flatten(grads).items() if not jnp.isfinite(g).all()]
    return float(loss), first, tuple(gradients)


def _objection(objective: Any, train_state: TrainState, batch: Batch) -> str:
    """Return why the loss refuses the targets, which could not be seen before, or `""`."""
    if not isinstance(objective, Supervised):
        return ""
    params, state = train_state.params, train_state.state
    loss = {"loss": objective.loss}
    try:
        check_metrics(objective.model, params, state, batch[:2], loss, "the batch")
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@jax.jit
def _finite(params: Params) -> Array:
    return tree.all_finite(params)
