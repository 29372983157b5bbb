"""Models in a small form: at most two blocks or convolutions in a stage, and few channels.

Rows of the catalog that differ in size alone have one small form between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from classicnets.models.catalog import CATALOG


def narrow(widths: Any) -> Any:
    return tuple(map(narrow, widths)) if isinstance(widths, tuple) else max(widths // 8, 4)


def rising(widths: Any) -> Any:
    return tuple(rising(width) if isinstance(width, tuple) else 4 + 4 * i for i, width in enumerate(widths))


Smaller = dict[str, Callable[[Any], Any]]
SMALL: Smaller = {
    "depths": lambda depths: tuple(min(depth, 2) for depth in depths),
    "widths": narrow,
    "width": lambda width: width / 4,
    "hidden": lambda widths: tuple(min(width, 32) for width in widths),
    "growth_rate": lambda rate: 4,
    "stem_channels": lambda channels: 8,
}
BARE: Smaller = {  # a block a stage, with channels that grow: what still takes the same way through the code
    "depths": lambda depths: tuple(min(depth, 1) for depth in depths),
    "widths": rising,
    "width": lambda width: 0.01,  # all blocks have the same width, so that one can follow any other
    "hidden": lambda widths: (8,) * len(widths),
    "growth_rate": lambda rate: 4,
    "stem_channels": lambda channels: 8,
}


def switches(name: str, smaller: Smaller = SMALL) -> dict[str, Any]:
    """The switches that make a model small enough to run in a test."""
    config = CATALOG[name].config
    return {field: f(getattr(config, field)) for field, f in smaller.items() if hasattr(config, field)}


def distinct(smaller: Smaller) -> list[str]:
    """The first name of each small form."""
    first = {replace(CATALOG[name].config, **switches(name, smaller)): name for name in reversed(CATALOG)}
    return [name for name in CATALOG if name in first.values()]
