"""The signals of a network, layer by layer, in numbers and words."""

import math
from typing import Any, NamedTuple

import numpy as np

from fnn import checks
from fnn.diagnostics.signals import measure
from fnn.diagnostics.verdicts import Fault, judge, update_ratio
from fnn.layers.base import Layer, show_layer
from fnn.optimizers.base import check_optimizer
from fnn.tables import number, rich_table, share, text_table
from fnn.training.objective import Metric, check_model
from fnn.training.placing import on_device
from fnn.types import GradientTransformation, Key, NDArray, Params, PyTree, State

HEADER = (
    *("layer", "verdict", "mean", "deviation", "dead", "saturated"),
    *("gradient", "of weights", "update"),
)
HEALTHY = "healthy"


class SignalReport(NamedTuple):
    """The result of `signal_report`; prints as a table, with the faults below.

    Arrays have an entry for each layer, (L,), in the order of the layers' calls.

    Attributes:
        names: Paths of the layers, with `[i]` where a layer is called several times.
        layers: The layers' printed forms.
        mean: Mean of the layer's output over examples and units.
        deviation: Standard deviation of the output.
        dead: Share of units with the same output for every example, or where the activation
            function is flat; NaN for layers that only pass on their input.
        saturated: Share of units that are at the limits of a bounded activation function
            for more than half of the examples; NaN for other layers.
        gradient: Norm of the gradient of an example's loss with respect to the layer's
            output; the root mean square over examples.
        weight_gradient: Norm of the gradient of the mean loss w.r.t. the layer's
            parameters.
        update_ratio: Norm of the optimizer's update over that of the parameters; NaN
            without an optimizer, and for layers without parameters.
        verdicts: A word for each layer.
        faults: The faults, the most severe first; empty for a healthy network.
        loss: The mean loss of the batch.
        loss_after: That loss after the update; NaN without an optimizer.
    """

    names: tuple[str, ...]
    layers: tuple[str, ...]
    mean: NDArray
    deviation: NDArray
    dead: NDArray
    saturated: NDArray
    gradient: NDArray
    weight_gradient: NDArray
    update_ratio: NDArray
    verdicts: tuple[str, ...]
    faults: tuple[Fault, ...]
    loss: float
    loss_after: float

    @property
    def verdict(self) -> str:
        """Return the name of the most severe fault, or `"healthy"`."""
        return self.faults[0].name if self.faults else HEALTHY

    def __str__(self) -> str:
        return f"{text_table(HEADER, self._rows(), numbers=7)}\n\n{self._conclusion()}"

    def __rich__(self) -> Any:
        return rich_table(
            HEADER,
            self._rows(),
            numbers=7,
            marked=[verdict != HEALTHY for verdict in self.verdicts],
            caption=self._conclusion(),
        )

    def _rows(self) -> list[tuple[str, ...]]:
        gradients = np.where(self.weight_gradient > 0, self.weight_gradient, np.nan)
        return [
            (
                name,
                verdict,
                number(self.mean[i]),
                number(self.deviation[i]),
                share(self.dead[i]),
                share(self.saturated[i]),
                number(self.gradient[i]),
                number(gradients[i]),
                number(self.update_ratio[i]),
            )
            for i, (name, verdict) in enumerate(zip(self.names, self.verdicts, strict=True))
        ]

    def _conclusion(self) -> str:
        lines = [f"{self.verdict}, at a loss of {number(self.loss)}"]
        for fault in self.faults:
            lines += [f"{fault.name}: {fault.evidence}; try"]
            lines += [f"  - {remedy}" for remedy in fault.remedies]
        return "\n".join(lines)


