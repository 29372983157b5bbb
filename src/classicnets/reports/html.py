"""Pages from templates: one file each that needs no network, no script and no other file.

A page is a template in `templates/` that extends `base.html.j2` and uses `macros.html.j2`. Every value is escaped.
Images are data URIs.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from classicnets.reports.canvas import DARK, LIGHT, Theme, png
from classicnets.reports.text import percent


class Themed(NamedTuple):
    """A figure as two data URIs: for light pages and for dark ones."""

    light: str
    dark: str


def render(template: str, **values: object) -> str:
    """Fill in a template, such as "report.html.j2". Shares are written with the filter `percent`."""
    return _environment().get_template(template).render(**values)


def themed(draw: Callable[[Theme], Figure]) -> Themed:
    """Draw a figure in both themes."""
    return Themed(light=_uri(png(draw(LIGHT))), dark=_uri(png(draw(DARK))))


def picture(image: Tensor) -> str:
    """An image, uint8 (3, H, W), as a data URI."""
    out = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(out, "PNG")
    return _uri(out.getvalue())


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


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
