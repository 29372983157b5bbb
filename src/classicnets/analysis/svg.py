"""An SVG document, for light and dark pages and for print."""

from __future__ import annotations

from xml.etree import ElementTree

_STYLE = """
svg { background: #fff; font: 11px system-ui, sans-serif; }
text { fill: #1c2024; }
.fact, .note, .after, .times { fill: #5a646c; }
.band { fill: #f4f6f8; }
.line, .repeat, .join { stroke: #8a949c; stroke-width: 1.2; }
.line { fill: none; }
@media (prefers-color-scheme: dark) {
svg { background: #16191d; }
text { fill: #e6e9ec; }
.fact, .note, .after, .times { fill: #98a2ab; }
.band { fill: #1e2328; }
.line, .repeat, .join { stroke: #6d7780; }
}
"""


class Svg:
    """Shapes and words, painted layer by layer; lengths are in pixels. A shape's `kind` is its class in the style."""

    def __init__(self, style: str) -> None:
        self._style = _STYLE + style
        self._layers: dict[int, list[ElementTree.Element]] = {}

    def add(self, tag: str, *, kind: str, layer: int, **values: float | str) -> ElementTree.Element:
        """Add a shape. Shapes of a higher `layer` cover those of a lower one."""
        texts = {name: value if isinstance(value, str) else f"{value:g}" for name, value in values.items()}
        element = ElementTree.Element(tag, {"class": kind, **texts} if kind else texts)
        self._layers.setdefault(layer, []).append(element)
        return element

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Add words above all shapes."""
        self.add("text", x=x, y=y, kind=kind, layer=9).text = words

    def document(self, width: float, height: float, title: str) -> str:
        """Return the document. `title` is read out by screen readers."""
        size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
        svg = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
        ElementTree.SubElement(svg, "title").text = title
        ElementTree.SubElement(svg, "style").text = self._style
        for _, elements in sorted(self._layers.items()):
            svg.extend(elements)
        return ElementTree.tostring(svg, encoding="unicode")
