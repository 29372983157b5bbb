"""A unit's fields as a drawing: what it sees on the image, and the positions of later stages that see it."""

from __future__ import annotations

from torch import Tensor

from classicnets.analysis.svg import Svg
from classicnets.analysis.unit import Area, UnitFields
from classicnets.images import image_uri

_PAD, _GAP = 16.0, 28.0  # all lengths in pixels
_IMAGE, _MAP = 320.0, 104.0  # the longer side of the image, and of a stage's map
_ACROSS = 4  # maps in a row
_STYLE = """
.title { font-size: 15px; font-weight: 600; }
.map { fill: #e9edf0; }
.seen { fill: #d55e00; fill-opacity: .18; stroke: #d55e00; stroke-width: 2; }
.padding { fill: none; stroke: #d55e00; stroke-width: 1.5; stroke-dasharray: 4 3; }
.unit { fill: #d55e00; }
.reached { fill: #0b62a8; fill-opacity: .75; }
@media (prefers-color-scheme: dark) { .map { fill: #2a3036; } .reached { fill: #56b4e9; } }
"""


def draw_unit(fields: UnitFields, image: Tensor | None = None) -> str:
    """Return an SVG document: the receptive field on the image, and the projective field on each later stage.

    Args:
        fields: what `inspect_unit` returned.
        image: uint8 (3, H, W) of the fields' image size, or None for an empty one.
    """
    svg = Svg(_STYLE)
    row, column = fields.position
    title = f"{fields.model}: channel {fields.channel} of {fields.stage} at row {row}, column {column}"
    svg.text(_PAD, 26, title, "title")
    height, width = fields.image
    scale = _IMAGE / max(height, width)
    seen = fields.receptive_field
    margin = _margin(seen, fields.image) * scale
    left, top = _PAD + margin, 44 + margin
    frame = {"x": left, "y": top, "width": width * scale, "height": height * scale}
    svg.add("rect", kind="map", layer=0, **frame)
    if image is not None:
        svg.add("image", kind="", layer=1, href=image_uri(image), **frame)
    if seen is not None:
        svg.add("rect", kind="padding", layer=2, **_box(seen, left, top, scale))
        svg.add("rect", kind="seen", layer=2, **_box(seen.within(fields.image), left, top, scale))
    below = top + height * scale + margin + 18
    svg.text(_PAD, below, _sentence(fields), "fact")
    maps = list(fields.projective_field.items())
    for i, (stage, area) in enumerate(maps):
        x = _PAD + i % _ACROSS * (_MAP + _GAP)
        y = below + 20 + i // _ACROSS * (_MAP + 44)
        _map(svg, x, y, stage, area, fields)
    rows = -(-len(maps) // _ACROSS)
    total = max(_PAD * 2 + _IMAGE + 2 * margin, _PAD * 2 + _ACROSS * (_MAP + _GAP), 8.6 * len(title) + 2 * _PAD)
    return svg.document(total, below + 20 + rows * (_MAP + 44), title)


def _map(svg: Svg, x: float, y: float, stage: str, area: Area, fields: UnitFields) -> None:
    height, width = fields.sizes[stage]
    scale = _MAP / max(height, width)
    svg.add("rect", kind="map", layer=0, x=x, y=y, width=width * scale, height=height * scale)
    svg.add("rect", kind="unit" if stage == fields.stage else "reached", layer=1, **_box(area, x, y, scale))
    reached = (area.rows.last - area.rows.first + 1) * (area.columns.last - area.columns.first + 1)
    svg.text(x, y + _MAP + 14, stage)
    svg.text(x, y + _MAP + 27, f"{reached:,} of {height * width:,}", "fact")


def _sentence(fields: UnitFields) -> str:
    seen = fields.receptive_field
    if seen is None:
        return "It sees the whole image. Below: the positions that it can change."
    height = seen.rows.last - seen.rows.first + 1
    width = seen.columns.last - seen.columns.first + 1
    dashed = " (dashed: in the padding)" if _margin(seen, fields.image) else ""
    return f"It sees {height} × {width} pixels{dashed}. Below: the positions that it can change."


def _margin(seen: Area | None, image: tuple[int, int]) -> int:
    """How many pixels the receptive field reaches beyond the image, at most a third of it."""
    if seen is None:
        return 0
    beyond = [-seen.rows.first, -seen.columns.first, seen.rows.last - image[0] + 1, seen.columns.last - image[1] + 1]
    return min(max(0, *beyond), max(image) // 3)


def _box(area: Area, left: float, top: float, scale: float) -> dict[str, float]:
    return {
        "x": left + area.columns.first * scale,
        "y": top + area.rows.first * scale,
        "width": (area.columns.last - area.columns.first + 1) * scale,
        "height": (area.rows.last - area.rows.first + 1) * scale,
    }
