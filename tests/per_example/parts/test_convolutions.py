"""Kernels' gradients of single examples: every plan to form them, against sums in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fnn import per_example
from fnn.per_example.parts import blocks
from fnn.per_example.parts.convolutions import Convolution

WEIGHTS = np.array([1.0, 2.0, 3.0], np.float32)
PLAIN = {"stride": 1, "padding": (0, 0), "dilation": 1, "spread": 1, "groups": 1}
# Sizes of image and window, channels, features; options; how many neighbours are one
# position, and the axes along which the cotangent is shifted.
CASES = {
    "many channels": ((5, 6), (3, 3), 12, 12, {"padding": (1, 1)}, (1, (1,))),
    "few features": ((5, 4), (3, 2), 16, 1, {}, (1, (0, 1))),
    "few channels": ((5, 6), (3, 2), 1, 16, {"padding": (2, 0)}, (1, ())),
    "few positions": ((5, 6), (4, 5), 2, 3, {}, (1, ())),
    "one axis": ((9,), (3,), 12, 2, {"padding": (2, 0)}, (1, (0,))),
    "three axes": ((4, 3, 5), (2, 3, 2), 9, 8, {"padding": (1, 1)}, (1, (2,))),
    "stride": ((7, 8), (3, 3), 12, 12, {"stride": 2}, (1, ())),
    "dilation": ((7, 8), (3, 3), 12, 12, {"dilation": 2}, (1, ())),
    "spread input": ((4, 3), (3, 3), 12, 12, {"spread": 2, "padding": (1, 2)}, (1, (0,))),
    "cropped": ((8, 7), (3, 3), 12, 12, {"padding": (-1, 1)}, (1, (0,))),
    "groups": ((6, 6), (3, 3), 24, 24, {"groups": 2, "padding": (1, 1)}, (1, (0,))),
    "runs": ((5, 8), (3, 3), 1, 2, {"padding": (1, 1)}, (2, ())),
    "runs on three axes": ((3, 4, 6), (2, 3, 3), 1, 2, {"padding": (1, 1)}, (3, ())),
    "spread runs": ((4, 3), (3, 3), 2, 2, {"spread": 2, "padding": (1, 2)}, (3, ())),
    "runs beside shifts": ((6, 6), (5, 5), 9, 1, {"padding": (2, 2)}, (2, (0,))),
}
KINDS = [(case, np.float32) for case in CASES]
KINDS += [(case, jnp.bfloat16) for case in ("many channels", "few channels", "runs")]


def convolve(x, kernel, stride, padding, dilation, spread, groups):
    n = kernel.ndim - 2
    space = "DHW"[3 - n :]
    return lax.conv_general_dilated(
        x[None],
        kernel,
        (stride,) * n,
        (padding,) * n,
        (spread,) * n,
        (dilation,) * n,
        (f"N{space}C", f"{space}IO", f"N{space}C"),
        groups,
    )[0]


def kernel_gradient(x, g, window, stride, padding, dilation, spread, groups):
    """Return ∂⟨y, g⟩/∂kernel of one example, element by element of the window."""
    x, g = (np.asarray(v, np.float64) for v in (x, g))
    spaced = np.zeros([(n - 1) * spread + 1 for n in x.shape[:-1]] + [x.shape[-1]])
    spaced[(slice(None, None, spread),) * len(window)] = x
    low, high = padding
    cut = (slice(max(-low, 0), -max(-high, 0) or None),) * len(window)
    spaced = np.pad(spaced[cut], [(max(low, 0), max(high, 0))] * len(window) + [(0, 0)])
    parts = []
    channels, features = (np.split(v, groups, -1) for v in (spaced, g))
    for x, g in zip(channels, features, strict=True):
        part = np.zeros((*window, x.shape[-1], g.shape[-1]))
        for offset in itertools.product(*map(range, window)):
            met = x
            for axis, (k, count) in enumerate(zip(offset, g.shape[:-1], strict=True)):
                places = k * dilation + stride * np.arange(count)
                met = np.take(met, places, axis)
            part[offset] = np.tensordot(met, g, (range(g.ndim - 1),) * 2)
        parts.append(part)
    return np.concatenate(parts, -1)


def lengths(gradients):
    return np.sqrt(np.sum(gradients**2, tuple(range(1, gradients.ndim))))


def problem(case, dtype=np.float32):
    space, window, channels, features, options, plan = CASES[case]
    options = PLAIN | options
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(WEIGHTS), *space, channels))
    kernel = np.zeros((*window, channels // options["groups"], features), dtype)
    shape = jax.eval_shape(lambda: convolve(x[0].astype(dtype), kernel, **options)).shape
    g = rng.normal(size=(len(WEIGHTS), *shape))
    x, g = (jnp.asarray(v, dtype) for v in (x, g))

    def loss(kernel, x, g):
        return jnp.sum(convolve(x, kernel, **options) * g)

    def true(x, g):
        rows = zip(x, g, strict=True)
        return np.stack([kernel_gradient(*row, window, **options) for row in rows])

    return loss, jnp.asarray(kernel), x, g, true, plan


@pytest.mark.parametrize(("case", "dtype"), KINDS)
def test_gradients_norms_and_sums(case, dtype, monkeypatch):
    loss, kernel, x, g, true, plan = problem(case, dtype)
    chosen, choose = set(), Convolution._plan

    def noted(product):
        chosen.add(choose(product))
        return choose(product)

    monkeypatch.setattr(Convolution, "_plan", noted)

    @jax.jit
    def ask(*args):
        each = per_example.gradients(loss)(*args)
        return each.norms(), each.weighted_sum(WEIGHTS), each.materialize()

    norms, total, each = (np.float64(v) for v in ask(kernel, x, g))
    wanted = true(x, g)
    np.testing.assert_allclose(norms, lengths(wanted), rtol=3e-6)
    rounding = 1e-6 if dtype == np.float32 else 4e-3
    near = {"rtol": rounding, "atol": 6 * rounding * np.abs(wanted).max()}
    np.testing.assert_allclose(each, wanted, **near)
    np.testing.assert_allclose(total, np.tensordot(WEIGHTS, wanted, 1), **near)
    assert chosen == {plan}


@pytest.mark.parametrize("case", ["many channels", "few features", "stride", "runs"])
def test_no_infinite_gradient_has_a_finite_norm_nor_the_reverse(case):
    """Zeros beside shifted cotangents must not meet what the window does not."""
    loss, kernel, x, g, _, _ = problem(case)
    places = list(np.ndindex(x.shape[1:-1]))
    wrong = np.repeat(np.array(x[:1]), len(places), 0)
    for row, place in enumerate(places):
        wrong[(row, *place, 0)] = np.inf
    g = np.repeat(g[:1], len(places), 0)
    ask = jax.jit(lambda *args: per_example.gradients(loss)(*args).norms())
    one = jax.jit(jax.grad(loss))
    with np.errstate(invalid="ignore"):
        finite = [
            np.isfinite(one(kernel, *row)).all() for row in zip(wrong, g, strict=True)
        ]
        np.testing.assert_array_equal(np.isfinite(ask(kernel, wrong, g)), finite)
    assert case == "stride" or not any(finite)


@pytest.mark.parametrize("case", ["many channels", "few features"])
def test_norms_at_any_magnitude_are_not_too_small(case):
    loss, kernel, x, g, true, _ = problem(case)
    powers = np.float32(10.0) ** np.arange(-15, 36, 5, dtype=np.float32)
    x, g = x[:1] * powers.reshape(-1, *[1] * (x.ndim - 1)), np.repeat(g[:1], len(powers), 0)
    norms = jax.jit(lambda *args: per_example.gradients(loss)(*args).norms())(kernel, x, g)
    wanted = lengths(true(x, g))
    inside = wanted < np.finfo(np.float32).max
    np.testing.assert_allclose(norms[inside], wanted[inside], rtol=3e-6)
    assert np.isinf(norms[~inside]).all()
    assert (wanted[inside] > 1e30).sum() > 1


def test_gradients_of_layers_to_come_take_no_memory():
    """Formed in blocks, the gradients of a layer are there from its own turn on."""
    count, channels = 40, 32
    x = jax.ShapeDtypeStruct((count, 8, 8, channels), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), np.float32)
    plain = PLAIN | {"padding": (1, 1)}

    def loss(kernels, x):
        for kernel in kernels:
            x = jnp.tanh(convolve(x, kernel, **plain))
        return jnp.sum(x)

    def temporaries(layers):
        @jax.jit
        def norms(*args):
            g = per_example.gradients(loss, memory_budget=2**21)(*args)
            assert {row.rule for row in g.explain().rows} == {"formed"}
            return g.norms()

        compiled = norms.lower([kernel] * layers, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    of_a_layer = 4 * count * kernel.size
    assert temporaries(6) - temporaries(2) < 4 * of_a_layer / 2


def test_blocks_that_do_not_fill_the_batch_keep_examples_apart():
    x = np.arange(14.0, dtype=np.float32).reshape(7, 1, 2)
    x[0, 0, 0] = np.nan
    ids, nothing = np.arange(7, dtype=np.int32), np.zeros((7, 0), np.float32)

    def one(example):
        x, i, nothing = example
        return x.sum() + jnp.sum(nothing), {"id": i * 2, "row": x}

    for block in range(1, 8):
        total, rest = jax.jit(lambda *batch, n=block: blocks.over(one, batch, 7, n))(
            x, ids, nothing
        )
        np.testing.assert_array_equal(total, x.sum((1, 2)))
        np.testing.assert_array_equal(rest["id"], ids * 2)
        np.testing.assert_array_equal(rest["row"], x)
