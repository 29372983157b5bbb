"""The figure of the slices: the accuracy of each with its interval, beside that of all images."""

from __future__ import annotations

from matplotlib.figure import Figure

from classicnets.evaluation.report import Report
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, plain_axes, write_title
from classicnets.reports.labels import Labels

_MOST = 24  # slices


def slice_intervals(report: Report, theme: Theme = LIGHT) -> Figure:
    """Draw the accuracy of each slice with its corrected interval, the lowest first, and that of all images as a line.

    Args:
        report: the report whose judged slices are drawn, at most 24 of them.
        theme: the colours.
    """
    judged = report.slices.judged
    shown = judged[:_MOST]
    names = Labels([one.name for one in shown], kind="slice", most=40)
    rows = len(shown)
    height = 0.26 * rows + 1.6
    beside = 0.075 * max((len(names[i]) for i in range(rows)), default=0) + 0.4
    figure = new_figure((7.2, height), theme)
    axes = figure.add_axes((beside / 7.2, 0.55 / height, 1 - (beside + 0.35) / 7.2, 1 - 1.55 / height))
    for row, one in enumerate(shown):
        low, high = one.interval or (one.accuracy, one.accuracy)
        colour = theme.wrong if one.is_weak else theme.right
        axes.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([one.accuracy], [row], "o", color=colour, markersize=5)
    axes.axvline(report.top1, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlabel("accuracy; dashed: all images", color=theme.faint, fontsize=9)
    plain_axes(axes, theme)
    axes.set_yticks(range(rows), [names[i] for i in range(rows)], family=names.families)
    axes.tick_params(axis="y", colors=theme.ink)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=theme.line, linewidth=0.7)
    axes.xaxis.set_major_formatter(PERCENT)
    left_out = f"the lowest {rows} of {len(judged)} slices; " if rows < len(judged) else ""
    detail = f"{left_out}95 % intervals, corrected for {len(judged)} slices"
    write_title(figure, report.slices.finding, detail[0].upper() + detail[1:], theme)
    return figure
