"""Training on 8 simulated devices, run as a program of its own: `sharded_training.py CASE`.

It prints, as JSON, by how much parameters, state and metrics differ from those of one
device after 50 steps, and the collectives of the compiled step; with `fit FOLDER` in place
of a case, the same of `fnn.fit`.
"""

import functools
import json
import re
import sys

import jax
import numpy as np

import fnn
from fnn import per_example
from fnn.sharding import ByPath, FullySharded, Layout, Replicated, make_mesh

CLASSES, BATCH, STEPS = 8, 16, 50
COLLECTIVES = r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)\("

mlp = fnn.Sequential(
    fnn.Dense(32), jax.nn.relu, fnn.Dense(16), jax.nn.relu, fnn.Dense(CLASSES)
)
cnn = fnn.Sequential(
    fnn.Conv(8, (3, 3), padding="same", bias=False),  # Adam would magnify its rounding
    fnn.BatchNorm(),
    jax.nn.relu,
    fnn.MaxPool((2, 2)),
    fnn.Flatten(),
    fnn.Dense(CLASSES),
)
private = functools.partial(
    per_example.private_gradient, max_norm=1.0, noise_multiplier=0.5, normalize_by=BATCH
)


class MeanGradient(fnn.training.PerExampleGradient):
    """Clip, and move by a running mean of the clipped sums, which is the state."""

    def init(self, params):
        return {"mean": jax.tree.map(jax.numpy.zeros_like, params)}

    def __call__(self, loss, *, has_aux):
        clip = per_example.clipped_gradient(
            loss, 1.0, has_aux=has_aux, normalize_by=float(BATCH)
        )

        def compute(gradient_state, params, *batch, mask=None, key=None):
            result = clip(params, *batch, mask=mask)
            mean = jax.tree.map(
                lambda m, g: 0.9 * m + 0.1 * g, gradient_state["mean"], result.gradient
            )
            return result._replace(gradient=mean), {"mean": mean}

        return compute


mlp_rules = {
    "dense_0/kernel": (None, "model"),
    "dense_0/bias": ("model",),
    "dense_1/kernel": ("model", None),
}
cnn_rules = {"dense_0/kernel": ("model", None)}
CASES = {
    "mlp": (mlp, (24,), None, mlp_rules),
    "batch_norm": (cnn, (8, 8, 3), None, cnn_rules),
    "private": (mlp, (24,), private, mlp_rules),
    "remembering": (mlp, (24,), MeanGradient(), mlp_rules),
}
LAYOUTS = {
    "replicated": lambda rules: Layout(make_mesh(), Replicated()),
    "fully_sharded": lambda rules: Layout(make_mesh(), FullySharded()),
    "by_path": lambda rules: Layout(make_mesh(model=2), ByPath(rules)),
}


def train(model, shape, gradient, layout):
    """Return the train state and the losses after 50 steps, and the compiled step."""
    x_key, y_key, init_key, step_key = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(x_key, (STEPS, BATCH, *shape))
    y = jax.random.randint(y_key, (STEPS, BATCH), 0, CLASSES)
    adam = fnn.optimizers.Adam(1e-3)
    params, state = jax.jit(model.init)(init_key, x[0, 0])
    train_state = fnn.TrainState.create(
        params, state, adam, key=step_key, gradient=gradient
    )
    objective = fnn.supervised(model, fnn.losses.softmax_cross_entropy)
    step = fnn.make_step(objective, adam, gradient=gradient, layout=layout)
    if layout is not None:
        train_state = layout.place(train_state, params)
    step, losses = jax.jit(step, donate_argnums=0), []
    for batch in zip(x, y, strict=True):
        placed = batch if layout is None else layout.place_batch(batch)
        if not losses:
            step = step.lower(train_state, placed).compile()
        train_state, metrics = step(train_state, placed)
        losses.append(float(metrics["loss"]))
    return train_state, losses, step


def difference(a, b):
    """Return the largest difference of two trees of arrays."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(np.asarray(x) - np.asarray(y)))) for x, y in pairs)


def fit(data, checkpoint=None, *, epochs=3, batch_size=16, stream=False, **options):
    """Fit the perceptron to data that the batch size does not divide."""
    return fnn.fit(
        mlp,
        fnn.losses.softmax_cross_entropy,
        fnn.optimizers.Adam(1e-3),
        fnn.data.Streamed(*map(np.asarray, data)) if stream else data,
        key=jax.random.key(1),
        epochs=epochs,
        batch_size=batch_size,
        validation=tuple(a[:30] for a in data),
        checkpoint=checkpoint,
        progress=False,
        **options,
    )


def message_of(function, *arguments, **options):
    """Return what a call that must fail says."""
    try:
        function(*arguments, **options)
    except ValueError as error:
        return str(error)


def fit_on_meshes(folder):
    """Compare `fit` on meshes with `fit` on one device."""
    x_key, y_key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(x_key, (50, 24))
    data = x, jax.random.randint(y_key, (50,), 0, CLASSES)
    eight, four = make_mesh(), make_mesh(devices=jax.devices()[:4])
    one = fit(data)
    many = fit(data, mesh=eight, sharding=FullySharded())
    streamed = fit(data, mesh=eight, sharding=FullySharded(), stream=True)
    fit(data, folder, mesh=eight, sharding=FullySharded(), epochs=2)
    epochs = []
    watch = [lambda end: epochs.append(end.epoch)]
    resumed = fit(data, folder, mesh=four, callbacks=watch)
    loss = {"loss": fnn.losses.softmax_cross_entropy}
    alone = fnn.evaluate(mlp, one.params, {}, data, loss)["loss"]
    together = fnn.evaluate(mlp, many.params, {}, data, loss, mesh=eight)["loss"]
    names = one.history.keys() - {"seconds"}
    return {
        "difference": difference(one[:2], many[:2]),
        "streamed": difference(one[:2], streamed[:2]),
        "history": difference(*({n: r.history[n] for n in names} for r in (one, many))),
        "evaluated": abs(alone - together),
        "resumed": difference(one[:2], resumed[:2]),
        "resumed_epochs": epochs,
        "resumed_devices": len(jax.tree.leaves(resumed.params)[0].sharding.device_set),
        "errors": [
            message_of(fit, data, mesh=eight, batch_size=12),
            message_of(fit, data, mesh=eight, accumulate=4),
        ],
    }


def compare(case):
    """Compare steps on meshes with steps on one device."""
    model, shape, gradient, rules = CASES[case]
    one, losses, _ = train(model, shape, gradient, None)
    found = {}
    for name, layout in LAYOUTS.items():
        many, many_losses, step = train(model, shape, gradient, layout(rules))
        kernel = many.opt_state.first_moment["dense_0"]["kernel"]
        remembered = many.gradient_state["mean"] if many.gradient_state else many.params
        found[name] = {
            "difference": difference(one[:2], many[:2]),
            "as_params": all(
                jax.tree.leaves(
                    jax.tree.map(
                        lambda m, p: m.sharding.is_equivalent_to(p.sharding, p.ndim),
                        remembered,
                        many.params,
                    )
                )
            ),
            "losses": difference(losses, many_losses),
            "devices": len(kernel.sharding.device_set),
            "part": kernel.addressable_shards[0].data.size / kernel.size,
            "leaves": len(jax.tree.leaves(many.params)),
            "collectives": re.findall(COLLECTIVES, step.as_text()),
        }
    return found


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)  # it compiles a lot
    fits = sys.argv[1] == "fit"
    found = fit_on_meshes(sys.argv[2]) if fits else compare(sys.argv[1])
    sys.stdout.write(json.dumps(found))
