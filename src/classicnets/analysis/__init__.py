<<<<<<< HEAD
"""What a network is made of: `inspect`, and `inspect_unit` for one unit of it."""
=======
"""What networks are made of: `inspect` for one of them, `compare` for several side by side."""
>>>>>>> h-compare

from classicnets.analysis.compare import Comparison, Network, compare
from classicnets.analysis.summary import Row, Summary, inspect
from classicnets.analysis.unit import UnitFields, inspect_unit
from classicnets.analysis.unit_drawing import draw_unit

<<<<<<< HEAD
__all__ = ["Row", "Summary", "UnitFields", "draw_unit", "inspect", "inspect_unit"]
=======
__all__ = ["Comparison", "Network", "Row", "Summary", "compare", "inspect"]
>>>>>>> h-compare
