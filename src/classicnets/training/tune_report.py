"""What a search found: `report.md` and `search.png` in its folder."""

from __future__ import annotations

import math
import shlex

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from classicnets.evaluation.canvas import LIGHT, PERCENT, Theme, new_figure, percent, plain_axes, png, write_title
from classicnets.storage import written_aside
from classicnets.training.recipe import Recipe
from classicnets.training.search_space import Choice, Space, value_in
from classicnets.training.tune import Tuned

_COLUMNS = 3


def write_report(tuned: Tuned, base: Recipe, space: Space) -> None:
    """Write both files. `base` is the recipe that the search began from. Raises StorageError."""
    with written_aside(tuned.folder / "search.png") as new:
        new.write_bytes(png(draw(tuned, space)))
    with written_aside(tuned.folder / "report.md") as new:
        new.write_text(report(tuned, base, space), "utf-8", newline="")


def report(tuned: Tuned, base: Recipe, space: Space) -> str:
    """The search as Markdown: the best recipe, how it was measured, what mattered, every trial."""
    best, measured = tuned.best, tuned.finished.report
    low, high = measured.top1_interval
    command = ["classicnets", "train", base.model.name, base.data.source, "--recipe", str(tuned.recipe)]
    lines = [
        f"# Search: {base.model.name} on {base.data.source}",
        "",
        f"Trial {best.number} of {len(tuned.trials)} is the best: {best.val_accuracy:.2%} of the validation images "
        f"right. It was then measured on {measured.data}: {measured.top1:.2%} (95 % interval {low:.2%} to {high:.2%}) "
        f"of {measured.num_images:,} images. No other trial saw them; of many trials, the best validation accuracy is "
        "a little lucky, and this one is not." * measured.data.endswith(" test"),
        "",
        f"    {shlex.join(command)}",
        "",
        "![Accuracy by trial, and by each key](search.png)",
        "",
        "| key | searched | recipe before | best |" + (" share of the differences |" if tuned.importances else ""),
        "|---|---|---|---|" + ("---|" if tuned.importances else ""),
    ]
    for key, search in space.items():
        searched = " or ".join(map(str, search.extremes)) if isinstance(search, Choice) else _range(search.extremes)
        cells = [f"`{key}`", searched, value_in(base, key), best.params[key]]
        if tuned.importances:
            cells.append(f"{tuned.importances.get(key, math.nan):.0%}")
        lines.append(_row(cells))
    if tuned.importances:
        lines += ["", "The share of the differences in accuracy that a key explains is fANOVA's (Hutter et al. 2014)."]
    lines += ["", f"| trial | {' | '.join(space)} | epochs | validation | |", "|---" * (len(space) + 4) + "|"]
    ranked = sorted(tuned.trials, key=lambda trial: (-(trial.val_accuracy or 0), trial.number))
    for trial in ranked:
        accuracy = "-" if trial.val_accuracy is None else f"{trial.val_accuracy:.2%}"
        lines.append(_row([trial.number, *(trial.params[key] for key in space), trial.epochs, accuracy, trial.state]))
    return "\n".join(lines) + "\n"


def draw(tuned: Tuned, space: Space, theme: Theme = LIGHT) -> Figure:
    """Validation accuracy by trial, and by each key that was searched: filled dots came to their end."""
    rows = math.ceil((1 + len(space)) / _COLUMNS)
    width, height = 9.6, 2.5 * rows + 0.95
    figure = new_figure((width, height), theme)
    panels = figure.subplots(
        rows, _COLUMNS, squeeze=False,
        gridspec_kw={
            "left": 0.07, "right": 0.98, "top": 1 - 1.1 / height, "bottom": 0.5 / height, "wspace": 0.26, "hspace": 0.5,
        },
    ).ravel()  # fmt: skip
    shown = [trial for trial in tuned.trials if trial.val_accuracy is not None]
    _dots(panels[0], [trial.number for trial in shown], tuned, theme, "trial")
    accuracies = [trial.val_accuracy if trial.state == "finished" else math.nan for trial in shown]
    reached = np.fmax.accumulate(np.array(accuracies, dtype=float))
    panels[0].step([trial.number for trial in shown], reached, where="post", color=theme.faint, linewidth=1, zorder=0)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    for axes, (key, search) in zip(panels[1:], space.items(), strict=False):
        values = [trial.params[key] for trial in shown]
        if isinstance(search, Choice):
            places = [search.values.index(value) for value in values]
            axes.set_xticks(range(len(search.values)), [str(value).replace("$", r"\$") for value in search.values])
            axes.set_xlim(-0.5, len(search.values) - 0.5)
            values = places
        elif search.log:
            axes.set_xscale("log")
        _dots(axes, values, tuned, theme, key)
        axes.tick_params(which="minor", length=0)
    for axes in panels[1 + len(space) :]:
        axes.set_axis_off()
    finding = f"Best validation accuracy: {percent(tuned.best.val_accuracy or 0)}, trial {tuned.best.number}"
    write_title(figure, finding, "Filled: came to its end. Hollow: given up below the median, or diverged", theme)
    return figure


def _dots(axes: Axes, x: list[float], tuned: Tuned, theme: Theme, title: str) -> None:
    shown = [trial for trial in tuned.trials if trial.val_accuracy is not None]
    for place, trial in zip(x, shown, strict=True):
        colour = theme.wrong if trial == tuned.best else theme.right
        fill = colour if trial.state == "finished" else theme.paper
        axes.plot([place], [trial.val_accuracy or 0.0], "o", color=colour, markerfacecolor=fill, markersize=5)
    axes.set_title(title, loc="left", color=theme.faint, fontsize=9)
    axes.yaxis.set_major_formatter(PERCENT)
    plain_axes(axes, theme)


def _range(extremes: tuple[float, ...]) -> str:
    return f"{extremes[0]:g} to {extremes[1]:g}"


def _row(cells: list[object]) -> str:
    return f"| {' | '.join(f'{cell:g}' if isinstance(cell, float) else str(cell) for cell in cells)} |"
