"""The report of the memory that a step takes."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn import losses, memory_report, optimizers

MODEL = fnn.Sequential(fnn.Dense(32), fnn.BatchNorm(), jnp.tanh, fnn.Dense(8))
ADAM = optimizers.Adam(0.1)
STEP = fnn.make_step(fnn.supervised(MODEL, losses.squared_error), ADAM)


def arguments(batch_size=128):
    x = jnp.ones((batch_size, 16))
    params, state = MODEL.init(jax.random.key(0), x[0])
    train_state = fnn.TrainState.create(params, state, ADAM, key=jax.random.key(1))
    return train_state, (x, jnp.ones((batch_size, 8)))


def test_report_is_exact_for_what_one_can_count():
    train_state, batch = arguments()
    report = memory_report(STEP, train_state, batch)
    parameters = 4 * (16 * 32 + 32 + 2 * 32 + 32 * 8 + 8)
    assert report.parameters == parameters
    assert report.state == 4 * 2 * 32
    arrays = jax.tree.leaves(train_state.opt_state)
    assert report.optimizer == sum(np.asarray(leaf).nbytes for leaf in arrays)
    assert report.optimizer >= 2 * parameters
    assert report.batch == 4 * 128 * (16 + 8)
    arguments_alone = sum(report[:4])
    new = arguments_alone - report.batch
    assert new <= report.outputs < new + 2048
    assert report.total >= arguments_alone + report.outputs + report.temporaries
    assert report.temporaries >= 4 * 128 * 32  # what comes out of tanh, at the least
    assert str(report).splitlines()[-1].split()[0] == "total"


def test_donation_saves_the_outputs_and_nothing_is_run():
    specs = jax.eval_shape(arguments)
    donated = memory_report(jax.jit(STEP, donate_argnums=0), *specs)
    plain = memory_report(STEP, *specs)
    assert donated.outputs < 1024 < plain.outputs
    assert donated.total < plain.total
    assert donated[:4] == plain[:4]


def test_accumulation_saves_temporaries():
    key = jax.random.key(0)
    model = fnn.Sequential(*[fnn.Dense(64), jnp.tanh] * 8, fnn.Dense(2))
    params, state = jax.eval_shape(model.init, key, jnp.zeros(4))
    objective = fnn.supervised(model, losses.softmax_cross_entropy)
    batch = (
        jax.ShapeDtypeStruct((4096, 4), "float32"),
        jax.ShapeDtypeStruct((4096,), "int32"),
    )

    def temporaries(accumulate):
        take = fnn.make_step(objective, optimizers.SGD(0.1), accumulate=accumulate)
        train_state = fnn.TrainState(params, state, take.optimizer.init({}), key, 0)
        compiled = jax.jit(take).lower(train_state, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(8) < 0.25 * temporaries(1)
