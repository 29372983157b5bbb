"""The figure of a search: what the trials reached, and by each key."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from classicnets.evaluation.best import shown
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, percent, plain_axes, write_title
from classicnets.search.space import Choice, Space
from classicnets.search.trials import TrialDone, Tuned

_COLUMNS = 3


def draw(tuned: Tuned, space: Space, theme: Theme = LIGHT) -> Figure:
    """What the trials reached, one by one and by each key that was searched: filled dots came to their end."""
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
    drawn = _drawn(tuned)
    _dots(panels[0], [trial.number for trial in drawn], tuned, theme, "trial")
    values = np.array([trial.value if trial.state == "finished" else math.nan for trial in drawn], dtype=float)
    reached = (np.fmin if tuned.by == "loss" else np.fmax).accumulate(values)
    panels[0].step([trial.number for trial in drawn], reached, where="post", color=theme.faint, linewidth=1, zorder=0)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    for axes, (key, search) in zip(panels[1:], space.items(), strict=False):
        places = [trial.params[key] for trial in drawn]
        if isinstance(search, Choice):
            places = [search.values.index(value) for value in places]
            axes.set_xticks(range(len(search.values)), [str(value).replace("$", r"\$") for value in search.values])
            axes.set_xlim(-0.5, len(search.values) - 0.5)
        elif search.log:
            axes.set_xscale("log")
            axes.set_xlim(search.low / 1.2, search.high * 1.2)
        _dots(axes, places, tuned, theme, key)
        axes.tick_params(which="minor", length=0, colors=theme.faint, labelsize=8.5)
    for axes in panels[1 + len(space) :]:
        axes.set_axis_off()
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel(tuned.judged, color=theme.faint, fontsize=9)
    best = shown(tuned.best.value, tuned.by) if tuned.by == "loss" else percent(tuned.best.value or 0.0)
    finding = f"Best {tuned.judged}: {best}, trial {tuned.best.number}"
    detail = "Filled: came to its end. Hollow: given up as worse than the median, or diverged"
    write_title(figure, finding, detail, theme)
    return figure


def _dots(axes: Axes, x: list[float], tuned: Tuned, theme: Theme, title: str) -> None:
    for place, trial in zip(x, _drawn(tuned), strict=True):
        colour = theme.wrong if trial == tuned.best else theme.right
        fill = colour if trial.state == "finished" else theme.paper
        axes.plot([place], [trial.value or 0.0], "o", color=colour, markerfacecolor=fill, markersize=5)
    axes.set_title(title, loc="left", color=theme.faint, fontsize=9)
    if tuned.by != "loss":
        axes.yaxis.set_major_formatter(PERCENT)
    plain_axes(axes, theme)


def _drawn(tuned: Tuned) -> list[TrialDone]:
    """The trials that have a value."""
    return [trial for trial in tuned.trials if trial.value is not None]
