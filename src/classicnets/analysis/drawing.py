"""A network drawn as its paper draws it: `inspect(model).to_svg()`.

Images enter at the top. Each stage is a band with its layers: branches side by side, shortcuts around, repeats once
with their number. On its right are the stage's output, parameters and multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from classicnets.analysis.graph import IMAGES, Graph, Layer, Unit
from classicnets.analysis.svg import Svg
from classicnets.models.facts import human

_BOX = (124, 22)  # all lengths in pixels
_ACROSS = 136  # from a branch to the next
_DOWN = 42  # from a layer to the next
_SIDE = 24  # from the outermost branch to a shortcut
_NAME, _FACTS = 112, 172  # widths of the columns left and right
_PAD = 14

_STYLE = """
text { text-anchor: middle; }
.title { font-size: 15px; font-weight: 600; text-anchor: start; }
.name { font-size: 12px; font-weight: 600; text-anchor: start; }
.fact, .note, .after, .times { text-anchor: start; }
.after { font-size: 9px; }
.times { font-size: 13px; }
.repeat { fill: none; stroke-dasharray: 3 3; }
.conv { fill: #cfe3f6; } .pool { fill: #fbdcc8; } .linear { fill: #cdeedd; } .other { fill: #e4e0f3; }
.join { fill: #fff; }
@media (prefers-color-scheme: dark) {
.conv { fill: #1f4468; } .pool { fill: #6b3a1c; } .linear { fill: #1d5239; } .other { fill: #40386b; }
.join { fill: #16191d; }
}
"""


class Facts(NamedTuple):
    """What stands beside a stage: its output (C, H, W), parameters and multiply-adds."""

    output: tuple[int, ...]
    parameters: int
    macs: int


def draw(graph: Graph, *, title: str, image: tuple[int, int, int], facts: dict[str, Facts]) -> str:
    """Return the drawing of a network as an SVG document, for light and dark pages and for print.

    Args:
        graph: the network's units, see `graph.graph`.
        title: the first line.
        image: channels, height and width of the images.
        facts: what stands beside each stage, by its name.
    """
    widths = [_width(unit) for unit in graph.units]
    middle = max(widths, default=_BOX[0]) + 2 * _SIDE
    drawing = _Drawing(_NAME + middle / 2)
    drawing.text(_PAD, 26, title, "title")
    drawing.text(drawing.axis, 56, f"images {_shape(image)}")
    y = 64.0
    for stage, group in groupby(graph.units, key=lambda unit: unit.stage):
        y = _stage(drawing, y, list(group), facts.get(stage), graph.auxiliary.get(stage, ()), middle)
    return drawing.document(_NAME + middle + _FACTS, y + _PAD, title)


class _Drawing(Svg):
    """The drawing of a network: bands below lines below boxes below words. `axis` is where the signal runs down."""

    def __init__(self, axis: float) -> None:
        super().__init__(_STYLE)
        self.axis = axis

    def line(self, path: str) -> None:
        self.add("path", d=path, kind="line", layer=1)

    def box(self, x: float, y: float, layer: Layer) -> None:
        joins, height = layer.kind == "join", _height(layer)
        width = _join_width(layer) if joins else _BOX[0]
        corners = height / 2 if joins else 4
        self.add("rect", x=x - width / 2, y=y, width=width, height=height, rx=corners, kind=layer.kind, layer=2)
        self.text(x, y + height / 2 + 4, layer.label)
        if layer.after:
            self.text(x + 5, y + height + 9, " ".join(layer.after), "after")


def _stage(
    drawing: _Drawing, y: float, units: Sequence[Unit], facts: Facts | None, auxiliary: Sequence[Layer], middle: float
) -> float:
    """Draw a stage whose signal enters at height `y`; return where it leaves."""
    top = y + 6
    drawing.line(f"M{drawing.axis:g} {y:g}V{top + _PAD:g}")
    inside = top + _PAD
    for unit in units:
        inside = _unit(drawing, inside, unit)
    height = inside - top + 4
    width = _NAME + middle + _FACTS - _PAD
    drawing.add("rect", x=_PAD / 2, y=top, width=width, height=height, rx=6, kind="band", layer=0)
    drawing.text(_PAD, top + 18, units[0].stage, "name")
    beside = _NAME + middle + 8
    lines = []
    if facts:
        lines = [_shape(facts.output)]
        if facts.parameters:
            lines.append(f"{human(facts.parameters)} parameters")
        if facts.macs:
            lines.append(f"{human(facts.macs)} multiply-adds")
    for i, line in enumerate(lines):
        drawing.text(beside, top + 18 + 14 * i, line, "fact")
    if auxiliary:
        start = top + 18 + 14 * (len(lines) + 1)
        for i, line in enumerate(["auxiliary head:", *(layer.label for layer in auxiliary)]):
            drawing.text(beside, start + 14 * i, line, "note")
    return top + height


def _unit(drawing: _Drawing, y: float, unit: Unit) -> float:
    """Draw a unit whose signal enters at height `y`; return where it leaves."""
    branches = _branches(unit)
    across = max(branches.values(), default=0) / 2 * _ACROSS  # from the axis to the outermost branches
    xs = [
        drawing.axis - across + branches[i] * _ACROSS if i in branches else drawing.axis
        for i in range(len(unit.layers))
    ]
    starts_forked = sum(IMAGES in layer.inputs for layer in unit.layers) > 1
    first = y + (12 if starts_forked or unit.times > 1 else 0)
    ys = [first + (depth - 1) * _DOWN for depth in _depths(unit)]
    fork = first - 6
    end = ys[-1] + _DOWN
    side = drawing.axis + across + _BOX[0] / 2 + _SIDE / 2
    drawing.line(f"M{drawing.axis:g} {y:g}V{fork:g}")
    for x, layer_y, layer in zip(xs, ys, unit.layers, strict=True):
        for source in layer.inputs:
            start = (
                (drawing.axis, fork) if source == IMAGES else (xs[source], ys[source] + _height(unit.layers[source]))
            )
            path = f"M{start[0]:g} {start[1]:g}"
            if source == IMAGES and layer.kind == "join":  # a shortcut, around the branches
                path += f"H{side:g}V{layer_y + _height(layer) / 2:g}H{x + _join_width(layer) / 2:g}"
            elif layer.kind == "join":
                path += f"V{layer_y - 5:g}H{x:g}V{layer_y:g}"
            else:
                path += f"H{x:g}V{layer_y:g}"
            drawing.line(path)
        drawing.box(x, layer_y, layer)
    drawing.line(f"M{xs[-1]:g} {ys[-1] + _height(unit.layers[-1]):g}V{end:g}")
    if unit.times > 1:
        left = drawing.axis - across - _BOX[0] / 2 - 10
        width = side + 10 - left
        drawing.add("rect", x=left, y=y + 4, width=width, height=end - y - 8, rx=6, kind="repeat", layer=1)
        drawing.text(side + 16, (y + end) / 2 + 5, f"×{unit.times}", "times")
    return end


def _branches(unit: Unit) -> dict[int, int]:
    """Number the branches from left to right: a layer goes on with the branch it reads unless another one did."""
    branches: dict[int, int] = {}
    continued: set[int] = set()
    for i, layer in enumerate(unit.layers):
        if layer.kind == "join":
            continue
        source = layer.inputs[0]
        if source in branches and source not in continued:
            branches[i] = branches[source]
            continued.add(source)
        else:
            branches[i] = max(branches.values(), default=-1) + 1
    return branches


def _depths(unit: Unit) -> list[int]:
    """How many layers down from the unit's input each one stands."""
    depths: list[int] = []
    for layer in unit.layers:
        depths.append(1 + max(depths[source] if source != IMAGES else 0 for source in layer.inputs))
    return depths


def _width(unit: Unit) -> float:
    return max(_branches(unit).values(), default=0) * _ACROSS + _BOX[0] + 2 * _SIDE


def _height(layer: Layer) -> float:
    return 18 if layer.kind == "join" else _BOX[1]


def _join_width(layer: Layer) -> float:
    return 18 if len(layer.label) == 1 else 48


def _shape(shape: Sequence[int]) -> str:
    """64 x 112 x 112 for (64, 112, 112), as the papers' tables have it."""
    return " × ".join(map(str, shape))
