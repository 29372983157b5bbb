"""What each family keeps in higher precision from the start, with the reason. `benchmarks/int8.py` measures it."""

from __future__ import annotations

from collections.abc import Sequence

RULES: dict[str, tuple[str, ...]] = {}


def kept_by_rule(family: str, layers: Sequence[str]) -> list[str]:
    """Return which of a network's layers its family keeps in higher precision."""
    return []
