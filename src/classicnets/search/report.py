"""The report of a search: `report.md` and `search.png` in its folder."""

from __future__ import annotations

import math
import shlex

from matplotlib.figure import Figure

from classicnets.evaluation.best import shown
from classicnets.reports.canvas import LIGHT, Theme, png
from classicnets.reports.search import Axis, Trial, search_figure
from classicnets.search.space import Choice, Range, Space, value_in
from classicnets.search.trials import Tuned
from classicnets.system.storage import written_aside
from classicnets.training.recipe.schema import Recipe


def write_report(tuned: Tuned, base: Recipe, space: Space) -> None:
    """Write report.md and search.png to the folder of the search.

    Args:
        tuned: the result of the search.
        base: the recipe that the search started from.
        space: what was searched.

    Raises:
        StorageError: the disk refuses.
    """
    with written_aside(tuned.folder / "search.png") as new:
        new.write_bytes(png(draw(tuned, space)))
    with written_aside(tuned.folder / "report.md") as new:
        new.write_text(report(tuned, base, space), "utf-8", newline="")


def report(tuned: Tuned, base: Recipe, space: Space) -> str:
    """Return the report as Markdown: the best recipe, its measurement, which keys matter, and every trial.

    Args:
        tuned: the result of the search.
        base: the recipe that the search started from.
        space: what was searched.
    """
    lines = [
        f"# Search: {base.model.name} on {base.data.source}",
        "",
        _finding(tuned),
        "",
        f"    {_command(tuned, base)}",
        "",
        "![The trials, and by each key](search.png)",
        "",
        *_keys_table(tuned, base, space),
        "",
        *_trials_table(tuned, space),
    ]
    return "\n".join(lines) + "\n"


def _finding(tuned: Tuned) -> str:
    """The best trial and its measurement."""
    best, measured = tuned.best, tuned.finished.report
    low, high = measured.top1_interval
    text = (
        f"Trial {best.number} of {len(tuned.trials)} is the best, with a {tuned.judged} of "
        f"{shown(best.value, tuned.by)}. It was then measured on {measured.data}: {measured.top1:.2%} (95% interval "
        f"{low:.2%} to {high:.2%}) of {measured.num_images:,} images are right."
    )
    if measured.data.endswith(" test"):
        text += (
            f" No other trial saw these images. The best {tuned.judged} of many trials is a little lucky; this "
            f"measurement is not."
        )
    return text


def _command(tuned: Tuned, base: Recipe) -> str:
    """The command that trains with the best recipe."""
    return shlex.join(["classicnets", "train", base.model.name, base.data.source, "--recipe", str(tuned.recipe)])


def _keys_table(tuned: Tuned, base: Recipe, space: Space) -> list[str]:
    """A row for each key: what was searched, its value before, and its value in the best trial."""
    header = ["key", "searched", "recipe before", "best"]
    if tuned.importances:
        header.append("share of the differences")
    lines = [_row(header), _rule(len(header))]
    for key, search in space.items():
        cells = [f"`{key}`", _searched(search), value_in(base, key), tuned.best.params[key]]
        if tuned.importances:
            cells.append(f"{tuned.importances.get(key, math.nan):.0%}")
        lines.append(_row(cells))
    if tuned.importances:
        lines += ["", "The share of the differences that a key explains is fANOVA's (Hutter et al. 2014)."]
    return lines


def _trials_table(tuned: Tuned, space: Space) -> list[str]:
    """A row for each trial, best first."""
    header = ["trial", *space, "epochs", tuned.judged, "state"]
    lines = [_row(header), _rule(len(header))]
    for trial in tuned.ranked:
        params = [trial.params[key] for key in space]
        lines.append(_row([trial.number, *params, trial.epochs, shown(trial.value, tuned.by), trial.state]))
    return lines


def _searched(search: Range | Choice) -> str:
    if isinstance(search, Choice):
        return " or ".join(map(str, search.values))
    low, high = search.extremes
    return f"{low:g} to {high:g}"


def _row(cells: list[object] | list[str]) -> str:
    texts = [f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"


def _rule(columns: int) -> str:
    return "|---" * columns + "|"


def draw(tuned: Tuned, space: Space, theme: Theme = LIGHT) -> Figure:
    """Draw what the trials reached, one by one and by each key that was searched."""
    trials = [
        Trial(trial.number, trial.params, trial.value, is_finished=trial.state == "finished")
        for trial in tuned.trials
        if trial.value is not None
    ]
    best = next(trial for trial in trials if trial.number == tuned.best.number)
    axes = {key: _axis(search) for key, search in space.items()}
    return search_figure(trials, axes, best, tuned.by, theme)


def _axis(search: Range | Choice) -> Axis:
    if isinstance(search, Choice):
        return Axis(choices=search.values)
    return Axis(low=search.low, high=search.high, is_log=search.log)
