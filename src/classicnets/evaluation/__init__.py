"""How good a classifier is, in numbers: scorer, images -> evaluate -> Report."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from classicnets.evaluation.report import Report, evaluate

__all__ = ["Report", "evaluate"]


def __getattr__(name: str) -> Any:
    """`write_report` moved to `classicnets.reports`; scripts written for 0.1.0 find it here too."""
    if name == "write_report":
        return import_module("classicnets.reports").write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
