"""The roofline: how much of the machine each way to run a network uses, and what holds it back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from classicnets.reports.canvas import LIGHT, Colour, Theme, distinct_colours, new_figure, plain_axes, write_title

_ROOFS = ("fp32", "bf16", "int8")  # from low to high


class Point(NamedTuple):
    """A way to run a network at a batch size: operations per byte, and billions of operations per second."""

    name: str
    batch: int
    intensity: float
    gflops: float


def roofline(
    points: Sequence[Point],
    *,
    peaks: Mapping[str, float],
    gbps: float,
    finding: str,
    detail: str,
    theme: Theme = LIGHT,
) -> Figure:
    """Draw what each way reaches below what the machine can reach: memory on the left, arithmetic on the right.

    Args:
        points: 1 or more; those of one name are joined by a line.
        peaks: GFLOP/s of a matrix product, by precision.
        gbps: GB/s read from memory.
        finding: the title.
        detail: the line below it.
        theme: the colours.
    """
    figure = new_figure((8.6, 5.4), theme)
    axes = figure.add_axes((0.085, 0.11, 0.62, 0.72))
    names = list(dict.fromkeys(point.name for point in points))
    colours = dict(zip(names, distinct_colours(len(names), theme), strict=True))
    ridge = min(peaks.values()) / gbps  # where the roof bends
    left = 2 ** math.floor(math.log2(min(ridge / 2, *(point.intensity for point in points))) - 1)
    right = 2 ** math.ceil(math.log2(max(point.intensity for point in points)) + 1)
    low = min(point.gflops for point in points) / 2
    high = 2.2 * max([*peaks.values(), *(point.gflops for point in points)])
    _draw_roofs(axes, peaks, gbps, (left, right), theme)
    for name in names:
        own = sorted((point for point in points if point.name == name), key=lambda point: point.batch)
        _draw_way(axes, own, colours[name], theme)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    plain_axes(axes, theme)
    axes.grid(axis="x", color=theme.line, linewidth=0.5)
    axes.minorticks_off()
    axes.set_xticks(_powers(left, right), [f"{value:g}" for value in _powers(left, right)])
    ticks = [base * 10**power for power in range(-4, 7) for base in (1, 2, 5) if low <= base * 10**power <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("operations for each byte that has to move", color=theme.faint, fontsize=9)
    axes.set_ylabel("GFLOP/s", color=theme.faint, fontsize=9)
    _list_names(figure, points, colours, theme)
    write_title(figure, finding, detail, theme)
    return figure


def _draw_roofs(axes: Axes, peaks: Mapping[str, float], gbps: float, span: tuple[float, float], theme: Theme) -> None:
    left, right = span
    known = [name for name in _ROOFS if name in peaks]
    highest = peaks[known[-1]]
    ridge = highest / gbps
    axes.fill_between([left, ridge, right], [left * gbps, highest, highest], 1e9, color=theme.line, alpha=0.45, lw=0)
    axes.plot([left, min(ridge, right)], [left * gbps, min(ridge, right) * gbps], color=theme.ink, linewidth=1.6)
    for name in known:
        start = max(left, peaks[name] / gbps)
        axes.plot([start, right], [peaks[name]] * 2, color=theme.ink, linewidth=1.6)
        axes.text(
            right / 1.06, peaks[name] * 1.07, f"{name} matrix product: {peaks[name]:.0f} GFLOP/s",
            color=theme.ink, fontsize=8, ha="right",
        )  # fmt: skip
    if left * 1.5 < ridge:
        axes.text(
            left * 1.08, left * gbps * 1.35, f"memory: {gbps:.0f} GB/s", color=theme.ink, fontsize=8, rotation=0,
            ha="left",
        )  # fmt: skip


def _draw_way(axes: Axes, own: Sequence[Point], colour: Colour, theme: Theme) -> None:
    """A way's points, joined, with the batch size in each."""
    xs, ys = [point.intensity for point in own], [point.gflops for point in own]
    axes.plot(xs, ys, color=colour, linewidth=1.2, alpha=0.7)
    axes.scatter(xs, ys, s=150, color=[colour] * len(xs), edgecolors=theme.paper, linewidths=1, zorder=3)
    for point in own:
        axes.text(
            point.intensity, point.gflops, str(point.batch), color=theme.paper, fontsize=6.5, ha="center",
            va="center_baseline", weight="bold", zorder=4,
        )  # fmt: skip


def _list_names(figure: Figure, points: Sequence[Point], colours: Mapping[str, Colour], theme: Theme) -> None:
    """The names on the right, the fastest at the smallest batch size first."""
    smallest = min(point.batch for point in points)
    fastest = {point.name: point.gflops for point in points if point.batch == smallest}
    figure.text(0.725, 0.81, "number in a dot: batch size", color=theme.faint, fontsize=8)
    for place, name in enumerate(sorted(fastest, key=lambda name: -fastest[name])):
        y = 0.755 - 0.055 * place
        figure.text(0.725, y, "●", color=colours[name], fontsize=12, va="center")
        figure.text(0.752, y, name, color=theme.ink, fontsize=8.5, va="center")


def _powers(left: float, right: float) -> list[float]:
    """Powers of two from `left` to `right`, at most about eight."""
    first, last = round(math.log2(left)), round(math.log2(right))
    step = max(1, math.ceil((last - first) / 8))
    return [2.0**power for power in range(first, last + 1, step)]
