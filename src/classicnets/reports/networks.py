"""The figure of networks side by side, as papers draw it: accuracy against multiply-adds, dots as large as networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from classicnets.analysis.compare import Network
from classicnets.errors import ConfigError
from classicnets.models.facts import FACTS
from classicnets.models.published import CIFAR10, IMAGENET, PUBLISHED, Published
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
from classicnets.reports.place import Box, Dot, place_labels
from classicnets.reports.text import percent

_LARGEST = 30.0  # diameter of the largest dot of a panel, in points
_FONT = 8.0
_NEAR = 9.0  # pixels between a dot and its label, above which a line joins them


def accuracy_figure(networks: Sequence[Network], theme: Theme = LIGHT) -> Figure:
    """Draw published accuracy against multiply-adds, a panel for each data set. A dot's area stands for parameters.

    Args:
        networks: what is drawn; those without a published accuracy are left out, and the figure names them.
        theme: the colours.

    Raises ConfigError if none of them has a published accuracy.
    """
    check_drawable([network.model for network in networks])
    drawn = [(network, network.published) for network in networks if network.published]
    panels = {data: [(one, found) for one, found in drawn if found.data == data] for data in (IMAGENET, CIFAR10)}
    panels = {data: shown for data, shown in panels.items() if shown}
    width, height = 7.4 * len(panels), 6.0
    figure = new_figure((width, height), theme)
    canvas = FigureCanvasAgg(figure)  # it measures text
    grid = {"left": 0.75 / width, "right": 1 - 0.2 / width, "top": 1 - 0.85 / height, "bottom": 1.3 / height}
    all_axes = figure.subplots(1, len(panels), squeeze=False, gridspec_kw={**grid, "wspace": 0.16})[0]
    families = list(dict.fromkeys(fact["family"] for fact in FACTS.values()))
    colours = dict(zip(families, distinct_colours(len(families)), strict=True))
    for axes, (data, shown) in zip(all_axes, panels.items(), strict=True):
        _panel(axes, data, shown, colours, theme, canvas)
    used = [family for family in families if any(one.family == family for one, _ in drawn)]
    figure.legend(
        [Line2D([], [], marker="o", linestyle="", color=colours[family], markersize=7) for family in used], used,
        loc="lower center", ncols=len(used), frameon=False, fontsize=_FONT + 0.5, labelcolor=theme.ink,
    )  # fmt: skip
    best = [max(shown, key=lambda pair: pair[1].top1) for shown in panels.values()]
    finding = ", ".join(f"{one.model} {percent(found.top1)} on {found.data}" for one, found in best)
    missing = [network.model for network in networks if not network.published]
    detail = "Published top-1, one view of each image. Area of a dot: parameters"
    if missing:
        others = missing[0] if len(missing) == 1 else f"{len(missing)} others"
        detail += f". Nothing published for {others}"
    write_title(figure, f"Most accurate: {finding}", detail, theme)
    return figure


def check_drawable(models: Sequence[str]) -> None:
    """Raise ConfigError if none of the models has a published accuracy. Call it before the work that draws them."""
    if not any(model in PUBLISHED for model in models):
        raise ConfigError(
            f"No accuracy for one view of each image was published for {', '.join(models)}, so there is nothing to "
            "draw. Add a model that has one, such as resnet18 or resnet20_cifar."
        )


def _panel(
    axes: Axes,
    data: str,
    shown: Sequence[tuple[Network, Published]],
    colours: dict[str, Colour],
    theme: Theme,
    canvas: FigureCanvasAgg,
) -> None:
    """Draw the networks of one data set."""
    plain_axes(axes, theme)
    largest = max(network.parameters for network, _ in shown)
    diameters = [_diameter(network.parameters / largest) for network, _ in shown]
    for (network, found), diameter in zip(shown, diameters, strict=True):
        axes.scatter(
            [network.macs], [found.top1], s=diameter**2, color=colours[network.family], alpha=0.55, linewidths=0.8,
            edgecolors=[colours[network.family]],
        )  # fmt: skip
    _limits(axes, [network.macs for network, _ in shown], [found.top1 for _, found in shown])
    axes.set_xlabel("multiply-adds for one image", color=theme.faint, fontsize=9)
    axes.set_ylabel(f"top-1 accuracy on {data}", color=theme.faint, fontsize=9)
    sizes = _round_sizes(largest)
    axes.legend(
        [
            Line2D([], [], marker="o", linestyle="", color=theme.faint, alpha=0.5, markersize=_diameter(size / largest))
            for size in sizes
        ],
        [f"{_count(size)} parameters" for size in sizes],
        loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=_FONT, handlelength=3,
        columnspacing=2.5, labelcolor=theme.faint,
    )  # fmt: skip
    _label(axes, shown, diameters, theme, canvas)


def _limits(axes: Axes, macs: Sequence[int], accuracies: Sequence[float]) -> None:
    """Room around the dots for their labels, and round numbers on the axes."""
    axes.set_xscale("log")
    low, high = min(macs) / 1.9, max(macs) * 1.9
    axes.set_xlim(low, high)
    room = max(0.01, 0.14 * (max(accuracies) - min(accuracies)))
    axes.set_ylim(min(accuracies) - room, min(1.0, max(accuracies) + room))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    axes.yaxis.set_major_formatter(PERCENT)


def _label(
    axes: Axes,
    shown: Sequence[tuple[Network, Published]],
    diameters: Sequence[float],
    theme: Theme,
    canvas: FigureCanvasAgg,
) -> None:
    """Write each network's name near its dot, the smallest dots first; a line joins them if they are far apart."""
    pixels = axes.figure.dpi / 72
    order = sorted(range(len(shown)), key=diameters.__getitem__)
    dots, texts = [], []
    for i in order:
        network, found = shown[i]
        x, y = axes.transData.transform((network.macs, found.top1))
        dots.append(Dot(x, y, diameters[i] / 2 * pixels + 1))
        texts.append(axes.text(0, 0, network.model, fontsize=_FONT, color=theme.ink, va="bottom"))
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    extents = [text.get_window_extent(renderer) for text in texts]
    frame = axes.get_window_extent(renderer)
    places = place_labels(
        dots, [(box.width + 2, box.height) for box in extents], Box(frame.x0, frame.y0, frame.x1, frame.y1)
    )
    to_data = axes.transData.inverted()
    for dot, text, place in zip(dots, texts, places, strict=True):
        left, bottom = to_data.transform((place.left + 1, place.bottom))
        text.set_position((left, bottom))
        near = place.nearest(dot.x, dot.y)
        if math.dist(near, (dot.x, dot.y)) > dot.radius + _NEAR:
            ends = to_data.transform([near, (dot.x, dot.y)])
            axes.plot(ends[:, 0], ends[:, 1], color=theme.faint, linewidth=0.6, zorder=1, scalex=False, scaley=False)


def _diameter(share: float) -> float:
    """The diameter, in points, of the dot of a network with that share of the largest one's parameters."""
    return _LARGEST * math.sqrt(share)


def _round_sizes(largest: float) -> list[float]:
    """Three round numbers of parameters, the first not above the largest network's."""
    power = 10.0 ** math.floor(math.log10(largest))
    first = max(step * power for step in (1, 2, 5) if step * power <= largest)
    return [first, first / 5, first / 20]


def _count(value: float) -> str:
    """A round number: 250 K, 500 M, 2 G."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value / 1e3:g} K"
