"""How good a classifier is, in numbers: scorer, images -> evaluate -> Report."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from classicnets.evaluation.report import Report, evaluate

__all__ = ["Report", "evaluate"]


def __getattr__(name: str) -> Any:
    """Find `write_report`, which moved to `classicnets.reports`, for scripts written for 0.1.0.

    It is looked up only when a script asks for it: this package itself needs nothing of the reports.
    """
    if name == "write_report":
        return import_module("classicnets.reports").write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
