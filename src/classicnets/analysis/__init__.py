"""What a network is made of: `inspect`; `inspect_unit` for one unit of it, and `compare` for several networks."""

from classicnets.analysis.compare import Comparison, Network, compare
from classicnets.analysis.summary import Row, Summary, inspect
from classicnets.analysis.unit import UnitFields, inspect_unit
from classicnets.analysis.unit_drawing import draw_unit

__all__ = [
    "Comparison",
    "Network",
    "Row",
    "Summary",
    "UnitFields",
    "compare",
    "draw_unit",
    "inspect",
    "inspect_unit",
]
