"""Pictures: each function has a row; nothing is cut off, in light and dark."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pytest
from contracts.pictures import HISTORY, ROWS, draw
from matplotlib.colors import to_rgb

from fnn import plots
from fnn.plots.palette import COLORS, DARK_COLORS


def test_every_function_has_a_row():
    functions = {
        name
        for name, thing in vars(plots).items()
        if inspect.isfunction(thing) and name[0] != "_"
    }
    assert functions - {"theme"} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_nothing_is_cut_off(name):
    returned, axes = draw(name)
    assert returned is axes
    axes.figure.canvas.draw()
    box, (width, height) = axes.figure.get_tightbbox(), axes.figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ROWS)
def test_text_is_apart_from_its_background(name, theme):
    _, axes = draw(name, theme)
    paper = np.mean(to_rgb(axes.figure.get_facecolor()))
    assert (paper > 0.5) == (theme == "light")
    for text in outside_texts(axes.figure):
        assert abs(np.mean(to_rgb(text.get_color())) - paper) > 0.3, text


def outside_texts(figure):
    """Return labels, ticks' labels, titles and legends: what stands on the background."""
    for axes in figure.axes:
        axis_labels = [axes.xaxis.label, axes.yaxis.label, axes.title]
        named = axes.get_legend().get_texts() if axes.get_legend() else []
        yield from (*axis_labels, *named, *axes.get_xticklabels(), *axes.get_yticklabels())


def test_themes_leave_nothing_behind():
    before = dict(plt.rcParams)
    with plots.theme("dark"):
        assert plt.rcParams["axes.facecolor"] != before["axes.facecolor"]
    assert dict(plt.rcParams) == before


def test_a_figure_made_for_want_of_one_leaves_room():
    plt.close("all")
    axes = plots.learning_curve(HISTORY)
    assert axes is plt.gca()
    assert axes.figure.get_layout_engine() is not None


def test_colors_follow_the_background():
    for theme, expected in (("light", "#0072B2"), ("dark", "#56B4E9")):
        axes, _ = draw("learning_curve", theme)
        assert axes.lines[0].get_color() == expected
    with plt.style.context("dark_background"):
        axes = plots.learning_curve(HISTORY, axes=plt.figure().add_subplot())
        assert axes.lines[0].get_color() == "#56B4E9"


@pytest.mark.parametrize("colors", [COLORS, DARK_COLORS])
def test_colors_are_apart_for_those_who_see_no_red_or_no_green(colors):
    """As Viénot et al. 1999 simulate: their eyes add up red and green, in linear RGB."""
    linear = np.array([to_rgb(color) for color in colors[:6]]) ** 2.2
    no_green = linear @ np.array([[0.29, 0.29, -0.02], [0.71, 0.71, 0.02], [0, 0, 1]])
    no_red = linear @ np.array([[0.11, 0.11, 0.004], [0.89, 0.89, -0.004], [0, 0, 1]])
    for seen in (linear, no_green, no_red):
        display = np.clip(seen, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(display[:, None] - display, axis=-1)
        assert apart[~np.eye(6, dtype=bool)].min() > 0.12
