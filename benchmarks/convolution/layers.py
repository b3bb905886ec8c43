"""fnn's layers as they are, and convolutions in each form by itself."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks import compiling
from benchmarks.convolution.work import RATE, REPEATS, Work, images, kernel, parse
from benchmarks.suite import Program, RefusedError
from fnn.layers.convolving.correlation import Form, convolve
from fnn.layers.convolving.windows import slide

Layer = Callable[..., Any]


def convolution(work: Work, form: Form | None) -> Layer:
    """Return the convolution of a batch of images with a kernel."""
    window = slide((work.size,) * 2, work.stride, 1, "same", work.shape[1:-1])
    one = functools.partial(convolve, window=window, groups=work.groups, form=form)
    return jax.vmap(one, (0, None))


def pool(work: Work, form: Form | None) -> Layer:
    """Return fnn's pool of a batch of images, or XLA's own."""
    window = (work.size,) * 2
    if form is None:
        kind = fnn.MaxPool if work.pool == "max" else fnn.AvgPool
        return functools.partial(fnn.batched(kind(window, work.stride)), {})
    if form != "native":
        raise RefusedError("is of convolutions")
    most = work.pool == "max"
    reduction, start = (jax.lax.max, -jnp.inf) if most else (jax.lax.add, 0.0)
    steps = (1, work.stride, work.stride, 1)

    def pooled(xs: Any) -> Any:
        y = jax.lax.reduce_window(xs, start, reduction, (1, *window, 1), steps, "VALID")
        return y if most else y / work.size**2

    return pooled


def check(work: Work, layer: Layer) -> None:
    """Refuse a form that is not for a layer."""
    x, weights = images(work)[:1], kernel(work)
    expected = convolution(work, "native")(x, weights)
    try:
        found = layer(x, weights)
    except (TypeError, ValueError) as error:
        raise RefusedError("is not for this layer") from error
    if found.shape != expected.shape or not np.allclose(found, expected, atol=1e-3):
        raise RefusedError("is not for this layer")


def passes(layer: Layer, *arguments: Any) -> tuple[Any, ...]:
    """Return the gradients of all arguments, for a cotangent that depends on the output."""
    y, pull = jax.vjp(layer, *arguments)
    return pull(jnp.clip(y, -1, 1))


def descents(layer: Layer, *arguments: Any) -> tuple[Any, ...]:
    """Return the arguments after some steps down their gradients."""

    def step(arguments: Any, _: None) -> tuple[Any, None]:
        grads = passes(layer, *arguments)
        return tuple(a - RATE * g for a, g in zip(arguments, grads, strict=True)), None

    return jax.lax.scan(step, arguments, None, length=REPEATS)[0]


def build(case: str, form: Form | None) -> Program:
    """Make a case ready, in a form, or in that which fnn chooses."""
    work = parse(case)
    return program(work, pool(work, form) if work.pool else convolution(work, form))


def program(work: Work, layer: Layer) -> Program:
    """Return the program of a layer."""
    arguments = [jnp.asarray(images(work))]
    if not work.pool:
        check(work, layer)
        arguments.append(jnp.asarray(kernel(work)))
    compiled = jax.jit(
        functools.partial(descents if work.loop else passes, layer),
        compiler_options=fnn.compiler_options(),
    )
    figures = compiling.figures(lambda: compiled.lower(*arguments))

    def run() -> Any:
        return jax.block_until_ready(compiled(*arguments))

    proof = [float(np.linalg.norm(np.asarray(a, np.float64))) for a in run()]
    return Program(run, figures, proof)


chosen = functools.partial(build, form=None)
native = functools.partial(build, form="native")
ordered = functools.partial(build, form="ordered")
patches = functools.partial(build, form="patches")
shifts = functools.partial(build, form="shifts")
