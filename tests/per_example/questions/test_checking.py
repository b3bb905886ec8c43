"""The user's own check of the per-example gradients of a loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.per_example import NETWORKS, draw

from fnn import per_example


def test_check_finds_what_is_right():
    row = NETWORKS["attention"]
    params, batch = draw(row, jnp.float32)
    report = per_example.check(row.loss, params, *batch)
    assert report.largest < 1e-5
    assert report.worst in params
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["losses", "norms", "weighted"]
    for line, row in zip(lines[5:], report.parameters, strict=True):
        assert line.split() == [
            *("gradients", "of", row.path),
            *row.rule.split(),
            f"{row.error:.1e}",
        ]
        assert row.rule == NETWORKS["attention"].rules[row.path]


def test_check_takes_losses_with_more_to_return():
    row = NETWORKS["mlp"]
    params, batch = draw(row, jnp.float32)

    def loss(params, x, y):
        return row.loss(params, x, y), {"input": x}

    assert per_example.check(loss, params, *batch, has_aux=True).largest < 1e-5
    with pytest.raises(ValueError, match="did you mean has_aux=True"):
        per_example.check(loss, params, *batch)


def test_a_gradient_of_zero_is_right_up_to_rounding():
    """A bias of the keys of attention: softmax takes it away."""

    def loss(params, x):
        keys = x @ params["kernel"] + params["bias"][None]
        return jnp.sum(jnp.sin(jax.nn.softmax(x @ keys.T) @ x))

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 5, 3)), jnp.float32)
    params = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    assert per_example.check(loss, params, x).largest < 1e-5


def test_check_finds_what_is_wrong():
    """A loss of which float32 and float64 differ."""

    def fragile(w, x):
        return (w * x[0] + x[1]) - x[1]

    report = per_example.check(fragile, jnp.float32(1), jnp.array([[1, 1e8], [2, 1e8]]))
    assert report.losses > 0.1
    assert report.gradients == 0
