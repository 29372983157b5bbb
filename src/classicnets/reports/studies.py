"""The figures of studies: dots for the numbers of networks, lines for what changes by epoch or by layer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator

from classicnets.reports.canvas import (
    LIGHT,
    PERCENT,
    Colour,
    Theme,
    distinct_colours,
    new_figure,
    plain_axes,
    write_title,
)

Line = Sequence[tuple[float, float]]
"""Points (x, y) from left to right."""

Scale = Literal["number", "share", "count", "log"]
"""How numbers are drawn and written along an axis."""

_WIDTH = 5.0  # inches: readable on a phone, so panels stand below each other
_TOP = 1.25
_LINE = 62  # letters of a line below the headline
_NAMES = 3  # in a row below the figure
_LETTER = 0.075  # inches of a letter beside an axis


def dots_figure(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    headline: str,
    detail: str,
    theme: Theme = LIGHT,
    *,
    scale: Scale = "number",
) -> Figure:
    """Draw the numbers of each network as dots, a row for each network, and their mean as a line through the row.

    Args:
        panels: a panel for each quantity, by its name: network -> a number for each seed. All have the same networks.
        headline, detail: the lines above the figure.
        theme: the colours.
        scale: "share" writes percentages, "count" begins at 0 and writes 4.5 G, "log" is logarithmic up to 1.
    """
    networks = list(next(iter(panels.values())))
    each = 0.35 + 0.36 * len(networks)
    left = 0.3 + _LETTER * max(map(len, networks))
    figure, all_axes = _panels(len(panels), each, gap=0.6, bottom=0.35, left=left, theme=theme)
    colours = _colours(networks, theme)
    for axes, (name, rows) in zip(all_axes, panels.items(), strict=True):
        plain_axes(axes, theme)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=theme.line, linewidth=0.7)
        for place, network in enumerate(networks):
            values = [value for value in rows[network] if math.isfinite(value)]
            axes.plot(values, [place] * len(values), "o", color=colours[network], markersize=6, alpha=0.8)
            if len(values) > 1:
                mean = sum(values) / len(values)
                axes.plot([mean, mean], [place - 0.3, place + 0.3], color=colours[network], linewidth=2)
        axes.set_yticks(range(len(networks)), networks, color=theme.ink)
        axes.set_ylim(len(networks) - 0.5, -0.5)
        axes.set_title(name, loc="left", color=theme.faint, fontsize=9)
        _scale(axes, scale)
    _title(figure, headline, detail, theme)
    return figure


def _panels(
    number: int, each: float, *, gap: float, bottom: float, left: float, theme: Theme, right: float = 0.25
) -> tuple[Figure, list[Axes]]:
    """A figure with panels below each other, each of that height in inches, and room for the title above them."""
    height = _TOP + number * each + (number - 1) * gap + bottom
    figure = new_figure((_WIDTH, height), theme)
    grid = {
        "left": left / _WIDTH, "right": 1 - right / _WIDTH, "top": 1 - _TOP / height, "bottom": bottom / height,
        "hspace": gap / each,
    }  # fmt: skip
    axes = figure.subplots(number, 1, squeeze=False, gridspec_kw=grid)[:, 0]
    return figure, list(axes)


def _title(figure: Figure, headline: str, detail: str, theme: Theme) -> None:
    """The headline, and the detail on up to two lines."""
    first, *more = textwrap.wrap(detail, _LINE, max_lines=2, placeholder="…") or [""]
    write_title(figure, headline, first, theme)
    if more:
        height = figure.get_figheight()
        figure.text(0.18 / _WIDTH, 1 - 0.7 / height, more[0], color=theme.faint, fontsize=9, va="top")


def _scale(axes: Axes, scale: Scale) -> None:
    """Set the horizontal axis."""
    axes.margins(x=0.12)
    if scale == "log":
        axes.set_xscale("log")
        axes.set_xlim(1e-18, 1)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.tick_params(which="minor", length=0)
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    if scale == "share":
        axes.xaxis.set_major_formatter(PERCENT)
    elif scale == "count":
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(EngFormatter())


def lines_figure(
    panels: Mapping[str, Mapping[str, Sequence[Line]]],
    across: str,
    headline: str,
    detail: str,
    theme: Theme = LIGHT,
    *,
    percent: bool = False,
    log: bool = False,
) -> Figure:
    """Draw a line for each network and seed: the seeds thin, and their mean thick where they have the same x.

    Args:
        panels: a panel for each quantity, by its name: network -> a line for each seed. All have the same networks.
        across: what the horizontal axis shows.
        headline, detail: the lines above the figure.
        theme: the colours.
        percent: the values are shares, and are written as percentages.
        log: the values are drawn on a logarithmic axis.
    """
    networks = list(next(iter(panels.values())))
    rows_of_names = math.ceil(len(networks) / _NAMES)
    bottom = 0.65 + 0.22 * rows_of_names
    figure, all_axes = _panels(len(panels), 2.4, gap=0.75, bottom=bottom, left=0.65, theme=theme)
    colours = _colours(networks, theme)
    for axes, (name, rows) in zip(all_axes, panels.items(), strict=True):
        if log:
            axes.set_yscale("log")
        for network in networks:
            _lines(axes, rows[network], colours[network])
        plain_axes(axes, theme)
        axes.tick_params(which="minor", length=0)
        axes.set_title(name, loc="left", color=theme.faint, fontsize=9)
        axes.set_xlabel(across, color=theme.faint, fontsize=9)
        if across == "epoch":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if percent:
            axes.yaxis.set_major_formatter(PERCENT)
    figure.legend(
        [Line2D([], [], color=colours[network], linewidth=2.5) for network in networks], networks,
        loc="lower center", ncols=min(_NAMES, len(networks)), frameon=False, fontsize=8.5, labelcolor=theme.ink,
    )  # fmt: skip
    _title(figure, headline, detail, theme)
    return figure


def map_figure(
    rows: Sequence[Sequence[float]], across: str, down: str, headline: str, detail: str, theme: Theme = LIGHT
) -> Figure:
    """Draw numbers as a map: each row is a layer and each field one of its sources. Later layers have more sources.

    Args:
        rows: the numbers of each row, 0 or more; 1 is their usual size.
        across, down: what the columns and the rows are.
        headline, detail: the lines above the figure.
        theme: the colours.
    """
    figure, (axes,) = _panels(1, 3.4, gap=0.0, bottom=0.6, left=0.65, right=0.55, theme=theme)
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for i, row in enumerate(rows):
        values[i, : len(row)] = row
    image = axes.imshow(values, cmap="viridis", aspect="auto", vmin=0)
    plain_axes(axes, theme)
    axes.grid(visible=False)
    axes.set_xlabel(across, color=theme.faint, fontsize=9)
    axes.set_ylabel(down, color=theme.faint, fontsize=9)
    axes.set_yticks(range(0, len(rows), 2), [str(number) for number in range(1, len(rows) + 1, 2)])
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=theme.faint, labelsize=8.5)
    _title(figure, headline, detail, theme)
    return figure


def _lines(axes: Axes, lines: Sequence[Line], colour: Colour) -> None:
    lines = [line for line in lines if line]
    for line in lines:
        axes.plot(*zip(*line, strict=True), color=colour, linewidth=0.8, alpha=0.45)
    if lines and len({tuple(x for x, _ in line) for line in lines}) == 1:
        mean = np.mean([[y for _, y in line] for line in lines], axis=0)
        axes.plot([x for x, _ in lines[0]], mean, color=colour, linewidth=2)


def _colours(networks: Sequence[str], theme: Theme) -> dict[str, Colour]:
    """A colour for each network, all different; the first two are those of every figure."""
    plain, *rest = distinct_colours(max(2, len(networks)))
    readable = {"#000000": theme.ink, theme.right: plain}
    colours = [theme.right, theme.wrong, *(readable.get(str(colour), colour) for colour in rest[1:])]
    return dict(zip(networks, colours, strict=False))
