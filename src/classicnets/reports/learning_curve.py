"""The figure of a learning curve: accuracy by the number of training images, measured and expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from classicnets.evaluation.metrics import Interval
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, plain_axes, write_title
from classicnets.reports.labels import Labels

_TICKS = (1, 2, 5)


class CurveDots(NamedTuple):
    """A learning curve: (images, accuracy, interval) of what was measured and of what is expected, and `now`, how many
    images there are."""

    measured: Sequence[tuple[float, float, Interval]]
    expected: Sequence[tuple[float, float, Interval]]
    now: int


def learning_figure(curve: CurveDots, finding: str, detail: str, theme: Theme = LIGHT) -> Figure:
    """Draw a learning curve on a logarithmic axis: dots are measured, the band is the 95 % interval of the curve.

    Args:
        curve: what is drawn.
        finding, detail: the lines above the figure.
        theme: the colours.
    """
    labels = Labels([finding, detail], most=200)
    figure = new_figure((5.0, 3.7), theme)
    axes = figure.add_axes((0.12, 0.14, 0.83, 0.62))
    numbers, lines, bands = zip(*curve.expected, strict=True)
    low, high = zip(*bands, strict=True)
    axes.fill_between(numbers, low, high, color=theme.right, alpha=0.18, linewidth=0)
    axes.plot(numbers, lines, color=theme.right, linewidth=1.6)
    for number, accuracy, interval in curve.measured:
        axes.plot([number, number], interval, color=theme.ink, linewidth=1.2)
        axes.plot(number, accuracy, "o", color=theme.ink, markersize=5)
    axes.axvline(curve.now, color=theme.wrong, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.annotate(
        "now ", (curve.now, 0.03), xycoords=("data", "axes fraction"), ha="right", color=theme.wrong, fontsize=9
    )
    axes.set_xscale("log")
    ticks = [step * 10**power for power in range(7) for step in _TICKS]
    shown = [tick for tick in ticks if numbers[0] <= tick <= numbers[-1]]
    axes.xaxis.set_major_locator(FixedLocator(shown[:: -(-len(shown) // 7)] if shown else list(numbers[:1])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("training images of all classes", color=theme.faint, fontsize=9)
    axes.set_title("accuracy", loc="left", color=theme.faint, fontsize=9)
    plain_axes(axes, theme)
    write_title(figure, labels[0], labels[1], theme, labels.families)
    return figure
