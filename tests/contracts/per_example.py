"""Losses of one example, and how the norms of their gradients are to be computed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class NetworkRow(NamedTuple):
    """A loss, shapes of parameters and of a batch of five (or ids below a bound), rules."""

    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, ...]
    rules: dict[str, str]


class Ids(NamedTuple):
    """Integers below a bound."""

    below: int
    shape: tuple[int, ...]


def linear(w, x):
    """Its gradient is x."""
    return w @ x


PRODUCT = "product, formed and forgotten"
FORMED = "formed"
RANK_ONE = "|a|² |g|²"
GRAM = "product, centred Gram form"
TABLE = "rows of a table"
POOLED = "rows of a table, pooled"


def draw(row, dtype=jnp.float64, seed=0):
    """Return random parameters and a random batch of the shapes in a row."""
    rng = np.random.default_rng(seed)

    def one(spec):
        if isinstance(spec, Ids):
            return jnp.asarray(rng.integers(0, spec.below, (5, *spec.shape)), jnp.int32)
        return jnp.asarray(rng.normal(size=(5, *spec)), dtype)

    params = {k: jnp.asarray(rng.normal(size=s), dtype) for k, s in row.params.items()}
    return params, tuple(map(one, row.batch))


def mlp(p, x, y):
    h = jnp.tanh(x @ p["w1"] + p["b1"])
    return jnp.sum((h @ p["w2"] - y) ** 2) + jnp.sum(lax.stop_gradient(p["frozen"]))


def bottleneck(p, x):
    """The gradient of the first bias is a product with the second weight."""
    return jnp.sum(jnp.sin((x @ p["w1"] + p["b1"]) @ p["w2"]))


def attention(p, x):
    q, k, v = (jnp.einsum("td,dhk->thk", x, p[name]) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("thk,shk->hts", q, k))
    mixed = jnp.einsum("hts,shk->thk", weights, v)
    return jnp.sum(jnp.sin(jnp.einsum("thk,hkd->td", mixed, p["o"]) + x))


def per_head(p, x):
    """Each of two heads has a matrix of its own for what it reads of the example."""
    return jnp.sum(jnp.tanh(jnp.einsum("thd,hde->the", x, p["w"])))


def two_positions(p, x):
    return jnp.sum(jnp.tanh(x @ p["w"]) ** 2)


def transposed(p, x):
    return jnp.sum(jnp.tanh(jnp.tanh(x @ p["w"]) @ p["w"].T))


def normalized(p, x):
    x = p["w"] @ x
    x = (x - jnp.mean(x)) * lax.rsqrt(jnp.var(x) + 1e-3)
    return jnp.sum(jnp.sin(x * p["scale"] + p["shift"]))


def classifier(p, ids, label):
    logits = jnp.tanh(jnp.mean(p["table"][ids], 0)) @ p["head"]
    return -jax.nn.log_softmax(logits)[label]


def one_id(p, i, x):
    return jnp.sum(jnp.sin(p["table"][i] * x))


def columns(p, ids, x):
    return jnp.sum(jnp.sin(p["table"][:, ids] * x))


def two_tables(p, a, b):
    return jnp.sum(jnp.sin(p["table"].at[a].get() * p["table"].at[b].get(mode="clip")))


def grid(p, i, j):
    return jnp.sum(jnp.sin(p["table"][i, j]) ** 2)


def tied(p, ids, following):
    h = jnp.tanh(p["table"][ids])
    logits = jax.nn.log_softmax(h @ p["table"].T)
    return -jnp.sum(jnp.take_along_axis(logits, following[:, None], 1))


def long_text(p, ids, x):
    return jnp.sum(jnp.sin(p["table"][ids] * x))


def pooled(p, ids, x):
    rows = p["table"].at[ids].get(mode="fill", fill_value=0)
    return jnp.sum(jnp.sin(jnp.sum(rows, 0) * x))


def two_pools(p, a, b):
    rows = [p["table"].at[ids].get(mode="fill", fill_value=0) for ids in (a, b)]
    return jnp.sum(jnp.tanh(jnp.mean(rows[0], 0)) * jnp.sum(rows[1], 0))


def stacked(p, x):
    def layer(h, w):
        return jnp.tanh(h @ w), None

    return jnp.sum(lax.scan(layer, x, p["w"])[0] ** 2)


def recurrent(p, xs):
    def cell(h, x):
        h = jnp.tanh(h @ p["u"] + x @ p["w"] + p["b"])
        return h, h

    return jnp.sum(lax.scan(cell, jnp.zeros(4, xs.dtype), xs, reverse=True)[1] ** 2)


def gated(p, xs):
    """Cotangents of the first gate are shared, those of the other are not."""

    def cell(h, x):
        (a, b), (c, d) = (jnp.split(y, 2) for y in (x @ p["w"], h @ p["u"]))
        gate = jax.nn.sigmoid(a + c)
        return gate * h + (1 - gate) * jnp.tanh(b + gate * d), None

    hidden = p["u"].shape[0]
    return jnp.sum(lax.scan(cell, jnp.zeros(hidden, xs.dtype), xs)[0] ** 2)


def recurrent_lookup(p, ids):
    def cell(h, i):
        h = jnp.tanh(p["table"][i] + 0.5 * h)
        return h, None

    start = jnp.zeros(3, p["table"].dtype)
    return jnp.sum(lax.scan(cell, start, ids)[0])


def recurrent_pool(p, ids, x):
    def cell(h, i):
        return jnp.sin(h) + pooled(p, i, x), None

    return lax.scan(cell, jnp.zeros((), x.dtype), ids)[0]


def nested_scan(p, xs):
    def outer(h, w):
        def inner(h, x):
            return jnp.tanh(h @ w + x), None

        return lax.scan(inner, h, xs)[0], None

    return jnp.sum(lax.scan(outer, jnp.zeros(3, xs.dtype), p["w"])[0])


def checkpointed(p, x):
    block = jax.checkpoint(lambda x: jnp.tanh(x @ p["w"]))
    return jnp.sum(jax.jit(lambda x: block(block(x)))(x))


def split(p, x):
    a, b = jnp.split(p["w"], 2, axis=1)
    return jnp.sum(jnp.tanh(x @ a) * (x @ b))


def concatenated(p, x):
    return jnp.sum(jnp.tanh(x @ jnp.concatenate([p["u"], p["v"]], 1)))


def overlapping(p, x):
    return jnp.sum(jnp.tanh(x @ p["w"][:, :3]) * (x @ p["w"][:, 1:]))


def scaled(p, x, s):
    """A weight that is scaled, by a constant and by a number of each example."""
    return jnp.sum(jnp.tanh(x @ (-p["w"] * jnp.exp(s) / 3)))


def penalized(p, x):
    return jnp.sum(jnp.tanh(x @ p["w"])) + jnp.sum(p["w"] ** 2)


@jax.custom_vjp
def doubled(x, w):
    return x @ w


doubled.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda r, g: (g @ r[1].T, 2 * jnp.einsum("i,j->ij", r[0], g)),
)


def custom(p, x):
    return jnp.sum(jnp.tanh(jax.nn.relu(doubled(x, p["w"]))))


def scalar(p, x):
    return jnp.sum(p["a"] * x) ** 2


def branching(p, x):
    return lax.cond(x[0] > 0, lambda x: jnp.sum(x @ p["w"]), jnp.sum, x)


def convolution(**options):
    def loss(p, x):
        return jnp.sum(jnp.tanh(lax.conv_general_dilated(x[None], p["w"], **options)) ** 2)

    return loss


def conv_twice(p, x):
    def conv(x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, p["w"], (1, 1), "SAME", dimension_numbers=numbers
        )

    return jnp.sum(jnp.tanh(conv(jnp.tanh(conv(x[None])))))


def conv_transposed(p, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_transpose(
        x[None], p["w"], (2, 2), "SAME", dimension_numbers=numbers, transpose_kernel=True
    )
    return jnp.sum(jnp.tanh(y))


def several_images(p, x):
    return jnp.sum(jnp.tanh(lax.conv_general_dilated(x, p["w"], (1, 1), "SAME")))


IMAGES = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

NETWORKS = {
    "mlp": NetworkRow(
        mlp,
        {"w1": (5, 7), "b1": (7,), "w2": (7, 3), "frozen": (2,)},
        ((5,), (3,)),
        {"w1": RANK_ONE, "b1": FORMED, "w2": RANK_ONE, "frozen": "no gradient"},
    ),
    "no activation": NetworkRow(
        bottleneck,
        {"w1": (5, 3), "b1": (3,), "w2": (3, 6)},
        ((5,),),
        {"w1": RANK_ONE, "b1": FORMED, "w2": RANK_ONE},
    ),
    "attention": NetworkRow(
        attention,
        {"q": (6, 2, 3), "k": (6, 2, 3), "v": (6, 2, 3), "o": (2, 3, 6)},
        ((4, 6),),
        dict.fromkeys("qkvo", FORMED),
    ),
    "heads": NetworkRow(per_head, {"w": (2, 14, 13)}, ((3, 2, 14),), {"w": GRAM}),
    "two positions": NetworkRow(two_positions, {"w": (9, 8)}, ((2, 9),), {"w": GRAM}),
    "transposed": NetworkRow(transposed, {"w": (30, 25)}, ((3, 30),), {"w": GRAM}),
    "norm": NetworkRow(
        normalized,
        {"w": (4, 3), "scale": (4,), "shift": (4,)},
        ((3,),),
        {"w": RANK_ONE, "scale": FORMED, "shift": FORMED},
    ),
    "embedding": NetworkRow(
        classifier,
        {"table": (7, 4), "head": (4, 3)},
        (Ids(7, (6,)), Ids(3, ())),
        {"table": POOLED, "head": RANK_ONE},
    ),
    "one id": NetworkRow(one_id, {"table": (7, 4)}, (Ids(7, ()), (4,)), {"table": TABLE}),
    "columns": NetworkRow(
        columns, {"table": (4, 7)}, (Ids(7, (5,)), (4, 5)), {"table": TABLE}
    ),
    "two lookups": NetworkRow(
        two_tables, {"table": (7, 2)}, (Ids(9, (4,)), Ids(9, (4,))), {"table": TABLE}
    ),
    "grid": NetworkRow(
        grid, {"table": (3, 4, 2)}, (Ids(3, (6,)), Ids(4, (6,))), {"table": TABLE}
    ),
    "long text": NetworkRow(
        long_text, {"table": (50, 2)}, (Ids(50, (300,)), (300, 2)), {"table": TABLE}
    ),
    "pooled text": NetworkRow(
        pooled, {"table": (50, 2)}, (Ids(60, (300,)), (2,)), {"table": POOLED}
    ),
    "two pools": NetworkRow(
        two_pools, {"table": (7, 2)}, (Ids(9, (6,)), Ids(9, (4,))), {"table": TABLE}
    ),
    "tied embedding": NetworkRow(
        tied,
        {"table": (11, 4)},
        (Ids(11, (6,)), Ids(11, (6,))),
        {"table": "table, looked up and multiplied"},
    ),
    "layers in a scan": NetworkRow(stacked, {"w": (3, 4, 4)}, ((4,),), {"w": RANK_ONE}),
    "sequences in a scan": NetworkRow(stacked, {"w": (3, 9, 9)}, ((2, 9),), {"w": GRAM}),
    "recurrent": NetworkRow(
        recurrent,
        {"u": (4, 4), "w": (3, 4), "b": (4,)},
        ((7, 3),),
        dict.fromkeys("uwb", FORMED),
    ),
    "gated": NetworkRow(
        gated, {"u": (4, 8), "w": (3, 8)}, ((7, 3),), dict.fromkeys("uw", FORMED)
    ),
    "recurrent lookup": NetworkRow(
        recurrent_lookup, {"table": (6, 3)}, (Ids(6, (5,)),), {"table": TABLE}
    ),
    "recurrent pool": NetworkRow(
        recurrent_pool, {"table": (6, 3)}, (Ids(8, (5, 4)), (3,)), {"table": TABLE}
    ),
    "scan in a scan": NetworkRow(nested_scan, {"w": (2, 3, 3)}, ((4, 3),), {"w": FORMED}),
    "checkpoint": NetworkRow(checkpointed, {"w": (9, 9)}, ((9,),), {"w": GRAM}),
    "split weight": NetworkRow(
        split, {"w": (3, 8)}, ((3,),), {"w": "parts that don't overlap"}
    ),
    "concatenated weights": NetworkRow(
        concatenated, {"u": (3, 2), "v": (3, 5)}, ((3,),), {"u": FORMED, "v": FORMED}
    ),
    "overlapping slices": NetworkRow(overlapping, {"w": (3, 4)}, ((3,),), {"w": PRODUCT}),
    "scaled weight": NetworkRow(scaled, {"w": (3, 8)}, ((3,), ()), {"w": RANK_ONE}),
    "penalty": NetworkRow(penalized, {"w": (3, 8)}, ((3,),), {"w": FORMED}),
    "custom rule": NetworkRow(custom, {"w": (3, 8)}, ((3,),), {"w": RANK_ONE}),
    "scalar": NetworkRow(scalar, {"a": ()}, ((3,),), {"a": FORMED}),
    "branches": NetworkRow(branching, {"w": (3, 8)}, ((3,),), {"w": FORMED}),
    "conv 1-D": NetworkRow(
        convolution(
            window_strides=(1,), padding="SAME", dimension_numbers=("NWC", "WIO", "NWC")
        ),
        {"w": (3, 3, 5)},
        ((8, 3),),
        {"w": FORMED},
    ),
    "conv, few positions": NetworkRow(
        convolution(window_strides=(2, 1), padding="VALID", **IMAGES),
        {"w": (3, 3, 4, 8)},
        ((3, 4, 4),),
        {"w": GRAM},
    ),
    "conv, strides": NetworkRow(
        convolution(window_strides=(2, 3), padding="SAME", **IMAGES),
        {"w": (3, 2, 2, 3)},
        ((7, 8, 2),),
        {"w": FORMED},
    ),
    "conv, dilated": NetworkRow(
        convolution(
            window_strides=(2, 1), padding=((2, 0), (1, 1)), rhs_dilation=(2, 1), **IMAGES
        ),
        {"w": (3, 2, 2, 3)},
        ((7, 8, 2),),
        {"w": FORMED},
    ),
    "conv, cropped": NetworkRow(
        convolution(window_strides=(1, 1), padding=((-1, 3), (2, -1))),
        {"w": (5, 4, 3, 2)},
        ((4, 5, 6),),
        {"w": FORMED},
    ),
    "conv, dilated input": NetworkRow(
        convolution(window_strides=(2, 2), padding=((1, 2), (0, 0)), lhs_dilation=(2, 1)),
        {"w": (3, 4, 3, 3)},
        ((4, 5, 6),),
        {"w": FORMED},
    ),
    "conv, groups": NetworkRow(
        convolution(
            window_strides=(2, 1),
            padding="VALID",
            rhs_dilation=(1, 2),
            feature_group_count=2,
            **IMAGES,
        ),
        {"w": (3, 2, 2, 6)},
        ((7, 8, 4),),
        {"w": FORMED},
    ),
    "conv, depthwise": NetworkRow(
        convolution(window_strides=(1, 1), padding="SAME", feature_group_count=4, **IMAGES),
        {"w": (3, 2, 1, 8)},
        ((5, 4, 4),),
        {"w": FORMED},
    ),
    "conv, whole image": NetworkRow(
        convolution(window_strides=(1, 1), padding="VALID"),
        {"w": (5, 4, 4, 5)},
        ((4, 4, 5),),
        {"w": RANK_ONE},
    ),
    "conv 3-D": NetworkRow(
        convolution(
            window_strides=(1, 2, 1),
            padding="SAME",
            dimension_numbers=("NHWDC", "HWDIO", "NHWDC"),
        ),
        {"w": (2, 2, 2, 2, 3)},
        ((4, 5, 3, 2),),
        {"w": FORMED},
    ),
    "conv, used twice": NetworkRow(
        conv_twice, {"w": (3, 3, 2, 2)}, ((4, 3, 2),), {"w": FORMED}
    ),
    "conv, transposed": NetworkRow(
        conv_transposed, {"w": (3, 3, 2, 2)}, ((3, 3, 2),), {"w": FORMED}
    ),
    "conv, several images": NetworkRow(
        several_images, {"w": (2, 3, 3, 3)}, ((2, 3, 4, 4),), {"w": FORMED}
    ),
}
