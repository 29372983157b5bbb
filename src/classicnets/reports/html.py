"""Pages from templates: one file each that needs no network, no script and no other file.

A page is a template in `templates/` that extends `base.html.j2` and uses `macros.html.j2`. Every value is escaped.
Images are data URIs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from classicnets.images import png_uri
from classicnets.reports.canvas import DARK, LIGHT, Theme, png
from classicnets.reports.text import percent


class Themed(NamedTuple):
    """A figure as two data URIs: for light pages and for dark ones."""

    light: str
    dark: str


def render(template: str, **values: object) -> str:
    """Fill in a template, such as "report.html.j2". Shares are written with the filter `percent`."""
    return _environment().get_template(template).render(**values)


def themed(draw: Callable[[Theme], Figure], light: bytes | None = None) -> Themed:
    """Draw a figure in both themes. `light` is its PNG file for light pages if that was drawn before."""
    return Themed(light=png_uri(light or png(draw(LIGHT))), dark=png_uri(png(draw(DARK))))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("classicnets.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment


def _percent(share: float, digits: int = 1) -> str:
    """A percentage that is never broken over two lines."""
    return percent(share, digits).replace(" ", "\N{NO-BREAK SPACE}")
