"""Numbers that JSON has: what is not finite becomes null."""

from __future__ import annotations

from typing import Any


def finite(value: Any) -> Any:
    """Return a JSON-ready value in which every number that is not finite is None, at any depth.

    >>> finite({"loss": float("nan"), "seeds": (1, float("inf"))})
    {'loss': None, 'seeds': [1, None]}
    """
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
