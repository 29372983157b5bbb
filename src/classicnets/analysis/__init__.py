"""What networks are made of: `inspect` for one of them, `compare` for several side by side."""

from classicnets.analysis.compare import Comparison, Network, compare
from classicnets.analysis.summary import Row, Summary, inspect

__all__ = ["Comparison", "Network", "Row", "Summary", "compare", "inspect"]
