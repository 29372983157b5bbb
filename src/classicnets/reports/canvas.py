"""What every figure is drawn on: colours, an empty figure, its title, plain axes, and the file it becomes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from classicnets.errors import ConfigError
from classicnets.system.storage import written_aside


@dataclass(frozen=True)
class Theme:
    """Colours of a figure."""

    paper: str
    ink: str
    faint: str
    line: str
    right: str
    wrong: str


LIGHT = Theme(paper="#ffffff", ink="#1c2024", faint="#667078", line="#d9dee2", right="#0b62a8", wrong="#d55e00")
DARK = Theme(paper="#16191d", ink="#e6e9ec", faint="#98a2ab", line="#353b42", right="#56b4e9", wrong="#f08c3a")


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, at two pixels a point."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=144, facecolor=figure.get_facecolor())
    return out.getvalue()


def check_figure_path(path: Path) -> None:
    """Raise ConfigError unless `path` is a new .png or .svg file: before the work that would end in it."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"{path}: a figure is a .png or an .svg file. Name it so.")
    if path.exists():
        raise ConfigError(f"{path} exists, and no file is overwritten. Give the figure another name, or remove it.")


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure to a new .png or .svg file. Raises ConfigError, or StorageError when the disk refuses."""
    check_figure_path(path)
    with written_aside(path) as new:
        if path.suffix.lower() == ".png":
            new.write_bytes(png(figure))
        else:
            with rc_context({"svg.hashsalt": "classicnets"}):
                figure.savefig(new, format="svg", facecolor=figure.get_facecolor(), metadata={"Date": None})


PERCENT = FuncFormatter(lambda value, _: f"{value * 100:.4g} %")


def percent(share: float) -> str:
    """A share as a percentage that never rounds up to 100 %, nor down to 0 %."""
    text = f"{share * 100:.1f} %"
    return {"100.0 %": "100 %" if share == 1 else "over 99.9 %", "0.0 %": "0 %" if share == 0 else "under 0.1 %"}.get(
        text, text
    )


def new_figure(size: tuple[float, float], theme: Theme) -> Figure:
    """An empty figure, `size` in inches (width, height)."""
    return Figure(figsize=size, facecolor=theme.paper)


def write_title(
    figure: Figure, finding: str, detail: str, theme: Theme, family: Sequence[str] = ("DejaVu Sans",)
) -> None:
    """The two lines above a figure: what is to be seen in it, and a number that goes with it, cut to the width."""
    left, height = 0.18 / figure.get_figwidth(), figure.get_figheight()
    most = int(figure.get_figwidth() * 13.5)
    detail = detail if len(detail) <= most else detail[: most - 1] + "…"
    figure.text(left, 1 - 0.2 / height, finding, color=theme.ink, fontsize=12, weight="bold", va="top", family=family)
    figure.text(left, 1 - 0.5 / height, detail, color=theme.faint, fontsize=9, va="top", family=family)


def plain_axes(axes: Axes, theme: Theme) -> None:
    """Axes with a base line, faint lines across, and no box."""
    axes.set_facecolor(theme.paper)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.line)
    axes.grid(axis="y", color=theme.line, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=theme.faint, labelsize=8.5)
