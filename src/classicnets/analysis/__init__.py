"""What a network is made of: `inspect`, for a model of the catalog or a network of yours."""

from classicnets.analysis.summary import Row, Summary, inspect

__all__ = ["Row", "Summary", "inspect"]
