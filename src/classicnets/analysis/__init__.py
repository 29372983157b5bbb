"""What a network is made of: `inspect`, for every model of the catalog and every network built from it."""

from classicnets.analysis.summary import Row, Summary, inspect

__all__ = ["Row", "Summary", "inspect"]
