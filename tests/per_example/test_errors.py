"""Errors of `per_example`, and its report of how it works."""

import jax
import jax.numpy as jnp
import pytest

from fnn import per_example

W, X = jnp.ones((3, 2)), jnp.ones((4, 3))


def loss(w, x):
    return jnp.sum(x @ w)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            ValueError,
            r"^gradients called the loss with one example, \(float32\[3\]\), and not with "
            r"a batch.*loss of one example must be a scalar, got float32\[2\]",
            lambda: per_example.gradients(lambda w, x: x @ w)(W, X),
        ),
        (
            ValueError,
            "did you mean has_aux=True",
            lambda: per_example.gradients(lambda w, x: (loss(w, x), x))(W, X),
        ),
        (
            TypeError,
            "must return a pair",
            lambda: per_example.gradients(loss, has_aux=True)(W, X),
        ),
        (
            TypeError,
            r"loss must be a floating-point number, got int32\[\]",
            lambda: per_example.gradients(lambda w, x: jnp.int32(1))(W, X),
        ),
        (
            ValueError,
            "as many examples in all leaves",
            lambda: per_example.gradients(lambda w, x, y: loss(w, x))(W, X, X[:2]),
        ),
        (ValueError, "needs a batch", lambda: per_example.gradients(loss)(W)),
        (
            ValueError,
            "needs a leading axis",
            lambda: per_example.gradients(loss)(W, jnp.float32(1)),
        ),
        (
            TypeError,
            r"real floating-point numbers; a/n is int32\[2\]",
            lambda: per_example.gradients(loss)({"a": {"n": jnp.arange(2)}}, X),
        ),
        (
            TypeError,
            r"a is str 'relu'; let the loss close over what is not trained",
            lambda: per_example.gradients(loss)({"w": W, "a": "relu"}, X),
        ),
        (
            TypeError,
            r"k is key<fry>\[\]",
            lambda: per_example.gradients(loss)({"w": W, "k": jax.random.key(0)}, X),
        ),
        (
            TypeError,
            r"the batch 1 must be an array of numbers, got a list of 4, its first str",
            lambda: per_example.gradients(loss)(W, X, ["a", "b", "c", "d"]),
        ),
        (
            ValueError,
            r"weights must be a tree like the parameters, got \{a: float32\[4\]\}",
            lambda: per_example.gradients(loss)(W, X).weighted_sum({"a": jnp.ones(4)}),
        ),
        (
            ValueError,
            r"v must be a tree like the parameters, got \{a: float32\[3,2\]\}",
            lambda: per_example.gradients(loss)(W, X).inner_products({"a": W}),
        ),
        (
            ValueError,
            r"same parameters, of shapes \{'': \(3, 2\)\}, got \{'': \(3, 4\)\}",
            lambda: per_example.gradients(loss)(W, X).gram(
                per_example.gradients(loss)(jnp.ones((3, 4)), X)
            ),
        ),
        (
            TypeError,
            r"params is complex64\[\]",
            lambda: per_example.gradients(loss)(jnp.complex64(1), X),
        ),
        (ValueError, "params holds no array", lambda: per_example.gradients(loss)({}, X)),
        (
            ValueError,
            "memory_budget must be a positive integer, got 0",
            lambda: per_example.gradients(loss, memory_budget=0),
        ),
        (
            ValueError,
            "weights must be one for each of 4 examples",
            lambda: per_example.gradients(loss)(W, X).weighted_sum(jnp.ones(3)),
        ),
        (
            ValueError,
            r"v must be like the parameters: one has shape \(3, 2\)",
            lambda: per_example.gradients(loss)(W, X).inner_products(jnp.ones(3)),
        ),
        (
            TypeError,
            r"examples must be integers, \(n,\), got float32\[2\]",
            lambda: per_example.gradients(loss)(W, X).take(jnp.ones(2)),
        ),
    ],
)
def test_error_says_what_is_wrong(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_coupled_batch_is_refused():
    def coupled(w, x):
        return loss(w, x - jax.lax.pmean(x, "batch"))

    with pytest.raises(ValueError, match="gradients of single examples do not exist"):
        per_example.gradients(coupled)(W, X)


def test_other_errors_of_the_loss_are_left_as_they_are():
    with pytest.raises(NameError, match="missing"):
        per_example.gradients(lambda w, x: missing)(W, X)  # noqa: F821


def test_explanation_prints_as_a_table():
    def two(params, x):
        return jnp.sum(jnp.sin(x @ params["kernel"] + params["bias"]))

    params = {"kernel": W, "bias": jnp.zeros(2)}
    table = str(per_example.gradients(two)(params, X).explain())
    assert table.splitlines() == [
        "parameter  shape  rule       why                         FLOPs  bytes",
        "---------  -----  ---------  --------------------------  -----  -----",
        "bias       [2]    formed     not a product: elementwise     16     32",
        "kernel     [3,2]  |a|² |g|²                                 40      0",
    ]


def test_explanation_says_why_a_gradient_is_formed():
    def loss(params, x):
        y = jax.nn.relu(x @ params["kernel"] + params["bias"][None])
        z = jax.lax.cumsum(params["steps"]) @ jnp.mean(y, -1)

        def step(state, row):
            return jnp.sin(state * params["decay"] + row), None

        return z + jnp.sum(jax.lax.scan(step, x[0], x)[0])

    params = {"kernel": W, "bias": jnp.ones(2), "steps": jnp.ones(5)}
    params["decay"] = jnp.ones(3)
    x = jnp.ones((4, 5, 3))  # 5 positions
    rows = jax.eval_shape(per_example.gradients(loss), params, x).explain().rows
    assert {row.path: row.why for row in rows} == {
        "bias": "not a product: a sum over positions",
        "decay": "in a scan, not a product: elementwise",
        "kernel": "a product not much larger than its factors",
        "steps": "not a product: the result of cumsum",
    }


def test_explaining_computes_nothing():
    specs = jax.ShapeDtypeStruct((3, 2), "float32"), jax.ShapeDtypeStruct((4, 3), "float32")
    explanation = jax.eval_shape(per_example.gradients(loss), *specs).explain()
    assert [row.rule for row in explanation.rows] == ["|a|² |g|²"]


def test_factored_gradients_print_in_a_few_lines():
    def loss(params, x):
        return jnp.sum(jnp.tanh(x @ params["kernel"]))

    params = {"kernel": jnp.ones((3, 2))}
    compute, seen = per_example.gradients(loss), []
    jax.jit(lambda p, x: seen.append(repr(compute(p, x))) or x)(params, jnp.ones((4, 3)))
    expected = "FactoredGradients of 4 examples\n  kernel: [3, 2], |a|² |g|²"
    assert seen == [expected]
    assert repr(compute(params, jnp.ones((4, 3)))) == expected


def test_a_batched_loss_is_told_that_it_sees_one_example():
    def loss(w, x):
        _batch, _features = x.shape
        return jnp.mean(x @ w)

    message = (
        r"^gradients called the loss with one example, \(float32\[3\]\), and not with "
    )
    with pytest.raises(ValueError, match=f"{message}a batch.*not enough values"):
        per_example.gradients(loss)(jnp.ones(3), jnp.ones((4, 3)))
