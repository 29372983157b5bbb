"""The figures of an audit for shortcuts: what each clue predicts, and the values of a feature by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from classicnets.evaluation.metrics import Interval
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, plain_axes, write_title
from classicnets.reports.labels import Labels

_WIDTH = 5.0  # inches: readable on a phone
_TOP, _BOTTOM, _ROW = 0.85, 0.45, 0.27
_LETTER = 0.075  # inches of a letter beside an axis
_MOST_ROWS = 30


class ClueRow(NamedTuple):
    """A clue: its accuracy, interval and chance in 0..1, and whether it is a shortcut."""

    name: str
    accuracy: float
    interval: Interval
    chance: float
    is_shortcut: bool


class ValueRow(NamedTuple):
    """A class, and the values of a feature in it: float64 (n,), finite."""

    name: str
    values: np.ndarray


def clues_figure(rows: Sequence[ClueRow], finding: str, detail: str, theme: Theme = LIGHT) -> Figure:
    """Draw the accuracy of each clue with its interval, and chance as a short line; shortcuts are orange.

    Args:
        rows: the clues, the first on top; the first 30 are drawn.
        finding, detail: the lines above the figure.
        theme: the colours.
    """
    rows = rows[:_MOST_ROWS]
    figure, axes, names = _rows_figure([row.name for row in rows], finding, detail, theme, kind="clue")
    for place, row in enumerate(rows):
        colour = theme.wrong if row.is_shortcut else theme.right
        axes.plot([row.chance] * 2, [place - 0.35, place + 0.35], color=theme.faint, linewidth=1.5)
        axes.plot(row.interval, [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(row.accuracy, place, "o", color=colour, markersize=6)
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PERCENT)
    _label_rows(axes, names, theme)
    return figure


def values_figure(
    rows: Sequence[ValueRow],
    finding: str,
    detail: str,
    theme: Theme = LIGHT,
    *,
    shown: Callable[[float], str] | None = None,
) -> Figure:
    """Draw the values of a feature by class: the middle half thick, nine tenths thin, the median as a dot.

    Args:
        rows: the classes, the first on top; the first 30 are drawn.
        finding, detail: the lines above the figure.
        theme: the colours.
        shown: writes a value at the axis; None draws the share of ones of each class, as a bar, for values 0 and 1.
    """
    rows = rows[:_MOST_ROWS]
    figure, axes, names = _rows_figure([row.name for row in rows], finding, detail, theme, kind="class")
    for place, row in enumerate(rows):
        if shown is None:
            axes.barh(place, row.values.mean() if len(row.values) else 0, 0.6, color=theme.right)
        elif len(row.values):
            low, lower, median, upper, high = np.quantile(row.values, (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.plot([low, high], [place, place], color=theme.right, linewidth=1.5, solid_capstyle="round")
            axes.plot([lower, upper], [place, place], color=theme.right, linewidth=6, solid_capstyle="butt", alpha=0.6)
            axes.plot(median, place, "o", color=theme.wrong, markersize=6, zorder=3)
    if shown is None:
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(PERCENT)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    _label_rows(axes, names, theme)
    return figure


def _rows_figure(
    names: Sequence[str], finding: str, detail: str, theme: Theme, *, kind: str
) -> tuple[Figure, Axes, list[str]]:
    """An empty figure with a row for each name, and the names as they can be drawn."""
    labels = Labels(names, kind=kind)
    drawn = [labels[i] for i in range(len(names))]
    height = _TOP + _ROW * max(2, len(names)) + _BOTTOM
    left = (0.25 + _LETTER * max(map(len, drawn), default=0)) / _WIDTH
    figure = new_figure((_WIDTH, height), theme)
    axes = figure.add_axes((left, _BOTTOM / height, 0.93 - left, 1 - (_TOP + _BOTTOM) / height))
    axes.tick_params(axis="y", labelfontfamily=labels.families)
    write_title(figure, finding, detail, theme)
    return figure, axes, drawn


def _label_rows(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    """The names beside the rows, lines from top to bottom."""
    plain_axes(axes, theme)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=theme.line, linewidth=0.7)
    axes.set_yticks(range(len(names)), names, color=theme.ink)
    axes.set_ylim(max(2, len(names)) - 0.5, -0.5)
