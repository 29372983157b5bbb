"""The figure of one training: loss and accuracy by epoch."""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from classicnets.evaluation.best import Best, Metric, best_index, metric_of
from classicnets.reports.canvas import LIGHT, PERCENT, Colour, Theme, new_figure, plain_axes, write_title
from classicnets.reports.text import measured, percent


@dataclass(frozen=True)
class CurvePoint:
    """One epoch: losses in nats, accuracies in 0..1; NaN is what is not known."""

    epoch: int
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float
    val_balanced_accuracy: float = math.nan

    def value(self, by: Metric) -> float:
        """What `by` measures on the validation images: an accuracy, 0..1, or a loss."""
        value: float = getattr(self, f"val_{by}")
        return value


def read_curves(path: str | Path) -> list[CurvePoint]:
    """Read the epochs in a metrics.csv, up to the first row that cannot be read; none if there is no such file."""
    rows = []
    columns = [field.name for field in fields(CurvePoint)][1:]
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                row.setdefault("val_balanced_accuracy", "")  # files of early versions lack the column
                numbers = (float(row[column]) if row[column] else math.nan for column in columns)
                rows.append(CurvePoint(int(row["epoch"]), *numbers))
    except (OSError, KeyError, ValueError, TypeError, csv.Error):
        return rows
    return rows


