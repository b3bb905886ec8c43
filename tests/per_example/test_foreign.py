"""Per-example gradients of Flax and Equinox models, where these are installed."""

import jax
import jax.numpy as jnp
import pytest
from contracts.answers import check_loss
from jax import lax

COUNT = 3


@pytest.fixture(autouse=True)
def as_jax_is(x64):
    """Compute in float64, and without the settings of our tests, which are stricter."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_key_reuse(False),
    ):
        yield


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def normal(key, *shape):
    return jax.random.normal(key, (COUNT, *shape), "float64")


def flax_models():
    linen = pytest.importorskip("flax.linen")

    class Convolutional(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.GroupNorm(2)(linen.Conv(4, (3, 3))(x)))
            x = linen.avg_pool(x, (2, 2), (2, 2))
            return linen.Dense(3)(x.reshape(-1))

    class Attention(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = x + linen.MultiHeadDotProductAttention(2)(linen.LayerNorm()(x))
            return linen.Dense(3)(x)

    class Recurrent(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.RNN(linen.LSTMCell(4, param_dtype="float64"))(x)

    return {
        "convolutional": (Convolutional(), (6, 6, 2)),
        "attention": (Attention(), (5, 4)),
        "recurrent": (Recurrent(), (5, 3)),
    }


@pytest.mark.parametrize("name", ["convolutional", "attention", "recurrent"])
def test_flax_model_is_exact(name):
    model, shape = flax_models()[name]
    key, init_key = keys(2)
    x = normal(key, *shape)
    params = jax.tree.map(lambda p: p.astype("float64"), model.init(init_key, x[0]))
    check_loss(lambda p, x: jnp.sum(jnp.sin(model.apply(p, x))), params, (x,))


def equinox_models(key):
    nn = pytest.importorskip("equinox").nn

    def recurrent(cell):
        def apply(cell, xs):
            def step(h, x):
                h = cell(x, h)
                return h, h[0] if isinstance(h, tuple) else h

            start = jnp.zeros(4)
            state = (start, start) if isinstance(cell, nn.LSTMCell) else start
            return lax.scan(step, state, xs)[1]

        return cell, apply, (5, 3)

    return {
        "mlp": (nn.MLP(3, 2, 8, 2, key=key), lambda model, x: model(x), (3,)),
        "attention": (
            nn.MultiheadAttention(2, 4, key=key),
            lambda model, x: model(x, x, x),
            (5, 4),
        ),
        "gru": recurrent(nn.GRUCell(3, 4, key=key)),
        "lstm": recurrent(nn.LSTMCell(3, 4, key=key)),
    }


@pytest.mark.parametrize("name", ["mlp", "attention", "gru", "lstm"])
def test_equinox_model_is_exact(name):
    equinox = pytest.importorskip("equinox")
    key, init_key = keys(2)
    model, apply, shape = equinox_models(init_key)[name]
    params, rest = equinox.partition(model, equinox.is_inexact_array)

    def loss(params, x):
        return jnp.sum(jnp.sin(apply(equinox.combine(params, rest), x)))

    check_loss(loss, params, (normal(key, *shape),))
