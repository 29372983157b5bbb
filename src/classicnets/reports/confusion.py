"""The figure of a confusion matrix, of any number of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from classicnets.evaluation.confusion import ConfusionMatrix, Ints
from classicnets.evaluation.metrics import Floats
from classicnets.evaluation.report import Report
from classicnets.reports.canvas import LIGHT, Theme, new_figure, write_title
from classicnets.reports.labels import Labels
from classicnets.reports.text import percent

_MOST_COUNTS = 30  # classes with the counts written in the cells
_MOST_NAMES = 100  # classes with their names at the axes
_MOST_SINGLE = 1_000  # classes with a row and a column of their own
_MOST_GROUPS = 250  # if there are more


def confusion(report: Report, theme: Theme = LIGHT) -> Figure:
    """Draw the confusion matrix: a row for each true class, a column for each predicted class.

    A cell's colour is its share of the row: blue for right answers, orange for wrong ones. With up to 30 classes the
    counts are written in the cells. Classes that have no images and were never predicted are left out. More than 1,000
    classes are drawn in groups of neighbours: a group's blue cell shows right answers only.

    Args:
        report: the report whose `confusion` is drawn.
        theme: the colours.
    """
    shown = np.flatnonzero(report.confusion.actual + report.confusion.answered).tolist()
    together = 1 if len(shown) <= _MOST_SINGLE else math.ceil(len(shown) / _MOST_GROUPS)
    counts, right = _cells(report.confusion, shown, together)
    names = Labels(report.classes, extra=report.data)
    size = len(counts)
    side = min(max(4.2, 0.52 * size), 13.0)
    labelled = size <= _MOST_NAMES
    font = min(9.0, 0.62 * 72 * side / size)  # of the cells' height
    turned = size > 4
    margin = 0.3 + (max(len(names[i]) for i in shown) * font * 0.008 if labelled else 0.3)
    below = margin if turned else 0.5
    width, height = side + margin + 0.4, side + below + 1.1
    figure = new_figure((width, height), theme)
    axes = figure.add_axes(((margin + 0.15) / width, (below + 0.15) / height, side / width, side / height))
    edge = size * together - 0.5  # ticks count classes, also those of groups
    axes.imshow(_colours(counts, right, theme), interpolation="nearest", extent=(-0.5, edge, edge, -0.5))
    if labelled:
        ticks = [names[i] for i in shown]
        axes.set_xticks(range(size), ticks, rotation=90 if turned else 0, fontsize=font, family=names.families)
        axes.set_yticks(range(size), ticks, fontsize=font, family=names.families)
    axes.tick_params(length=0, colors=theme.ink)
    groups = f", classes in groups of {together}" if together > 1 else ""
    axes.set_xlabel(f"predicted{groups}", color=theme.faint, fontsize=9)
    axes.set_ylabel(f"true{groups}", color=theme.faint, fontsize=9)
    if labelled:
        edges = [i + 0.5 for i in range(size - 1)]
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor", color=theme.paper, linewidth=1.2 if size <= _MOST_COUNTS else 0.3)
        axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    if size <= _MOST_COUNTS:
        _write_counts(axes, counts, theme, font=min(9.0, 34 * side / size / 2.6))
    share = percent(report.top1)
    finding = f"{share[0].upper()}{share[1:]} of {report.num_images:,} images are right"
    detail = "No class is taken for another one"
    if mistakes := report.confusion.mistakes():
        true, predicted, images = mistakes[0]
        support = int(report.confusion.actual[true])
        detail = f"Most often wrong: {names[true]} taken for {names[predicted]}, {images:,} of {support:,}"
    write_title(figure, finding, detail, theme, names.families)
    return figure


def _cells(matrix: ConfusionMatrix, shown: Sequence[int], together: int) -> tuple[Ints, Ints]:
    """The counts of the classes `shown`, int64 (G, G), and how many are right, int64 (G,), in groups of `together`."""
    group = np.full(matrix.num_classes, -1)
    group[shown] = np.arange(len(shown)) // together
    counts = matrix.grouped(group).dense()
    right = np.zeros(len(counts), np.int64)
    np.add.at(right, group[shown], matrix.right[shown])
    return counts, right


def _colours(counts: Ints, right: Ints, theme: Theme) -> Floats:
    """The colours of the cells, RGB (G, G, 3): the diagonal in blue by the share of right answers, the rest in orange.

    Orange is scaled to the largest share of mistakes, by its square root, because rare mistakes matter too.
    """
    actual = np.maximum(counts.sum(axis=1), 1)
    wrong = counts / actual[:, None]
    np.fill_diagonal(wrong, 0)
    wrong = 0.85 * np.sqrt(wrong / max(wrong.max(), 1e-12))
    right_colour, wrong_colour, paper, line = (
        np.array(to_rgb(colour)) for colour in (theme.right, theme.wrong, theme.paper, theme.line)
    )
    diagonal = np.eye(len(counts), dtype=bool)[:, :, None]
    strength = np.where(diagonal, (right / actual)[:, None, None], wrong[:, :, None])
    empty = paper + 0.4 * (line - paper)
    colours: Floats = empty + strength * (np.where(diagonal, right_colour, wrong_colour) - empty)
    return colours


def _write_counts(axes: Axes, counts: Ints, theme: Theme, font: float) -> None:
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            if count:
                strong = i == j and count > sum(row) / 2
                colour = theme.paper if strong else theme.ink
                axes.text(j, i, f"{count}", ha="center", va="center", color=colour, fontsize=font)