def read_best(folder: str | Path) -> Best:
    """Read what the best epoch of a run is chosen by: `best` of its recipe.toml, "accuracy" if that says nothing."""
    try:
        recipe = tomllib.loads((Path(folder) / "recipe.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return "accuracy"
    best: Best = recipe["best"] if recipe.get("best") in get_args(Best) else "accuracy"
    return best


def best_point(rows: Sequence[CurvePoint], by: Best) -> CurvePoint:
    """The epoch that a training keeps. `rows` has 1 epoch or more."""
    best = best_index([row.value(metric_of(by)) for row in rows], by)
    assert best is not None, "there are epochs"
    return rows[best]


def training_curves(rows: Sequence[CurvePoint], by: Best = "accuracy", theme: Theme = LIGHT) -> Figure:
    """Draw loss and accuracy by epoch, of training and validation images, and mark the epoch that is kept.

    Args:
        rows: the epochs, 1 or more.
        by: what the best epoch was chosen by; of equal epochs the last is the best.
        theme: the colours.

    A loss far above the others is an arrow at the upper edge, with its value, so that the others stay readable.
    """
    figure = new_figure((8.4, 3.9), theme)
    panels = figure.subplots(
        1, 2, gridspec_kw={"wspace": 0.42, "top": 0.74, "bottom": 0.14, "left": 0.07, "right": 0.9}
    )
    best = best_point(rows, by)
    for axes, what in zip(panels, ("loss", "accuracy"), strict=True):
        for part, colour in (("train", theme.faint), ("val", theme.right)):
            plot_epochs(axes, rows, f"{part}_{what}", color=colour, linewidth=1.8, solid_capstyle="round")
        axes.plot(best.epoch, getattr(best, f"val_{what}"), "o", color=theme.wrong, markersize=6, zorder=3)
        epoch_axes(axes, what, theme)
        if what == "loss":
            fit_losses(axes, [rows])
            mark_losses_above(axes, [(rows, "train_loss", theme.faint), (rows, "val_loss", theme.right)])
        _label_ends(axes, rows[-1], what, theme)
    write_title(figure, _finding(best, by, rows[-1].epoch), _detail(best, by), theme)
    return figure


def _finding(best: CurvePoint, by: Best, epochs: int) -> str:
    if by == "last":
        return f"Validation accuracy of the last epoch, {best.epoch}: {percent(best.val_accuracy)}"
    name = {"accuracy": "Best validation accuracy", "loss": "Lowest validation loss"}.get(by, "Best balanced accuracy")
    return f"{name}: {measured(best.value(metric_of(by)), metric_of(by))}, in epoch {best.epoch} of {epochs}"


def _detail(best: CurvePoint, by: Best) -> str:
    gap = best.train_accuracy - best.val_accuracy
    if not math.isfinite(gap):
        return ""
    points = f"{abs(gap) * 100:.1f} points {'above' if gap >= 0 else 'below'} it"
    if by in ("accuracy", "last"):
        return f"There the training accuracy is {points}"
    return f"There the validation accuracy is {percent(best.val_accuracy)}, and the training accuracy {points}"


# ---- also for several trainings in one figure


def plot_epochs(axes: Axes, rows: Sequence[CurvePoint], column: str, **style: Any) -> None:
    """Plot one column by epoch: a line, or a dot if there is one epoch only."""
    marker = "o" if len(rows) == 1 else None
    axes.plot([row.epoch for row in rows], [getattr(row, column) for row in rows], marker=marker, **style)


def epoch_axes(axes: Axes, what: str, theme: Theme) -> None:
    """Axes of loss or accuracy by epoch."""
    beside_arrows = -0.085 if what == "loss" else 0.0
    axes.set_title(what, loc="left", x=beside_arrows, color=theme.faint, fontsize=9)
    axes.set_xlabel("epoch", color=theme.faint, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if what == "accuracy":
        axes.yaxis.set_major_formatter(PERCENT)
    plain_axes(axes, theme)


def fit_losses(axes: Axes, trainings: Sequence[Sequence[CurvePoint]]) -> None:
    """Scale the axis to the losses, without those that are far above the others of their training."""
    losses = [loss for rows in trainings for loss in _losses(rows)]
    highest = max((_highest_usual(rows) for rows in trainings), default=0.0)
    if losses and max(losses) > highest:
        lowest = min(losses)
        margin = 0.05 * (highest - lowest) or 0.05 * highest or 1.0
        axes.set_ylim(lowest - margin, highest + 2 * margin)


def mark_losses_above(axes: Axes, lines: Iterable[tuple[Sequence[CurvePoint], str, Colour]]) -> None:
    """Mark every loss above the axis with an arrow over its epoch, and the highest of neighbours with its value.

    `lines` are what is plotted: the epochs of a training, the column, and the colour.
    """
    edge, (left, right) = axes.get_ylim()[1], axes.get_xlim()
    above = [
        (getattr(row, column), row.epoch, colour)
        for rows, column, colour in lines
        for row in rows
        if getattr(row, column) > edge
    ]
    labelled: list[int] = []
    for loss, epoch, colour in sorted(above, key=lambda mark: -mark[0]):
        free = all(abs(epoch - other) > 0.2 * (right - left) for other in labelled)
        axes.plot(epoch, 1.04, "^", color=colour, markersize=5.5, transform=axes.get_xaxis_transform(), clip_on=False)
        if free:
            axes.annotate(
                _loss(loss), (epoch, 1.04), xycoords=axes.get_xaxis_transform(), xytext=(0, 4),
                textcoords="offset points", ha="center", va="bottom", color=colour, fontsize=8.5,
                annotation_clip=False,
            )  # fmt: skip
            labelled.append(epoch)


def _highest_usual(rows: Sequence[CurvePoint]) -> float:
    """The highest loss that is at most four times the upper quartile, or twice the first training loss."""
    losses = _losses(rows)
    if not losses:
        return 0.0
    first = next((row.train_loss for row in rows if math.isfinite(row.train_loss)), 0.0)
    limit = max(4 * losses[(len(losses) - 1) * 3 // 4], 2 * first)
    return max(loss for loss in losses if loss <= limit)


def _losses(rows: Sequence[CurvePoint]) -> list[float]:
    """All finite losses, sorted."""
    return sorted(loss for row in rows for loss in (row.train_loss, row.val_loss) if math.isfinite(loss))


def _loss(value: float) -> str:
    if value >= 1e6:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _label_ends(axes: Axes, last: CurvePoint, what: str, theme: Theme) -> None:
    """Name both lines at their right ends, apart from each other."""
    low, high = axes.get_ylim()
    ends = {part: min(getattr(last, f"{part}_{what}"), high) for part in ("train", "val")}
    apart = (high - low) * 0.07
    middle, half = sum(ends.values()) / 2, max(abs(ends["train"] - ends["val"]), apart) / 2
    sign = 1 if ends["train"] >= ends["val"] else -1
    places = {"train": middle + sign * half, "val": middle - sign * half}
    for part, name, colour in (("train", "training", theme.faint), ("val", "validation", theme.right)):
        if math.isfinite(places[part]):
            axes.annotate(
                name, (last.epoch, places[part]), xytext=(7, 0), textcoords="offset points", color=colour, fontsize=8.5,
                va="center", annotation_clip=False,
            )  # fmt: skip
