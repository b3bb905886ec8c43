"""The contents of pictures: lines, labels, limits, legends."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from contracts.pictures import (
    HISTORY,
    IMAGES,
    LABELS,
    NAMES,
    TRIALS,
    draw,
    legend,
    texts,
    ticks,
)
from matplotlib.colors import to_rgb

import fnn
from fnn import plots


def test_learning_curve():
    axes, _ = draw("learning_curve")
    for line, name in zip(axes.lines, ("loss", "val_loss"), strict=True):
        assert line.get_xdata().tolist() == [1, 2, 3]
        assert line.get_ydata().tolist() == HISTORY[name]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert legend(axes) == ["training", "validation"]


def test_learning_curves_are_named_in_the_order_of_their_ends():
    _, axes = plt.subplots()
    histories = {
        "low": {"top_2": [3, 1]},
        "lost": {"top_2": [3, np.nan]},
        "high": {"top_2": [3, 2], "val_top_2": [4, 3, 5]},
        "middle": {"top_2": [3, 1.5]},
    }
    plots.learning_curves(histories, "top_2", log=True, axes=axes)
    assert legend(axes) == ["lost", "high", "middle", "low", "validation"]
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "top 2")
    training, validation = axes.lines[2:4]
    assert validation.get_ydata().tolist() == [4, 3, 5]
    assert training.get_color() == validation.get_color()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")


def test_few_decades_have_plain_numbers():
    _, axes = plt.subplots()
    plots.learning_curves({"a": {"loss": [1.0, 0.1, 0.03]}}, log=True, axes=axes)
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    shown = [t for t in ticks(axes.get_yticklabels()) if low <= float(t) <= high]
    assert shown == ["0.05", "0.1", "0.2", "0.5", "1"]


def test_a_single_epoch_is_a_point():
    _, axes = plt.subplots()
    history = {"loss": [1.0], "val_loss": [2.0]}
    plots.learning_curve(history, axes=axes)
    plots.learning_curves({"a": {"loss": [1.0]}}, axes=axes)
    assert [line.get_marker() for line in axes.lines] == ["o"] * 3


def test_more_lines_than_colors_differ_by_their_dashes():
    _, axes = plt.subplots()
    plots.signals({f"{i}": [1.0, 2.0] for i in range(20)}, axes=axes)
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 20


def test_activation():
    axes, _ = draw("activation")
    x = np.linspace(-4, 4, 401)
    sigmoid = 1 / (1 + np.exp(-x))
    expected = sigmoid, sigmoid * (1 - sigmoid)
    for line, y in zip(axes.lines, expected, strict=False):
        np.testing.assert_allclose(line.get_xdata(), x, atol=1e-6)
        np.testing.assert_allclose(line.get_ydata(), y, atol=1e-6)
    assert axes.get_title() == "sigmoid"
    _, axes = plt.subplots()
    plots.activation(jnp.tanh, low=0, high=1, derivative=False, axes=axes)
    assert legend(axes) == ["φ(x)"]
    assert axes.get_xlim() == (0, 1)


def test_schedules():
    axes, _ = draw("schedules")
    steps = np.arange(100)
    line = axes.lines[0]
    assert line.get_xdata().tolist() == steps.tolist()
    cosine = 0.05 * (1 + np.cos(np.pi * steps / 100))
    np.testing.assert_allclose(line.get_ydata(), cosine, atol=1e-6)
    assert axes.get_ylim()[0] == 0
    _, axes = plt.subplots()
    plots.schedules({"flat": fnn.schedules.Constant(0.1)}, 10**6, axes=axes)
    assert len(axes.lines[0].get_xdata()) == 2000
    assert axes.lines[0].get_xdata()[-1] == 10**6 - 1


def test_learning_rate_range_shows_the_descent_and_not_the_divergence():
    _, axes = plt.subplots()
    rates, losses = np.geomspace(1e-4, 1, 5), [2.0, 1.9, 1.0, 1e6, np.nan]
    plots.learning_rate_range(rates, losses, suggested=2e-3, axes=axes)
    low, high = axes.get_ylim()
    assert 0.5 < low < 1
    assert 2 < high < 4
    assert axes.lines[1].get_xdata()[0] == 2e-3
    assert legend(axes) == ["suggested: 0.002"]


def test_confusion_matrix():
    _, axes = plt.subplots()
    plots.confusion_matrix([[198, 2], [0, 0]], ["cat", "dog"], normalize=True, axes=axes)
    assert texts(axes) == ["99", "1", "0", "0"]
    assert ticks(axes.get_xticklabels()) == ticks(axes.get_yticklabels()) == ["cat", "dog"]
    cells = axes.images[0].get_array()
    right, wrong = np.array(to_rgb("#0072B2")), np.array(to_rgb("#D55E00"))
    np.testing.assert_allclose(cells[0, 0], 1 - 0.99 ** (1 / 3) * (1 - right))
    np.testing.assert_allclose(cells[0, 1], 1 - 0.01 ** (1 / 3) * (1 - wrong))
    np.testing.assert_allclose(cells[1], 1)


def test_a_large_confusion_matrix_has_no_numbers():
    _, axes = plt.subplots()
    assert texts(plots.confusion_matrix(np.eye(101), axes=axes)) == []
    assert len(axes.get_xticks()) < 25


def test_decision_regions():
    axes, _ = draw("decision_regions")
    assert legend(axes) == NAMES[:2]
    first, second = scatters(axes)
    assert first.get_offsets().tolist() == [[0, 0]]
    assert second.get_offsets().tolist() == [[1, 1], [1, 0]]
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == pytest.approx((-0.08, 1.08, -0.08, 1.08))
    blue, orange = np.array(to_rgb("#0072B2")), np.array(to_rgb("#D55E00"))
    cells = image.get_array()
    for corner, color in ((cells[0, 0], blue), (cells[-1, -1], orange)):
        strength = (1 - corner) / (1 - color + 1e-9)
        np.testing.assert_allclose(strength[1:].max(), strength[1:].min(), atol=0.02)
    pale = 1 - cells.min(-1)
    assert pale[0, 0] > 3 * np.diagonal(pale[::-1]).min()  # where both are as likely


def scatters(axes):
    return [c for c in axes.collections if hasattr(c, "get_sizes") and len(c.get_sizes())]


def test_decision_regions_of_classes_that_no_example_has():
    _, axes = plt.subplots()

    def predict(x):
        assert x.dtype == np.float32
        return np.full(len(x), 2)

    x = np.zeros((1, 2), np.float32)
    plots.decision_regions(predict, x, [0], resolution=5, axes=axes)
    assert legend(axes) == ["0"]
    assert axes.images[0].get_array().shape == (5, 5, 3)


def test_filters_are_symmetric_about_no_weight():
    _, axes = plt.subplots()
    kernels = np.arange(2 * 3 * 1 * 4).reshape(2, 3, 1, 4) - 10.0
    image = plots.filters(kernels, axes=axes).images[0]
    assert image.get_clim() == (-13, 13)
    mosaic = image.get_array().filled(np.nan)
    assert mosaic.shape == (2 * 2 + 1, 2 * 3 + 1)
    np.testing.assert_array_equal(mosaic[:2, :3], kernels[:, :, 0, 0])
    np.testing.assert_array_equal(mosaic[:2, 4:], kernels[:, :, 0, 1])
    np.testing.assert_array_equal(mosaic[3:, 4:], kernels[:, :, 0, 3])
    assert np.isnan(mosaic[2]).all()


def test_filters_of_several_channels_have_a_row_for_each():
    _, axes = plt.subplots()
    kernels = np.arange(2 * 2 * 3 * 5.0).reshape(2, 2, 3, 5)
    mosaic = plots.filters(kernels, axes=axes).images[0].get_array()
    assert mosaic.shape == (3 * 3 - 1, 5 * 3 - 1)
    np.testing.assert_array_equal(mosaic[3:5, 12:], kernels[:, :, 1, 4])


def test_the_scale_of_filters_is_as_long_as_their_picture():
    with plots.theme("light"):
        figure, panels = plt.subplots(1, 3, figsize=(12, 4))
        for axes in panels:
            plots.filters(IMAGES[:9, ..., 0], axes=axes)
    figure.canvas.draw()
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "weight"
    lengths = [part.get_window_extent().height for part in (bar, axes)]
    assert 0.9 < lengths[0] / lengths[1] < 1.1


def test_feature_maps_fill_columns():
    _, axes = plt.subplots()
    maps = np.arange(2 * 2 * 5.0).reshape(2, 2, 5)
    mosaic = plots.feature_maps(maps, columns=2, axes=axes).images[0].get_array()
    assert mosaic.shape == (8, 5)
    np.testing.assert_array_equal(mosaic[6:, :2], maps[..., 4])
    assert mosaic.mask[6:, 3:].all()


def test_misclassified():
    axes, _ = draw("misclassified")
    wrong = LABELS != LABELS**2
    assert len(axes.images) == wrong.sum() == 6
    np.testing.assert_array_equal(axes.images[0].get_array(), IMAGES[2, ..., 0])
    assert texts(axes)[:2] == ["2 → 4", "3 → 9"]
    assert axes.get_title() == "6 of 12 misclassified, label → prediction"
    _, axes = plt.subplots()
    plots.misclassified(IMAGES, LABELS, LABELS + 1, limit=4, axes=axes)
    assert len(axes.images) == 4
    assert axes.get_title().endswith("(showing 4)")
    _, axes = plt.subplots()
    assert plots.misclassified(IMAGES, LABELS, LABELS, axes=axes).images[:] == []


def test_influence_shows_the_ends_of_the_ranking():
    _, axes = plt.subplots()
    scores = np.array([0.1, -2, 3, 0, -1, 2, 0, 0, 0, 0, 0, 0])
    plots.influence(IMAGES, scores, LABELS, limit=2, axes=axes)
    chosen = [2, 5, 1, 4]
    shown = [image.get_array() for image in axes.images]
    for image, i in zip(shown, chosen, strict=True):
        np.testing.assert_array_equal(image, IMAGES[i, ..., 0])
    assert texts(axes) == ["2\n+3", "1\n+2", "1\n−2", "0\n−1", "helped", "harmed"]


def test_signals():
    axes, _ = draw("signals")
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), 0.5 ** np.arange(6))
    assert ticks(axes.get_xticklabels()) == NAMES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "standard deviation")


def test_signals_over_training_have_the_first_layer_on_top():
    _, axes = plt.subplots()
    values = [[1.0, 0.1], [2.0, 0.0], [3.0, 0.3]]
    plots.signals_over_training(values, names=["a", "b"], axes=axes)
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), np.transpose(values))
    assert image.get_extent() == [0.5, 3.5, 2.5, 0.5]
    assert image.get_clim() == (0.1, 3)
    assert ticks(axes.get_yticklabels()) == ["a", "b"]
    assert axes.figure.axes[-1].get_ylabel() == "standard deviation"


def test_histograms_count_zeros_apart():
    _, axes = plt.subplots()
    plots.histograms({"dead": [0, 0, 0, 1.0], "alive": [0.5, 0.6, 0.7, 0.8]}, axes=axes)
    assert texts(axes) == ["75% are 0"]
    assert ticks(axes.get_yticklabels()) == ["dead", "alive"]
    first, second = (patch.get_data() for patch in axes.patches)
    assert first.baseline == 0
    assert first.values.min() == -0.9
    assert second.values.min() == 1 - 0.9
    assert axes.yaxis_inverted()


def test_what_is_not_finite_is_left_out():
    _, (left, center, right) = plt.subplots(1, 3)
    plots.histograms({"a": [1.0, 2.0], "b": [np.inf, np.nan]}, axes=left)
    assert left.patches[0].get_data().edges[[0, -1]].tolist() == [1, 2]
    plots.signals_over_training([[1.0, np.inf], [2.0, np.nan]], axes=center)
    assert center.images[0].get_clim() == (1, 2)
    plots.surface([1, 2], [1, 2], [[1.0, np.nan], [2.0, 4.0]], log=True, axes=right)
    assert right.collections[0].get_clim() == (1, 4)
    assert not right.lines  # (0, 0) is outside


@pytest.mark.parametrize("log", [False, True])
def test_flat_surfaces_can_be_drawn(log):
    _, (left, right) = plt.subplots(1, 2)
    plots.surface([0, 1], [0, 1], np.ones((2, 2)), log=log, axes=left)
    plots.paths(
        lambda w: 0 * w[0],
        {"a": [[0.0, 0.0], [1.0, 1.0]]},
        low=0,
        high=1,
        log=log,
        axes=right,
    )
    assert left.collections
    assert right.collections


def test_paths():
    axes, _ = draw("paths")
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in named] == legend(axes) == NAMES
    np.testing.assert_array_equal(named[2].get_xdata(), np.linspace(1, 0, 10))
    assert axes.get_xlim() == axes.get_ylim() == (-2, 2)
    assert [line.get_marker() for line in axes.lines][-1] == "*"


def test_surface_has_the_first_direction_across():
    _, axes = plt.subplots()
    plots.surface([0, 1, 2], [-5, 6], [[0, 0], [1, 1], [2, 2]], axes=axes)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 2), (-5, 6))
    (cross,) = axes.lines
    assert (cross.get_xdata(), cross.get_ydata()) == ([0], [0])
    assert axes.get_xlabel() == "step along the first direction"


def test_parallel_coordinates():
    axes, _ = draw("parallel_coordinates")
    assert ticks(axes.get_xticklabels()) == list(TRIALS)
    thick = max(axes.lines, key=lambda line: line.get_linewidth())
    heights = thick.get_ydata()[[0, 25, 50, -1]]
    np.testing.assert_allclose(heights, [1 / 3, 1, 1, 1])  # the best: the second trial
    assert texts(axes)[:6] == ["0.0001", "0.001", "0.01", "0.1", "16", "64"]
    _, axes = plt.subplots()
    rates = np.geomspace(1e-4, 1, 9)
    table = {"rate": rates, "flag": [True] * 9, "loss": [*range(8), np.inf]}
    plots.parallel_coordinates(table, "loss", best="lowest", axes=axes)
    thick = max(axes.lines, key=lambda line: line.get_linewidth())
    assert thick.get_ydata()[0] == 0
    assert texts(axes)[:5] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    places = [line.get_ydata()[0] for line in axes.lines[:9]]
    np.testing.assert_allclose(np.sort(places), np.arange(9) / 8)


def test_heat_map_averages_trials_of_one_cell():
    _, axes = plt.subplots()
    table = {
        "rate": jnp.array([1, 1, 2, 1]),
        "act": ["relu", "relu", "relu", "tanh"],
        "loss": [1.0, 2.0, 4.0, 8.0],
    }
    plots.heat_map(table, "rate", "act", "loss", axes=axes)
    cells = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(cells, [[1.5, 4], [8, np.nan]])
    assert ticks(axes.get_xticklabels()) == ["1", "2"]
    assert ticks(axes.get_yticklabels()) == ["relu", "tanh"]
    assert texts(axes) == ["1.5", "4", "8"]


def test_heat_map_of_a_random_search_has_points():
    _, axes = plt.subplots()
    rates = np.geomspace(1e-3, 1, 7)
    table = {"rate": rates, "drop": np.linspace(0, 0.6, 7), "loss": np.arange(7.0)}
    plots.heat_map(table, "rate", "drop", "loss", axes=axes)
    points = axes.collections[0]
    np.testing.assert_allclose(points.get_offsets(), np.arange(7)[:, None] / 6 * [1, 1])
    assert points.get_array().tolist() == table["loss"].tolist()
    assert ticks(axes.get_xticklabels()) == ["0.001", "0.01", "0.1", "1"]


def test_gradient_norms_tell_what_is_clipped():
    _, axes = plt.subplots()
    norms = [0.5, 0.9, 1.5, 3.0, 4.0]
    plots.gradient_norms(norms, clip=1.0, axes=axes)
    assert legend(axes) == ["clipped to 1: 60%"]
    below = [bar for bar in axes.patches if bar.get_x() < 1 - 1e-9]
    assert sum(bar.get_height() for bar in below) == 2
    assert sum(bar.get_height() for bar in axes.patches) == 5


@pytest.mark.parametrize("clip", [None, 1e-9, 1e9])
def test_gradient_norms_far_from_their_limit(clip):
    _, axes = plt.subplots()
    plots.gradient_norms([0.0, 0.5, 1.0], clip=clip, axes=axes)
    assert len(axes.patches) == 2 * 40
    heights = [bar.get_height() for bar in axes.patches]
    clipped = 2 if clip == 1e-9 else 0
    assert (sum(heights[:40]), sum(heights[40:])) == (3 - clipped, clipped)


def test_bars():
    _, axes = plt.subplots()
    values = {"a": 0.5, "b": [0.7, 0.9], "c": [0.7274, 0.7326], "d": [9, 15]}
    plots.bars(values, label="accuracy", axes=axes)
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([0.5, 0.8, 0.73, 12])
    assert texts(axes) == ["0.5", "0.8 ± 0.1", "0.730 ± 0.004", "12 ± 4"]
    assert axes.lines[0].get_xdata().tolist() == [0.7, 0.9]
    assert ticks(axes.get_yticklabels()) == ["a", "b", "c", "d"]
    assert axes.yaxis_inverted()


def test_bands_take_their_colors_in_turn():
    axes, _ = draw("band")
    plots.band([0, 1], [3, 3], [1, 1], axes=axes)
    assert [line.get_color() for line in axes.lines] == list(plots.COLORS[:2])
    box = axes.collections[1].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (2, 4)
    assert legend(axes) == ["ensemble"]
