"""The figure of a learning-rate range test: the loss at each rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from classicnets.reports.canvas import LIGHT, Theme, new_figure, plain_axes, write_title


class Suggestion(NamedTuple):
    """A learning rate, and the lowest and highest rate of the valley that it lies in."""

    rate: float
    low: float
    high: float


def range_test(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: Suggestion | None,
    *,
    model: str,
    theme: Theme = LIGHT,
) -> Figure:
    """Draw the loss at each rate on a logarithmic axis: single steps faint, the smoothed line, the suggestion marked.

    Args:
        rates: the learning rates, above 0, rising.
        losses: the loss of the step at each rate, finite.
        smoothed: the same, smoothed.
        suggestion: the rate to mark, or None if the loss did not fall.
        model: the network's name.
        theme: the colours.
    """
    figure = new_figure((7.2, 4.2), theme)
    axes = figure.add_axes((0.09, 0.14, 0.87, 0.64))
    axes.plot(rates, losses, ".", color=theme.faint, markersize=3, alpha=0.6)
    axes.plot(rates, smoothed, color=theme.right, linewidth=1.8)
    axes.set_xscale("log")
    lowest = min(range(len(smoothed)), key=lambda i: smoothed[i])
    axes.set_ylim(0.9 * min(losses), 1.25 * max(smoothed[: lowest + 1]))
    axes.set_xlabel("learning rate", color=theme.faint, fontsize=9)
    axes.set_title("loss", loc="left", color=theme.faint, fontsize=9)
    plain_axes(axes, theme)
    axes.tick_params(which="minor", length=0)
    finding, detail = "The loss did not fall at any of these rates", f"{len(rates)} steps of {model}"
    if suggestion is not None:
        axes.axvspan(suggestion.low, suggestion.high, color=theme.wrong, alpha=0.1, linewidth=0)
        axes.axvline(suggestion.rate, color=theme.wrong, linewidth=1.8)
        finding = f"Suggested learning rate: {suggestion.rate:g}"
        detail = f"In the middle of the valley of the loss, after {len(rates)} steps of {model}"
    write_title(figure, finding, detail, theme)
    return figure