def signal_report(
    model: Layer,
    loss: Metric,
    params: Params,
    state: State,
    batch: tuple[PyTree, PyTree],
    *,
    key: Key | None = None,
    optimizer: GradientTransformation | None = None,
    opt_state: Any = None,
) -> SignalReport:
    """Measure the signals of a batch in every layer, in training mode, and find faults.

    It takes the gradients of the mean loss. The arguments are not changed. The verdicts,
    the most severe first:

        not finite              an output or a gradient is NaN or infinite
        dead                    more than half of the units (by four standard deviations
                                of chance) give the same for every example: their
                                activation function is flat there, and unbounded on the
                                other side, like ReLU; or the layer has no gradient
        saturated               most units of a bounded activation function have, for most
                                examples, less than 1/20 of its steepest slope
        exploding               the gradient is more than 100 times that at the last layer
                                with parameters, or the output is 100 times larger than
                                the input, or than 1
        zero weights            all parameters of a layer after others are zero
        vanishing               the gradient is less than 1/100 of that at the last layer
        flat                    the loss has no gradient at all
        frozen                  a gradient reaches the layer, but not its parameters, or
                                the update is zero
        learning rate too high  the update is more than 0.3 of the weights; or more than
                                0.01 and, judged by the loss, 20 times too long
        learning rate too low   the update is less than 0.00001 of the weights everywhere
        healthy

    Activation functions are recognized by their values, not by their names. Layers that run
    inside another layer's own transformation, as in `Batched` and `Remat`, count as part of
    it. A saturated output layer is not a fault: it may well be right.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep
    feedforward neural networks".

    Args:
        model: A layer for one example.
        loss: A function of the output and the target of one example, ().
        params: Parameters of the model.
        state: State of the model; `{}` if it has none.
        batch: Inputs and targets, (x, y), of at least two examples; 32 or more are better.
        key: A typed key; needed by random layers.
        optimizer: fnn's or Optax's, to judge its update too.
        opt_state: The optimizer's state; by default the state before the first step.
            Adam's first step is larger than later ones.

    Returns:
        Arrays with an entry for each layer, verdicts and faults. Print it. Draw it with
        `fnn.plots.signals`.

    Raises:
        TypeError: If the model, the optimizer or the batch is not one.
        ValueError: If the batch has fewer than two examples or is not finite.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (32, 4))
        >>> model = fnn.models.mlp(*[8] * 8, 1, activation=fnn.activations.sigmoid)
        >>> params, state = model.init(jax.random.key(1), x[0])
        >>> report = fnn.diagnostics.signal_report(
        ...     model, fnn.losses.squared_error, params, state, (x, x[:, :1])
        ... )
        >>> report.verdict, report.faults[0].remedies[0]
        ('vanishing', 'an activation function of the ReLU family')

        During training, in a callback of `fit`, for `fnn.plots.signals_over_training`:

        >>> reports = []
        >>> def watch(end):
        ...     reports.append(
        ...         fnn.diagnostics.signal_report(
        ...             model,
        ...             fnn.losses.squared_error,
        ...             end.params,
        ...             end.state,
        ...             (x, x[:, :1]),
        ...         )
        ...     )
        >>> result = fnn.fit(
        ...     model,
        ...     fnn.losses.squared_error,
        ...     fnn.optimizers.Adam(1e-3),
        ...     (x, x[:, :1]),
        ...     key=jax.random.key(2),
        ...     epochs=3,
        ...     batch_size=8,
        ...     callbacks=[watch],
        ...     progress=False,
        ... )
        >>> jax.numpy.stack([report.gradient for report in reports]).shape
        (3, 18)
    """
    check_model(model)
    batch = on_device(batch, "batch")
    if (examples := checks.leading_length(batch, "batch")) < 2:
        raise ValueError(f"signal_report compares examples; batch has only {examples}")
    if optimizer is not None:
        check_optimizer(optimizer, "signal_report")
        opt_state = optimizer.init(params) if opt_state is None else opt_state
    calls, s = measure(model, loss, params, state, batch, key, optimizer, opt_state)
    names = tuple(call.name for call in calls)
    verdicts, faults = judge(names, s)
    return SignalReport(
        names,
        tuple(show_layer(call.layer) for call in calls),
        s.mean,
        s.deviation,
        s.dead,
        s.saturated,
        s.gradient,
        s.weight_gradient,
        update_ratio(s),
        verdicts,
        faults,
        float(s.loss),
        float(s.loss_after) if optimizer is not None else math.nan,
    )
