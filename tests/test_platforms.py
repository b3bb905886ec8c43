"""Programs per platform, and their compilation."""

import re

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn import platforms


def entry(function, *arguments, **options):
    """Return the names of the operations of a compiled program, outside of fusions."""
    program = jax.jit(function, **options).lower(*arguments).compile().as_text()
    body = program.partition("\nENTRY")[2]
    return re.findall(r" ([a-z-]+)\(", body)


def product(x):
    return jnp.tanh(x @ x).sum()


def convolution(x, kernel):
    names = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=names)


def test_options_keep_convolutions_from_ynnpack_and_change_nothing_else(on_cpu):
    options = {"compiler_options": fnn.compiler_options()}
    x, kernel = jnp.ones((4, 8, 8, 32)), jnp.ones((3, 3, 32, 32))
    assert "convolution" in entry(convolution, x, kernel, **options)
    assert "convolution" not in entry(convolution, x, kernel)
    square = jnp.ones((256, 256))
    assert entry(product, square, **options) == entry(product, square)


def test_options_are_those_of_the_platform_that_is_compiled_for():
    with platforms.tracing_for("tpu"):
        assert fnn.compiler_options() == {}


def test_options_that_jaxlib_does_not_know_are_left_out(monkeypatch):
    platforms._known.cache_clear()
    monkeypatch.setattr(platforms, "_WITHOUT_CONVOLUTIONS", {"xla_no_such_option": "1"})
    try:
        assert fnn.compiler_options() == {}
    finally:
        platforms._known.cache_clear()


def test_fit_takes_the_steps_that_are_compiled_with_the_options(on_cpu):
    """Sums in another order differ in their last bits, so equal bits tell of the options.

    The examples are all the same, so that their order makes no difference.
    """
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 32)).astype(np.float32)
    x, y = np.repeat(x, 32, axis=0), np.ones(32, np.int32)
    model = fnn.Sequential(fnn.Conv(32, (3, 3)), jax.nn.relu, fnn.Flatten(), fnn.Dense(3))
    sgd, loss = fnn.optimizers.SGD(0.1), fnn.losses.softmax_cross_entropy
    params, state = model.init(jax.random.key(0), x[0])
    fitted = fnn.fit(
        model, loss, sgd, (x, y), key=jax.random.key(1), epochs=4, params=params,
        batch_size=32, progress=False,
    ).params  # fmt: skip

    def by_hand(**options):
        step = jax.jit(fnn.make_step(fnn.supervised(model, loss), sgd), **options)
        train_state = fnn.TrainState.create(params, state, sgd, key=jax.random.key(2))
        for _ in range(4):
            train_state, _ = step(train_state, (x, y))
        return train_state.params

    def same(params):
        return all(jax.tree.leaves(jax.tree.map(np.array_equal, params, fitted)))

    assert same(by_hand(compiler_options=fnn.compiler_options()))
    assert not same(by_hand())
