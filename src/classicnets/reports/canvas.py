"""The canvas of every figure: colours, an empty figure, its title, plain axes, and the file it becomes.

Titles say the finding. Blue is right and orange is wrong in every figure: a pair that all kinds of colour vision tell
apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from classicnets.errors import ConfigError
from classicnets.system.storage import check_new, written_aside

Colour = str | tuple[float, float, float, float]
"""As matplotlib takes it: "#rrggbb", or red, green, blue and opacity in 0..1."""


@dataclass(frozen=True)
class Theme:
    """The colours of a figure; `faint` is for text and lines that matter less."""

    paper: str
    ink: str
    faint: str
    line: str
    right: str
    wrong: str


LIGHT = Theme(paper="#ffffff", ink="#1c2024", faint="#667078", line="#d9dee2", right="#0b62a8", wrong="#d55e00")
DARK = Theme(paper="#16191d", ink="#e6e9ec", faint="#98a2ab", line="#353b42", right="#56b4e9", wrong="#f08c3a")

_DISTINCT = ("#0b62a8", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c8c00")
_ON_DARK = {"#0b62a8": "#4a7fe0", "#000000": "#ffffff"}

PERCENT = FuncFormatter(lambda value, _: f"{value * 100:.4g} %")
"""Formats an axis of shares as percentages."""


def distinct_colours(number: int, theme: Theme = LIGHT) -> list[Colour]:
    """Colours for a number of lines: up to eight that all kinds of colour vision tell apart (Okabe and Ito)."""
    if number <= len(_DISTINCT):
        return [_ON_DARK.get(colour, colour) if theme == DARK else colour for colour in _DISTINCT[:number]]
    return [colormaps["turbo"](0.05 + 0.9 * i / (number - 1)) for i in range(number)]


def png(figure: Figure) -> bytes:
    """Render the figure as a PNG file, at two pixels per point."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=144, facecolor=figure.get_facecolor())
    return out.getvalue()


def check_figure_path(path: Path) -> None:
    """Raise ConfigError unless `path` names a new .png or .svg file. Call it before the work that draws the figure."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"{path}: a figure must be a .png or .svg file. Give a name with one of these suffixes.")
    check_new(path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure to a new .png or .svg file.

    Raises ConfigError if `path` exists or has another ending, StorageError if the file cannot be written.
    """
    check_figure_path(path)
    with written_aside(path) as new:
        if path.suffix.lower() == ".png":
            new.write_bytes(png(figure))
        else:
            with rc_context({"svg.hashsalt": "classicnets"}):
                figure.savefig(new, format="svg", facecolor=figure.get_facecolor(), metadata={"Date": None})


def new_figure(size: tuple[float, float], theme: Theme) -> Figure:
    """Make an empty figure; `size` is (width, height) in inches."""
    return Figure(figsize=size, facecolor=theme.paper)


def write_title(
    figure: Figure, finding: str, detail: str, theme: Theme, family: Sequence[str] = ("DejaVu Sans",)
) -> None:
    """Write two lines above a figure: what it shows, and a detail, which is cut to the width of the figure.

    `family` are the fonts, as in `Labels.families`.
    """
    left, height = 0.18 / figure.get_figwidth(), figure.get_figheight()
    most = int(figure.get_figwidth() * 13.5)
    detail = detail if len(detail) <= most else detail[: most - 1] + "…"
    figure.text(left, 1 - 0.2 / height, finding, color=theme.ink, fontsize=12, weight="bold", va="top", family=family)
    figure.text(left, 1 - 0.5 / height, detail, color=theme.faint, fontsize=9, va="top", family=family)


def plain_axes(axes: Axes, theme: Theme) -> None:
    """Give the axes a base line, faint lines across, and no box."""
    axes.set_facecolor(theme.paper)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.line)
    axes.grid(axis="y", color=theme.line, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=theme.faint, labelsize=8.5)
