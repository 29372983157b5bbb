"""The figures of studies show every seed and the mean of the seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from classicnets.reports.canvas import DARK, LIGHT
from classicnets.reports.studies import dots_figure, lines_figure, map_figure


def test_dots_have_a_row_for_each_network_and_its_mean():
    panels = {"test accuracy": {"plain": [0.5, 0.7], "ResNet": [0.8, math.nan, 0.9], "lost": []}}
    figure = dots_figure(panels, "residual: shown", "the difference", DARK, scale="share")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plain", "ResNet", "lost"]
    lines = [list(line.get_xdata()) for line in axes.lines]
    assert lines == [[0.5, 0.7], pytest.approx([0.6, 0.6]), [0.8, 0.9], pytest.approx([0.85, 0.85]), []]
    assert axes.xaxis.get_major_formatter()(0.5) == "50 %"
    assert [text.get_text() for text in figure.texts] == ["residual: shown", "the difference"]


@pytest.mark.parametrize(
    ("scale", "value", "text", "left"),
    [("count", 4.5e9, "4.5 G", 0.0), ("share", 0.5, "50 %", None), ("log", 1e-15, None, 1e-18)],
)
def test_numbers_are_written_on_their_scale(scale, value, text, left):
    axes = dots_figure({"n": {"a": [value], "b": [2 * value]}}, "h", "d", scale=scale).axes[0]
    if text is not None:
        assert axes.xaxis.get_major_formatter()(value) == text
    if left is not None:
        assert axes.get_xlim()[0] == left


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_network_has_a_colour_of_its_own_that_can_be_seen(theme):
    figure = dots_figure({"n": {str(n): [n, n + 1] for n in range(7)}}, "h", "d", theme)
    colours = [line.get_color() for line in figure.axes[0].lines[::2]]
    assert len(set(colours)) == 7
    assert theme is LIGHT or "#000000" not in colours


def test_a_long_detail_takes_two_lines():
    figure = dots_figure({"n": {"a": [1.0]}}, "headline", "word " * 40, DARK)
    lines = [text.get_text() for text in figure.texts]
    assert len(lines) == 3
    assert lines[2].endswith("…")


def test_a_map_has_a_row_for_each_layer():
    figure = map_figure([[1.0], [0.5, 1.5], [0.2, 0.8, 2.0]], "source", "layer", "h", "d", DARK)
    values = figure.axes[0].images[0].get_array()
    assert values.shape == (3, 3)
    assert values[2].tolist() == [0.2, 0.8, 2.0]
    assert np.isnan(values.filled(np.nan)[0, 1:]).all()


def test_lines_have_a_mean_if_the_seeds_have_the_same_places():
    panels = {
        "loss": {"a": [[(1, 2.0), (2, 1.0)], [(1, 4.0), (2, 3.0)]], "b": [[(1, 1.0)], [(1, 1.0), (2, 0.5)]], "c": []}
    }
    figure = lines_figure(panels, "epoch", "h", "d", log=True)
    (axes,) = figure.axes
    drawn = [list(map(float, line.get_ydata())) for line in axes.lines]
    assert drawn == [[2, 1], [4, 3], [3, 2], [1], [1, 0.5]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert (axes.get_yscale(), axes.get_xlabel()) == ("log", "epoch")
