"""Metrics: published values, scikit-learn's, laws, edge cases and errors."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contracts.losses import METRICS, SET_METRICS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

import fnn
from fnn import metrics
from fnn.metrics import WeightedMean


def test_every_metric_has_a_row():
    public = {
        name
        for name, thing in vars(metrics).items()
        if inspect.isfunction(thing) and name[0] != "_"
    }
    assert public == {name.split(",")[0] for name in {**METRICS, **SET_METRICS}}


# The values of scikit-learn's documentation


def test_confusion_matrix_has_a_row_per_true_class():
    labels, predictions = np.array([2, 0, 2, 2, 0, 1]), np.array([0, 0, 2, 2, 0, 2])
    counts = metrics.confusion_matrix(predictions, labels, 3)
    np.testing.assert_array_equal(counts, [[2, 0, 0], [0, 0, 1], [1, 0, 2]])


def test_precision_recall_and_f1_per_class_and_averaged(x64):
    labels, predictions = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 2, 1, 0, 0, 1])
    expected = (
        (metrics.precision, [2 / 3, 0, 0], 2 / 9),
        (metrics.recall, [1, 0, 0], 1 / 3),
        (metrics.f1, [0.8, 0, 0], 0.8 / 3),
    )

    @jax.jit
    def averaged(predictions, labels):
        of = [
            functools.partial(metric, predictions, labels, 3) for metric, _, _ in expected
        ]
        return [(metric(), metric("macro"), metric("micro")) for metric in of]

    found = averaged(predictions, labels)
    for (_, per_class, macro), values in zip(expected, found, strict=True):
        for value, wanted in zip(values, (per_class, macro, 1 / 3), strict=True):
            np.testing.assert_allclose(value, wanted)


def test_roc_auc_of_four_scores():
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert jax.jit(metrics.roc_auc)(scores, labels) == 0.75


def test_r2_of_four_predictions(x64):
    y, t = np.array([2.5, 0.0, 2, 8]), np.array([3, -0.5, 2, 7])
    np.testing.assert_allclose(metrics.r2(y, t), 0.948608137, atol=5e-10)


def test_top_2_accuracy_of_four_examples():
    scores = jnp.array([[0.5, 0.2, 0.2], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3], [0.7, 0.2, 0.1]])
    top_2 = functools.partial(metrics.top_k_accuracy, k=2)
    assert jax.vmap(top_2)(scores, jnp.array([0, 1, 2, 2])).mean() == 0.75


# Against scikit-learn


SETS = (
    (metrics.precision, sklearn_metrics.precision_score),
    (metrics.recall, sklearn_metrics.recall_score),
    (metrics.f1, sklearn_metrics.f1_score),
)
AVERAGES = (None, "macro", "micro")


@jax.jit
def of_sets(predictions, labels, scores):
    averaged = [[ours(predictions, labels, 4, a) for a in AVERAGES] for ours, _ in SETS]
    counts = metrics.confusion_matrix(predictions, labels, 4)
    area = metrics.roc_auc(scores, (labels > 1).astype(int))
    return averaged, counts, area, metrics.r2(scores, labels)


@settings(max_examples=20)
@given(st.data())
def test_sets_agree_with_scikit_learn(data):
    """Ties, absent classes and all."""
    column = st.lists(st.integers(0, 3), min_size=12, max_size=12).map(np.array)
    predictions, labels = data.draw(column), data.draw(column)
    scores = np.array(data.draw(st.lists(st.integers(0, 5), min_size=12, max_size=12)))
    kwargs = {"labels": range(4), "zero_division": 0}
    with jax.enable_x64(True):
        averaged, counts, area, r2 = of_sets(predictions, labels, scores.astype(float))
        for (_, theirs), values in zip(SETS, averaged, strict=True):
            for average, value in zip(AVERAGES, values, strict=True):
                expected = theirs(labels, predictions, average=average, **kwargs)
                np.testing.assert_allclose(value, expected, rtol=1e-12)
        expected = sklearn_metrics.confusion_matrix(labels, predictions, labels=range(4))
        np.testing.assert_array_equal(counts, expected)
        if 0 < (labels > 1).sum() < 12:
            expected = sklearn_metrics.roc_auc_score(labels > 1, scores)
            np.testing.assert_allclose(area, expected, rtol=1e-12)
        if np.ptp(labels):
            expected = sklearn_metrics.r2_score(labels, scores)
            np.testing.assert_allclose(r2, expected)


def test_r2_of_several_components_is_their_mean(x64):
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
    r2 = jax.jit(metrics.r2)
    np.testing.assert_allclose(r2(y, t), sklearn_metrics.r2_score(t, y), rtol=1e-12)
    each = [r2(y[:, k], t[:, k]) for k in range(3)]
    mapped = jax.jit(jax.vmap(metrics.r2, 1))(y, t)
    np.testing.assert_allclose(mapped, each, rtol=1e-12)
    assert r2(y[:, :1], t[:, 0]) == each[0]


# Laws


@jax.jit
def hits_of(z, label):
    """Return the accuracy, and the top-k accuracy for each k."""
    hits = [metrics.top_k_accuracy(z, label, k) for k in range(1, 6)]
    return metrics.accuracy(z, label), hits


@given(st.lists(st.integers(0, 3), min_size=5, max_size=5), st.integers(0, 4))
def test_top_1_is_accuracy_and_top_all_is_sure(logits, label):
    """Ties too: among equal logits the first is the largest."""
    accuracy, hits = hits_of(np.array(logits, np.float32), label)
    assert hits[0] == accuracy
    assert hits == sorted(hits)
    assert hits[-1] == 1
    ranks = np.argsort(-np.array(logits), kind="stable")
    assert sum(hits) == 5 - list(ranks).index(label)


def test_auc_knows_the_order_of_the_scores_alone(x64):
    rng, auc = np.random.default_rng(1), jax.jit(metrics.roc_auc)
    scores, labels = rng.normal(size=50), rng.integers(0, 2, 50)
    area = auc(scores, labels)
    assert auc(np.exp(scores), labels) == area
    np.testing.assert_allclose(auc(-scores, labels), 1 - area, rtol=1e-12)
    np.testing.assert_allclose(auc(scores, 1 - labels), 1 - area, rtol=1e-12)
    assert auc(np.zeros(50), labels) == 0.5


def test_confusion_matrices_of_batches_add_up():
    count = jax.jit(functools.partial(metrics.confusion_matrix, classes=3))
    rng = np.random.default_rng(2)
    predictions, labels = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    whole = count(predictions, labels)
    parts = [slice(0, 20), slice(20, 50)]
    batches = [np.asarray(count(predictions[p], labels[p])) for p in parts]
    np.testing.assert_array_equal(sum(batches), whole)
    assert whole.sum() == 50


# Edges


def test_auc_is_nan_where_it_is_not_defined():
    auc, scores = jax.jit(metrics.roc_auc), jnp.array([0.1, 0.4, 0.35])
    for labels in ([0, 0, 0], [1, 1, 1]):
        assert np.isnan(auc(scores, np.array(labels)))
    assert np.isnan(auc(scores.at[0].set(jnp.nan), np.array([0, 1, 1])))
    assert np.isnan(auc(jnp.zeros(0), np.zeros(0, int)))


def test_auc_is_exact_for_many_examples():
    """In float32: a sum of ranks would be past its 24 bits here."""
    n = 20_000
    scores, labels = jnp.arange(n, dtype=jnp.float32) // 3, np.arange(n) % 2
    expected = sklearn_metrics.roc_auc_score(labels, np.arange(n) // 3)
    area = jax.jit(metrics.roc_auc)(scores, labels)
    np.testing.assert_allclose(area, expected, rtol=1e-6)


def test_r2_of_constant_targets_is_nan():
    """Also where their mean is not they, by rounding: 0.1 does not sum up."""
    r2, targets = jax.jit(metrics.r2), np.full(7, 0.1, "float32")
    assert np.isnan(r2(targets, targets))
    assert np.isnan(r2(targets + 1, targets))
    targets = np.arange(3, dtype="float32")
    assert r2(targets, targets) == 1
    assert r2(np.ones(3, "float32"), targets) == 0


def test_confidence_on_a_bound_belongs_to_the_bin_below(x64):
    """The last two of (0, 1/4], (1/4, 1/2], (1/2, 3/4] and (3/4, 1] are empty."""
    p = jnp.array([[0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.4, 0.3, 0.3, 0.0]])
    error = jax.jit(functools.partial(metrics.expected_calibration_error, bins=4))
    expected = (abs(1 - 0.9) + 0.25) / 3
    np.testing.assert_allclose(error(p, np.array([0, 1, 1])), expected, rtol=1e-12)
    error = jax.jit(metrics.expected_calibration_error)
    assert error(np.eye(3), np.array([0, 1, 2])) == 0
    assert error(np.eye(3), np.array([1, 2, 0])) == 1


def test_binary_accuracy_takes_both_kinds_of_labels():
    logits = jnp.array([2.0, -1.0, 0.5])
    for labels in ([1, 0, 0], [1, -1, -1], [0.9, 0.1, 0.2]):
        np.testing.assert_allclose(metrics.binary_accuracy(logits, labels), 2 / 3)


def test_nan_is_never_right():
    logits = jnp.array([jnp.nan, 1.0, 2.0])
    assert metrics.top_k_accuracy(logits, 0, 2) == 0
    assert metrics.top_k_accuracy(jnp.full(3, jnp.nan), 1, 2) == 0


def test_label_out_of_range_is_nan_or_not_counted_where_it_cannot_be_seen():
    z, top_2 = jnp.zeros(3), functools.partial(metrics.top_k_accuracy, k=2)
    for metric in (metrics.accuracy, top_2):
        assert np.isnan(jax.jit(metric)(z, 3))
        assert np.isnan(jax.jit(metric)(z, -1))
    labels = jnp.array([0, 1, 2, -1])
    assert np.isnan(jax.jit(metrics.roc_auc)(jnp.zeros(4), labels))
    uniform = jnp.full((4, 2), 0.5)
    assert np.isnan(jax.jit(metrics.expected_calibration_error)(uniform, labels))
    count = jax.jit(functools.partial(metrics.confusion_matrix, classes=2))
    np.testing.assert_array_equal(count(jnp.zeros(4, int), labels), [[1, 0], [1, 0]])
    np.testing.assert_array_equal(count(labels, jnp.zeros(4, int)), [[1, 1], [0, 0]])


# The streaming mean


@jax.jit
def updated(mean, values):
    return mean.update(values)


@given(st.lists(st.lists(st.floats(-100, 100), max_size=4), min_size=1, max_size=4))
def test_mean_over_batches_is_the_mean_of_all(batches):
    with jax.enable_x64(True):
        mean = WeightedMean.init()
        for batch in batches:
            mean = updated(mean, np.array(batch, float))
        whole = np.concatenate(batches)
        expected = whole.mean() if whole.size else np.nan
        np.testing.assert_allclose(mean.result(), expected, rtol=1e-12, atol=1e-12)


def test_mean_weighs_and_does_not_look_at_what_is_masked(x64):
    values, weights = jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 3.0, 0.0])
    mean = WeightedMean.init().update(values, weights)
    assert mean.result() == 7 / 4
    assert mean.update(values, jnp.array([False, True, False])).result() == 9 / 5
    grad = jax.jit(jax.grad(lambda v: WeightedMean.init().update(v, weights).result()))
    np.testing.assert_array_equal(grad(values), [0.25, 0.75, 0])


def test_mean_of_nothing_is_nan_and_adds_nothing():
    nothing = WeightedMean.init()
    assert np.isnan(nothing.result())
    masked = nothing.update(jnp.array([1.0, 2.0]), jnp.zeros(2))
    assert np.isnan(masked.result())
    assert np.isnan(nothing.update(jnp.zeros(0)).result())
    assert masked.update(jnp.array([5.0])).result() == 5


def test_mean_goes_through_scan_and_merges():
    values = jnp.arange(12.0).reshape(4, 3)

    @jax.jit
    def stream(values):
        start = WeightedMean.init()
        return jax.lax.scan(lambda m, v: (m.update(v), m.result()), start, values)

    mean, running = stream(values)
    assert mean.result() == 5.5
    np.testing.assert_array_equal(running, [np.nan, 1, 2.5, 4])
    both = fnn.tree.add(stream(values[:1])[0], stream(values[1:])[0])
    chex.assert_trees_all_close(both, mean)


def test_mean_in_float32_counts_beyond_its_24_bits():
    """A plain sum stands still at 2²⁴, whatever is added to it one by one."""

    @jax.jit
    def stream(mean, values):
        return jax.lax.scan(lambda m, v: (m.update(v), None), mean, values)[0]

    mean = WeightedMean.init().update(jnp.array([2.0]), jnp.array([2.0**24]))
    mean = stream(mean, jnp.zeros(5000))
    exact = 2 * 2**24 / (2**24 + 5000)
    np.testing.assert_allclose(mean.result(), exact, rtol=1.2e-7)
    assert mean.weight[0] + np.float64(mean.weight[1]) == 2**24 + 5000


def test_mean_takes_values_of_any_dtype():
    mean = WeightedMean.init()
    for values in (
        jnp.array([1.0, 2.0], jnp.bfloat16),
        np.array([True, False]),
        jnp.array([3, 4]),
        5.0,
    ):
        mean = mean.update(values)
    assert mean.result() == 16 / 7
    assert mean.result().dtype == jnp.float32
    assert WeightedMean.init("bfloat16").update(1.0).result().dtype == jnp.float32
    assert WeightedMean.init().update(jnp.array([jnp.inf, 1.0])).result() == np.inf


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda z, t: metrics.accuracy(z, 3), ValueError, "from 0 to 2, got 3"),
        (
            lambda z, t: metrics.accuracy(z, 1.0),
            TypeError,
            r"integer classes, got float32\[\]",
        ),
        (lambda z, t: metrics.accuracy(z[None], t), ValueError, "logits of one example"),
        (lambda z, t: metrics.top_k_accuracy(z, 3, 1), ValueError, "got 3"),
        (lambda z, t: metrics.top_k_accuracy(z, 1, 4), ValueError, "at most .* 3, got 4"),
        (lambda z, t: metrics.top_k_accuracy(z, 1, 0), ValueError, "k must be a positive"),
        (lambda z, t: metrics.binary_accuracy(z, 1), ValueError, "one label for each"),
        (lambda z, t: metrics.binary_accuracy(t, t), TypeError, "floating-point"),
        (lambda z, t: metrics.accuracy(t, 1), TypeError, "floating-point"),
        (
            lambda z, t: metrics.confusion_matrix(z, t, 3),
            TypeError,
            "predictions .* integer",
        ),
        (lambda z, t: metrics.confusion_matrix(t, z, 3), TypeError, "labels .* integer"),
        (lambda z, t: metrics.confusion_matrix(t, t, 2), ValueError, "1, got 0 to 2"),
        (lambda z, t: metrics.confusion_matrix(t, t, 0), ValueError, "classes must be"),
        (lambda z, t: metrics.confusion_matrix(t, t[:2], 3), ValueError, "of shape"),
        (lambda z, t: metrics.precision(t, t, 3, "mean"), ValueError, "average must be"),
        (lambda z, t: metrics.recall(t, t, 3, "mean"), ValueError, "average must be"),
        (lambda z, t: metrics.f1(t, t, 3, "mean"), ValueError, "average must be"),
        (metrics.roc_auc, ValueError, "from 0 to 1, got 0 to 2"),
        (lambda z, t: metrics.roc_auc(z, t[:2] * 0), ValueError, "of shape"),
        (lambda z, t: metrics.roc_auc(t, t), TypeError, "floating-point"),
        (lambda z, t: metrics.r2(z, z[:2]), ValueError, "of one shape"),
        (lambda z, t: metrics.r2(z[0], z[0]), ValueError, "of a whole set"),
        (lambda z, t: metrics.r2(z[:0], z[:0]), ValueError, "of one shape"),
        (
            lambda z, t: metrics.expected_calibration_error(z[None] * 9, t[:1]),
            ValueError,
            "takes probabilities, such as jax.nn.softmax .* from 0 to 18",
        ),
        (
            metrics.expected_calibration_error,
            ValueError,
            r"\(examples, classes\)",
        ),
        (
            lambda z, t: metrics.expected_calibration_error(jnp.eye(2), t[1:]),
            ValueError,
            "from 0 to 1, got 1 to 2",
        ),
        (
            lambda z, t: metrics.expected_calibration_error(jnp.eye(3), t, bins=0),
            ValueError,
            "bins must be",
        ),
        (
            lambda z, t: metrics.expected_calibration_error(jnp.zeros((0, 3)), t[:0]),
            ValueError,
            "at least one example",
        ),
        (
            lambda z, t: WeightedMean.init().update(z, z[:2]),
            ValueError,
            r"\(3,\), got .*\[2\]",
        ),
        (lambda z, t: WeightedMean.init().update(z, -z), ValueError, "negative, got -2"),
    ],
)
def test_bad_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.array([0.0, 1.0, 2.0]), jnp.array([0, 1, 2]))


def test_prediction_that_holds_nan_is_wrong():
    right = (metrics.accuracy, functools.partial(metrics.top_k_accuracy, k=2))
    for logits in (jnp.full(3, jnp.nan), jnp.array([0.0, jnp.nan, 2.0])):
        for label in range(3):
            assert [metric(logits, label) for metric in right] == [0, 0]
            assert fnn.losses.misclassification(logits, label) == 1
    for labels in ([0, 0], [1, 1]):
        assert metrics.binary_accuracy(jnp.full(2, jnp.nan), labels) == 0
    assert np.isnan(metrics.binary_accuracy(jnp.zeros(2), jnp.array([jnp.nan, 0.0])))
    assert np.isnan(metrics.accuracy(jnp.zeros(2), jnp.array([jnp.nan, 0.0])))
    for loss in (fnn.losses.nll, fnn.losses.multiclass_hinge):
        assert np.isnan(loss(jnp.array([jnp.nan]), 0))
    assert np.isnan(fnn.losses.nll(jnp.array([jnp.nan, 0.0]), 1))
    assert np.isnan(metrics.r2(jnp.array([jnp.nan, 0.0]), jnp.array([0.0, 1.0])))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_r2_does_not_depend_on_the_scale(scale):
    y, t = np.array([2.5, 0.0, 2, 8], np.float32), np.array([3, -0.5, 2, 7], np.float32)
    scale = np.float32(scale)
    np.testing.assert_allclose(metrics.r2(y * scale, t * scale), 0.948608137, rtol=1e-6)


def test_auc_takes_booleans():
    scores = jnp.array([0.1, 0.4, 0.35, 0.8])
    assert metrics.roc_auc(scores, np.array([False, False, True, True])) == 0.75


def test_confidence_on_a_bound_that_a_product_would_miss(x64):
    """0.07 · 100 is above 7; a right prediction beside it then would fall into its bin."""
    p = jnp.array([[0.07, *[0.93 / 99] * 99], [0.075, *[0.925 / 99] * 99]])
    error = functools.partial(metrics.expected_calibration_error, bins=100)
    expected = (0.07 + 0.925) / 2  # the first is wrong, the second right
    np.testing.assert_allclose(error(p, np.array([1, 0])), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("metric", "output"),
    [
        (metrics.r2, jnp.zeros(1)),
        (metrics.f1, jnp.zeros(3)),
        (functools.partial(metrics.precision, classes=3), jnp.zeros(3)),
        (metrics.recall, jnp.zeros(3)),
        (metrics.confusion_matrix, jnp.zeros(3)),
        (metrics.roc_auc, jnp.zeros(1)),
        (metrics.expected_calibration_error, jnp.ones(1)),
    ],
)
def test_metric_of_a_set_says_so_to_one_example(metric, output):
    target = jnp.zeros((), jnp.int32)
    with pytest.raises(
        ValueError, match=r"metric of a whole set.*fnn\.predict.*such as fnn"
    ):
        jax.vmap(metric)(output[None], target[None])


def test_metrics_of_classes_name_themselves_where_labels_are_none():
    z = jnp.ones(3)
    for metric in (metrics.accuracy, functools.partial(metrics.top_k_accuracy, k=1)):
        name = getattr(metric, "func", metric).__name__
        with pytest.raises(TypeError, match=f"labels of {name} for 3 logits must be int"):
            metric(z, True)
        with pytest.raises(ValueError, match=f"labels of {name} for 3 logits must be from"):
            metric(z, 3)
