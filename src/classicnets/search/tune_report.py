"""What a search found: `report.md` and `search.png` in its folder."""

from __future__ import annotations

import math
import shlex

from matplotlib.figure import Figure

from classicnets.reports.canvas import LIGHT, Theme, png
from classicnets.reports.search import Axis, Trial, search_figure
from classicnets.search.space import Choice, Range, Space, value_in
from classicnets.search.tune import Tuned, shown
from classicnets.system.storage import written_aside
from classicnets.training.recipe.schema import Recipe


def write_report(tuned: Tuned, base: Recipe, space: Space) -> None:
    """Write both files. `base` is the recipe that the search began from. Raises StorageError."""
    with written_aside(tuned.folder / "search.png") as new:
        new.write_bytes(png(draw(tuned, space)))
    with written_aside(tuned.folder / "report.md") as new:
        new.write_text(report(tuned, base, space), "utf-8", newline="")


def report(tuned: Tuned, base: Recipe, space: Space) -> str:
    """The search as Markdown: the best recipe, how it was measured, what mattered, every trial."""
    best, measured = tuned.best, tuned.finished.report
    reached = shown(best.value, tuned.by)
    low, high = measured.top1_interval
    luck = f" No other trial saw them; of many trials, the best {tuned.judged} is a little lucky, and this one is not."
    command = ["classicnets", "train", base.model.name, base.data.source, "--recipe", str(tuned.recipe)]
    lines = [
        f"# Search: {base.model.name} on {base.data.source}",
        "",
        f"Trial {best.number} of {len(tuned.trials)} is the best, with a {tuned.judged} of {reached}. "
        f"It was then measured on {measured.data}: {measured.top1:.2%} (95 % interval {low:.2%} to {high:.2%}) of "
        f"{measured.num_images:,} images are right.{luck if measured.data.endswith(' test') else ''}",
        "",
        f"    {shlex.join(command)}",
        "",
        "![The trials, and by each key](search.png)",
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
        lines += ["", "The share of the differences that a key explains is fANOVA's (Hutter et al. 2014)."]
    lines += ["", f"| trial | {' | '.join(space)} | epochs | {tuned.judged} | |", "|---" * (len(space) + 4) + "|"]
    for trial in tuned.ranked:
        params = (trial.params[key] for key in space)
        lines.append(_row([trial.number, *params, trial.epochs, shown(trial.value, tuned.by), trial.state]))
    return "\n".join(lines) + "\n"


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


def _range(extremes: tuple[float, ...]) -> str:
    return f"{extremes[0]:g} to {extremes[1]:g}"


def _row(cells: list[object]) -> str:
    return f"| {' | '.join(f'{cell:g}' if isinstance(cell, float) else str(cell) for cell in cells)} |"
