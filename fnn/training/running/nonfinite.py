"""Where numbers that are not finite came from, and what there was before them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import tree
from fnn.layers.base import Layer, show_layer
from fnn.layers.running import observing
from fnn.training.evaluation import check_metrics
from fnn.training.objective import Supervised
from fnn.training.running.runner import Piece, all_finite, count_examples
from fnn.training.step import Step, TrainState
from fnn.types import Array, Batch, Params, PyTree


class Trouble(NamedTuple):
    """A step that went wrong, and the train state to go back to.

    Attributes:
        batch: The number of the step's batch in its epoch.
        loss: The loss of the step.
        layer: The first layer whose output was not finite, or `""`.
        gradients: The paths of the parameters whose gradients were not finite.
        good: The last train state that is known to be good.
        objection: The error that the loss raises for the targets of the batch, or `""`.
    """

    batch: int
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


def find_trouble(step: Step, previous: Piece | None, piece: Piece) -> Trouble:
    """Return what went wrong in a piece that is not good.

    The loss of step k is computed with the parameters before that step. So if it is not
    finite, the last parameters known to be good are those before step k - 1; they are
    computed again. Step k - 1 may be in the previous piece. If the parameters before step
    k are not finite either, it is step k - 1 that went wrong, else step k.
    """
    k = piece.end if piece.bad_batch < 0 else piece.bad_batch
    last = k - 1  # the last step before k that changed anything
    while last >= piece.first and _is_empty(piece.replay.batch(last)):
        last -= 1
    good, batch = _before(previous, piece, last)
    at_fault, train_state = last, good
    if k < piece.end:
        now = piece.replay.state_before(k)
        if all_finite(now.params):
            at_fault, train_state, batch = k, now, piece.replay.batch(k)
    loss, layer, gradients = _examine(step, train_state, batch)
    objection = _objection(step.objective, train_state, batch)
    return Trouble(max(at_fault, 0), loss, layer, gradients, good, objection)


def _before(previous: Piece | None, piece: Piece, number: int) -> tuple[TrainState, Batch]:
    """Return the train state before a step, and its batch, maybe of the previous piece."""
    if number < piece.first:
        if previous is None:  # nothing came before: the piece began with this state
            number = piece.first
        else:
            piece, number = previous, previous.end - 1
        while number > piece.first and _is_empty(piece.replay.batch(number)):
            number -= 1
    return piece.replay.state_before(number), piece.replay.batch(number)


def _is_empty(batch: Batch) -> bool:
    """Return whether all weights of a batch are 0."""
    return len(batch) == 3 and not count_examples(batch)


def _examine(
    step: Step, train_state: TrainState, batch: Batch
) -> tuple[float, str, tuple[str, ...]]:
    """Return the loss of a step, its first bad layer, and its bad gradients.

    The objective is evaluated once more, with a callback on the output of each layer.
    """
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
    """Return the error that the loss raises for the targets of a batch, or `""`."""
    if not isinstance(objective, Supervised):
        return ""
    params, state = train_state.params, train_state.state
    loss = {"loss": objective.loss}
    try:
        check_metrics(objective.model, params, state, batch[:2], loss, "the batch")
    except (TypeError, ValueError) as error:
        return str(error)
    return ""
