"""The figure of calibration: how often answers of a given score are right."""

from __future__ import annotations

from matplotlib.figure import Figure

from classicnets.evaluation.report import Report
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, plain_axes, write_title

_FEW = 10  # images in a bin: too few to draw a conclusion


def reliability(report: Report, theme: Theme = LIGHT) -> Figure:
    """Draw how often answers of a given score are right, and below it how many answers have that score.

    Args:
        report: the report whose `calibration` is drawn.
        theme: the colours.
    """
    bins = [bin for bin in report.calibration.bins if bin.size]
    figure = new_figure((5.6, 5.6), theme)
    upper, lower = figure.subplots(
        2, 1, sharex=True,
        gridspec_kw={"height_ratios": (4, 1), "hspace": 0.12, "top": 0.84, "bottom": 0.1, "left": 0.13, "right": 0.95},
    )  # fmt: skip
    width = 1 / len(report.calibration.bins)
    for bin in bins:
        centre, pale = bin.low + width / 2, bin.size < _FEW
        upper.bar(centre, bin.accuracy, width * 0.9, color=theme.right, alpha=0.3 if pale else 1)
        upper.plot([centre, centre], [bin.accuracy, bin.confidence], color=theme.wrong, linewidth=1.5)
        upper.plot(
            [centre - width * 0.45, centre + width * 0.45], [bin.confidence] * 2, color=theme.wrong, linewidth=2.5
        )
    upper.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    upper.text(0.03, 0.93, "blue: how often right", color=theme.right, fontsize=9, va="center")
    upper.text(0.03, 0.87, "orange: the score itself", color=theme.wrong, fontsize=9, va="center")
    if any(bin.size < _FEW for bin in bins):
        upper.text(0.03, 0.81, f"pale: fewer than {_FEW} images", color=theme.faint, fontsize=9, va="center")
    upper.set_ylim(0, 1)
    upper.set_ylabel("share that is right", color=theme.faint, fontsize=9)
    lower.bar(
        [bin.low + width / 2 for bin in bins], [bin.size / report.num_images for bin in bins], width * 0.9,
        color=theme.faint,
    )  # fmt: skip
    lower.set_xlim(0, 1)
    lower.set_ylabel("of all images", color=theme.faint, fontsize=9)
    lower.set_xlabel("score of the answer", color=theme.faint, fontsize=9)
    for axes in (upper, lower):
        plain_axes(axes, theme)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.xaxis.set_major_formatter(PERCENT)
    ece, gap = report.calibration.ece, report.calibration.gap
    finding = "Scores match the accuracy"
    if ece >= 0.02:
        word = "Overconfident" if gap > 0 else "Underconfident"
        finding = f"{word}: scores are {abs(gap) * 100:.1f} points too {'high' if gap > 0 else 'low'}"
        if abs(gap) < ece / 2:
            finding = "Scores are off in both directions"
    write_title(figure, finding, f"Expected calibration error {ece:.3f}, over {report.num_images:,} images", theme)
    return figure
