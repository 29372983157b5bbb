"""Numbers as text, written the same way in every figure and on every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from classicnets.evaluation.best import Metric


def percent(share: float, digits: int = 1) -> str:
    """Write a share, 0..1, as a percentage that never rounds up to 100 % or down to 0 %.

    >>> percent(0.9314), percent(0.9314, digits=2), percent(0.99999), percent(1.0)
    ('93.1 %', '93.14 %', 'over 99.9 %', '100 %')
    """
    smallest = 10**-digits
    text, whole, none = (f"{value:.{digits}f}" for value in (share * 100, 100, 0))
    if text == whole:
        return "100 %" if share == 1 else f"over {100 - smallest:.{digits}f} %"
    if text == none:
        return "0 %" if share == 0 else f"under {smallest:.{digits}f} %"
    return f"{text} %"


def measured(value: float, by: Metric) -> str:
    """Write what `by` measures: a loss with four digits behind the point, an accuracy as a percentage.

    >>> measured(0.5, "loss"), measured(0.5, "balanced_accuracy")
    ('0.5000', '50.0 %')
    """
    return f"{value:.4f}" if by == "loss" else percent(value)
