"""The figure of a search: what each trial reached, in order and by each key that was searched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from classicnets.evaluation.best import Best, metric_of, words_of
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, plain_axes, write_title
from classicnets.reports.text import measured

_COLUMNS = 3


class Trial(NamedTuple):
    """A trial that has a value: its number, what it tried, what it reached, and whether it came to its end."""

    number: int
    params: Mapping[str, Any]
    value: float
    is_finished: bool


class Axis(NamedTuple):
    """What was searched for one key: some `choices`, or the range from `low` to `high`, both included.

    `is_log` says that the range was searched evenly in the logarithm.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False


def search_figure(
    trials: Sequence[Trial], space: Mapping[str, Axis], best: Trial, by: Best, theme: Theme = LIGHT
) -> Figure:
    """Draw what the trials reached, one by one and by each key: filled dots finished, the best one in orange.

    Args:
        trials: the trials that have a value, in order, 1 or more.
        space: what was searched, by key.
        best: the best of `trials`.
        by: what trials were compared by, on the validation images.
        theme: the colours.
    """
    rows = math.ceil((1 + len(space)) / _COLUMNS)
    width, height = 9.6, 2.5 * rows + 0.95
    figure = new_figure((width, height), theme)
    panels = figure.subplots(
        rows, _COLUMNS, squeeze=False,
        gridspec_kw={
            "left": 0.085, "right": 0.98, "top": 1 - 1.1 / height, "bottom": 0.5 / height, "wspace": 0.26,
            "hspace": 0.5,
        },
    ).ravel()  # fmt: skip
    _plot_in_order(panels[0], trials, best, by, theme)
    for axes, (key, axis) in zip(panels[1:], space.items(), strict=False):
        _plot_by_key(axes, key, axis, trials, best, theme)
    for axes in panels[: 1 + len(space)]:
        if metric_of(by) != "loss":
            axes.yaxis.set_major_formatter(PERCENT)
        plain_axes(axes, theme)
        axes.tick_params(which="minor", length=0, colors=theme.faint, labelsize=8.5)
    for axes in panels[1 + len(space) :]:
        axes.set_axis_off()
    judged = f"validation {words_of(by)}"
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel(judged, color=theme.faint, fontsize=9)
    finding = f"Best {judged}: {measured(best.value, metric_of(by))}, trial {best.number}"
    detail = "Filled: finished. Hollow: stopped early because worse than the median, or diverged"
    write_title(figure, finding, detail, theme)
    return figure


def _plot_in_order(axes: Axes, trials: Sequence[Trial], best: Trial, by: Best, theme: Theme) -> None:
    numbers = [trial.number for trial in trials]
    _plot_dots(axes, numbers, "trial", trials, best, theme)
    values = np.array([trial.value if trial.is_finished else math.nan for trial in trials])
    best_so_far = (np.fmin if metric_of(by) == "loss" else np.fmax).accumulate(values)
    axes.step(numbers, best_so_far, where="post", color=theme.faint, linewidth=1, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _plot_by_key(axes: Axes, key: str, axis: Axis, trials: Sequence[Trial], best: Trial, theme: Theme) -> None:
    places = [trial.params[key] for trial in trials]
    if axis.choices:
        places = [axis.choices.index(place) for place in places]
        axes.set_xticks(range(len(axis.choices)), [str(choice).replace("$", r"\$") for choice in axis.choices])
        axes.set_xlim(-0.5, len(axis.choices) - 0.5)
    elif axis.is_log:
        axes.set_xscale("log")
        axes.set_xlim(axis.low / 1.2, axis.high * 1.2)
    _plot_dots(axes, places, key, trials, best, theme)


def _plot_dots(
    axes: Axes, places: Sequence[float], title: str, trials: Sequence[Trial], best: Trial, theme: Theme
) -> None:
    for place, trial in zip(places, trials, strict=True):
        colour = theme.wrong if trial.number == best.number else theme.right
        fill = colour if trial.is_finished else theme.paper
        axes.plot([place], [trial.value], "o", color=colour, markerfacecolor=fill, markersize=5)
    axes.set_title(title, loc="left", color=theme.faint, fontsize=9)
