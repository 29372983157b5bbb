"""What a network is made of: `inspect`, and `inspect_unit` for one unit of it."""

from classicnets.analysis.summary import Row, Summary, inspect
from classicnets.analysis.unit import UnitFields, inspect_unit
from classicnets.analysis.unit_drawing import draw_unit

__all__ = ["Row", "Summary", "UnitFields", "draw_unit", "inspect", "inspect_unit"]
