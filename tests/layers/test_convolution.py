"""Convolutions: every combination against plain loops, in every form; laws; errors."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts import example
from contracts.convolution import convolve as by_loops
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.layers.convolving import depthwise
from fnn.layers.convolving.correlation import convolve
from fnn.layers.convolving.windows import slide
from fnn.platforms import tracing_for
from fnn.training.running.runner import any_count_loop, choose_loop, host_loop

PADDINGS = ("valid", "same", 1, ((1, 0), (0, 2), (1, 1)))
STEPS = ((1, 1), (2, 1), (1, 2), (2, 3))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_form_agrees_with_loops_for_all_options(axes, groups, x64):
    """Dimensions, groups, padding, stride and dilation, in each form that applies."""
    spatial, size = ((9,), (8, 7), (7, 5, 4))[axes - 1], ((3,), (3, 2), (2, 2, 1))[axes - 1]
    x = example((*spatial, 4), "float64")
    kernel = example((*size, 4 // groups, 8), "float64", seed=2)
    forms = ["native", "ordered", "patches", *(["shifts"] if groups == 4 else [])]
    steps = STEPS if axes < 3 else STEPS[::3]
    paddings = [p[:axes] if type(p) is tuple else p for p in PADDINGS]
    options = [(*step, padding) for step in steps for padding in paddings]

    @jax.jit  # once for all options, because compiling is what takes time
    def outputs(x, kernel):
        windows = [slide(size, *option, spatial) for option in options]
        return [[convolve(x, kernel, w, groups, form) for form in forms] for w in windows]

    for option, found in zip(options, outputs(x, kernel), strict=True):
        expected = by_loops(np.asarray(x), np.asarray(kernel), *option, groups)
        for y in found:
            np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_gradients_of_the_forms_agree(groups, x64):
    kernel, x = example((3, 2, 4 // groups, 8), "float64"), example((6, 5, 4), "float64")
    window = slide((3, 2), 2, 1, "same", (6, 5))
    weights = example((3, 3, 8), "float64", seed=3)
    forms = ["native", "ordered", "patches", *(["shifts"] if groups == 4 else [])]

    @jax.jit
    def gradients(kernel, x):
        def loss(kernel, x, form):
            return jnp.sum(weights * jnp.sin(convolve(x, kernel, window, groups, form)))

        return [jax.grad(loss, (0, 1))(kernel, x, form) for form in forms]

    native, *others = gradients(kernel, x)
    for gradient in others:
        chex.assert_trees_all_close(gradient, native, rtol=1e-10)


WINDOWS = [
    ((9,), (3,), 1, 2, "causal"),
    ((8,), (3,), 3, 1, "valid"),  # one element is out of reach
    ((7,), (2,), 2, 1, 3),  # some windows hold padding alone
    ((6, 5), (3, 2), (2, 1), (1, 2), "same"),
    ((6, 5), (2, 3), (1, 2), 1, ((0, 2), (3, 0))),
    ((4, 3, 5), (2, 1, 2), (2, 1, 1), 1, 1),
    ((6, 4), (3, 2), (2, 1), (2, 1), ((2, 2), (0, 1))),  # in blocks, also backward
    ((6, 4), (3, 5), (2, 1), (2, 1), ((2, 2), (3, 1))),  # there by rows of a window, too
]


@pytest.mark.parametrize(("spatial", "size", "stride", "dilation", "padding"), WINDOWS)
@pytest.mark.parametrize(("form", "groups"), [("ordered", 1), ("shifts", 3)])
def test_derivatives_of_forms_with_gradients_of_their_own(
    form, groups, spatial, size, stride, dilation, padding, x64, monkeypatch
):
    """For a batch, in both modes, of first and second order, against XLA's own form."""
    monkeypatch.setattr(
        depthwise, "BLOCK_ELEMENTS", 15
    )  # so that there are several blocks of rows
    window = slide(size, stride, dilation, padding, spatial)
    kernel, xs = (
        example((*size, 3 // groups, 6), "float64"),
        example((2, *spatial, 3), "float64"),
    )
    tangents = (
        example(kernel.shape, "float64", seed=3),
        example(xs.shape, "float64", seed=4),
    )

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(form):
        def loss(kernel, xs):
            ys = jax.vmap(lambda x: convolve(x, kernel, window, groups, form))(xs)
            return jnp.sum(jnp.sin(ys))

        gradient = jax.grad(loss, (0, 1))
        return jax.jvp(loss, (kernel, xs), tangents), jax.jvp(
            gradient, (kernel, xs), tangents
        )

    chex.assert_trees_all_close(
        derivatives(form), derivatives("native"), rtol=1e-10, atol=1e-10
    )


def test_channels_by_themselves_are_convolved_a_block_of_rows_at_a_time(on_cpu):
    """So neither gradient holds what each element of the window meets, at all positions."""
    layer, xs = fnn.DepthwiseConv((5, 5), padding="same"), jnp.ones((4, 64, 64, 32))
    params, _ = layer.init(jax.random.key(0), xs[0])

    def loss(params, xs):
        return jnp.sum(jnp.square(fnn.batched(layer)(params, xs)))

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(params, xs).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * xs.nbytes


def convolutions(jaxpr):
    """Yield the convolutions in a jaxpr, and in those that it contains."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for part in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from convolutions(inner)


def test_gradients_of_the_ordered_form_have_their_axes_in_order():
    """Others are computed naively by XLA on the CPU, where they stand in a loop."""
    window = slide((3, 3), 2, 1, "same", (8, 8))
    kernel, xs = jnp.ones((3, 3, 4, 5)), jnp.ones((2, 8, 8, 4))

    def loss(kernel, xs):
        ys = jax.vmap(lambda x: convolve(x, kernel, window, 1, "ordered"))(xs)
        return jnp.sum(jnp.square(ys))

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(kernel, xs)
    found = [equation.params["dimension_numbers"] for equation in convolutions(jaxpr.jaxpr)]
    expected = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO, NHWC
    assert [tuple(names) for names in found] == [expected] * 3


@pytest.mark.parametrize(
    ("size", "stride", "shape"), [(3, 4, (3, 6, 1, 24)), (5, 1, (5, 1, 8, 24))]
)
def test_few_channels_are_convolved_in_blocks_along_the_last_axis(size, stride, shape):
    """A window over four positions, whose rows are channels where they are eight long."""
    kernel, x = jnp.ones((size, size, 1, 6)), jnp.ones((28, 28, 1))
    window = slide((size, size), 1, 1, "same", (28, 28))
    program = jax.make_jaxpr(lambda x: convolve(x, kernel, window, 1, "ordered"))(x)
    (found,) = convolutions(program.jaxpr)
    assert found.params["window_strides"] == (1, stride)
    assert found.invars[1].aval.shape == shape


def test_what_a_convolution_takes_is_not_computed_again_for_the_gradient_of_its_kernel(
    on_cpu,
):
    layer, xs = fnn.Conv(16, (3, 3)), jnp.ones((2, 8, 8, 16))
    params, _ = layer.init(jax.random.key(0), xs[0])

    def loss(params, xs):
        h = xs
        for _ in range(4):
            h = jax.nn.relu(h + xs)
        return jnp.sum(jnp.square(fnn.batched(layer)(params, h)))

    program = jax.jit(jax.grad(loss)).lower(params, xs).compile().as_text()
    assert program.count(" maximum(") == 4


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_points_is_one_matrix_product_on_the_cpu(stride):
    """With examples and positions on one axis, also where its gradient sums over them."""
    layer, xs = fnn.Conv(8, (1, 1), stride, bias=False), example((3, 4, 4, 48), "float32")
    params, _ = layer.init(jax.random.key(0), xs[0])
    gradient = jax.grad(lambda params: jnp.sum(fnn.batched(layer)(params, xs)))
    positions = 3 * (4 // stride) ** 2
    for platform, shape in ("cpu", (positions, 48)), ("tpu", (3, 4, 4, 48)):
        with tracing_for(platform):
            program = jax.make_jaxpr(gradient)(params)
        found = [e.invars[0].aval.shape for e in convolutions(program.jaxpr)]
        assert found == [shape] * 2
    expected = np.asarray(xs)[:, ::stride, ::stride] @ np.asarray(params["kernel"])[0, 0]
    ys = fnn.batched(layer)(params, xs)
    chex.assert_trees_all_close(ys, expected, rtol=1e-5, atol=1e-5)


def test_a_convolution_is_a_banded_matrix(x64):
    """Its matrix, found column by column, has the kernel along its diagonals."""
    kernel = np.array([1.0, -2.0, 3.0])
    layer = fnn.Conv(1, (3,), bias=False)
    params = {"kernel": jnp.asarray(kernel)[:, None, None]}
    columns = jax.vmap(lambda e: layer(params, e[:, None])[:, 0])(jnp.eye(7))
    banded = sum(k * np.eye(5, 7, offset) for offset, k in enumerate(kernel))
    np.testing.assert_array_equal(columns.T, banded)


@jax.jit
def convolved(seed, image):
    layer = fnn.Conv(3, (3, 3), padding="same", bias=False)
    params, _ = layer.init(jax.random.key(seed), image)
    return layer(params, image)


@given(shift=st.tuples(st.integers(0, 3), st.integers(0, 3)), seed=st.integers(0, 99))
def test_translation_equivariance(shift, seed):
    """Moving what is far enough from the border moves the output alike."""
    image = np.zeros((14, 14, 2), np.float32)
    image[4:8, 4:8] = np.random.default_rng(seed).normal(size=(4, 4, 2))
    moved = convolved(seed, np.roll(image, shift, (0, 1)))
    expected = np.roll(convolved(seed, image), shift, (0, 1))
    np.testing.assert_allclose(moved, expected, atol=1e-5)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), ((2, 1), (1, 2))])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_is_the_adjoint(stride, dilation, groups, x64):
    """⟨up(x), y⟩ = ⟨x, down(y)⟩, the kernel's channels and features being exchanged."""
    x, kernel = example((4, 4, 4), "float64"), example((3, 2, 4 // groups, 6), "float64")
    parts = [part.swapaxes(-1, -2) for part in jnp.split(kernel, groups, -1)]
    exchanged = jnp.concatenate(parts, -1)

    def products(x, padding):
        options = (stride, padding, dilation, groups, False)
        up, down = fnn.ConvTranspose(6, (3, 2), *options), fnn.Conv(4, (3, 2), *options)
        z = up({"kernel": kernel}, x)
        y = jnp.cos(jnp.arange(z.size, dtype=x.dtype)).reshape(z.shape)
        back = down({"kernel": exchanged}, y)
        assert back.shape == x.shape
        return jnp.vdot(z, y), jnp.vdot(x, back)

    paddings = ("valid", "same", 1, ((1, 0), (0, 1)))
    found = jax.jit(lambda x: [products(x, padding) for padding in paddings])(x)
    for both in found:
        np.testing.assert_allclose(*both, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"stride": 2}, 9),  # (4 - 1) 2 + 3
        ({"stride": 2, "padding": 1}, 7),
        ({"stride": 2, "padding": 1, "output_padding": 1}, 8),
        ({"stride": 2, "padding": "same"}, 8),
        ({"dilation": 2}, 8),
    ],
)
def test_size_of_the_transposed_convolution(options, size):
    """Those of a window of 3 over 4 elements, by PyTorch's formula."""
    layer = fnn.ConvTranspose(1, (3,), **options)
    x = jax.ShapeDtypeStruct((4, 1), "float32")
    params, _ = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert jax.eval_shape(layer, params, x).shape == (size, 1)


def test_depthwise_is_convolution_with_as_many_groups():
    x = example((6, 6, 3))
    depthwise, grouped = fnn.DepthwiseConv((3, 3), 2), fnn.Conv(6, (3, 3), groups=3)
    params, _ = depthwise.init(jax.random.key(0), x)
    chex.assert_trees_all_equal(params, grouped.init(jax.random.key(0), x)[0])
    np.testing.assert_array_equal(depthwise(params, x), grouped(params, x))


IMAGE = jnp.zeros((8, 8, 3))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (jnp.zeros((5, 8, 8, 3)), ValueError, "batch of 5 examples, use fnn.batched"),
        (jnp.zeros((8, 8)), ValueError, "if it has no channels, give it one"),
        (jnp.zeros((8, 8, 4)), ValueError, "initialized for x with 3 channels"),
        (jnp.zeros((8, 8, 3), "uint8"), TypeError, "takes floating-point"),
        (jnp.zeros((2, 8, 3)), ValueError, "larger than x|down to nothing"),
    ],
)
@pytest.mark.parametrize(
    "layer",
    [
        fnn.Conv(4, (3, 3)),
        fnn.DepthwiseConv((3, 3)),
        fnn.ConvTranspose(4, (3, 3), padding=3),
    ],
    ids=["Conv", "DepthwiseConv", "ConvTranspose"],
)
def test_inputs_that_do_not_fit(layer, x, error, message):
    params, _ = layer.init(jax.random.key(0), IMAGE)
    with pytest.raises(error, match=message):
        layer(params, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.Conv(0, (3, 3)), "features must be a positive integer"),
        (lambda: fnn.Conv(4, 3), "kernel_size must be a tuple of 1, 2 or 3"),
        (lambda: fnn.Conv(4, (3, 3, 3, 3)), "kernel_size must be a tuple"),
        (lambda: fnn.Conv(4, (3, 0)), "each element of kernel_size"),
        (lambda: fnn.Conv(4, (3, 3), stride=0), "stride must be an integer from 1"),
        (lambda: fnn.Conv(4, (3, 3), stride=(1, 2, 3)), "one for each of the 2"),
        (lambda: fnn.Conv(4, (3, 3), dilation=-1), "dilation must be"),
        (lambda: fnn.Conv(4, (3, 3), padding="causal"), "'causal' is for one axis"),
        (lambda: fnn.Conv(4, (3, 3), padding="full"), "padding must be 'valid'"),
        (lambda: fnn.Conv(4, (3, 3), padding=-1), "padding must be"),
        (lambda: fnn.Conv(4, (3, 3), groups=3), "groups must divide the features"),
        (lambda: fnn.Conv(4, (3, 3), bias="position"), "bias must be one of"),
        (
            lambda: fnn.Conv(4, (3, 3), groups=2).init(jax.random.key(0), IMAGE),
            "groups must divide the channels",
        ),
        (lambda: fnn.ConvTranspose(4, (3,), padding="causal"), "no padding 'causal'"),
        (
            lambda: fnn.ConvTranspose(4, (3,), output_padding=1),
            "output_padding must be less than the stride",
        ),
        (
            lambda: fnn.ConvTranspose(4, (3,), stride=2, output_padding=(1, 1)),
            "output_padding must be an integer from 0",
        ),
        (
            lambda: fnn.ConvTranspose(4, (3,), 2, "same", output_padding=1),
            "no meaning with padding 'same'",
        ),
        (
            lambda: fnn.ConvTranspose(4, (2,), padding=1).init(
                jax.random.key(0), jnp.zeros((1, 3))
            ),
            r"down to nothing: the output would have the size \(0,\)",
        ),
        (lambda: fnn.DepthwiseConv((3, 3), 0), "multiplier must be a positive integer"),
        (lambda: fnn.DepthwiseConv((3, 3), bias="none"), "bias must be one of"),
    ],
)
def test_bad_configuration(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bias_per_position_is_tied_to_one_size():
    layer = fnn.Conv(4, (3, 3), bias="per_position")
    params, _ = layer.init(jax.random.key(0), IMAGE)
    assert params["bias"].shape == (6, 6, 4)
    with pytest.raises(ValueError, match="bias per position, initialized for an output"):
        layer(params, jnp.zeros((9, 8, 3)))


def test_a_loop_over_steps_is_compiled_for_windows_of_one_point_on_the_cpu(on_cpu):
    """XLA makes a product of them, which it does not compute naively in a loop."""
    x, loops = jnp.zeros((8, 8, 1)), {}
    for size in (1, 2):
        layer = fnn.Conv(8, (size, size))
        params, _ = layer.init(jax.random.key(0), x)
        gradient = jax.grad(lambda params: jnp.sum(layer(params, x)))  # noqa: B023
        loops[size] = choose_loop(jax.make_jaxpr(gradient)(params).jaxpr)
    assert loops == {1: any_count_loop, 2: host_loop}
