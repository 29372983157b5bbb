"""Which epoch, trial or run is the best. Everything that compares them does it here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Best = Literal["accuracy", "loss", "balanced_accuracy", "last"]
"""What the best epoch, trial or run is chosen by, measured on the validation images.

"last" keeps the last epoch of a run, whatever it measured. Trials and runs are compared by the loss of that epoch.
"""

Metric = Literal["accuracy", "loss", "balanced_accuracy"]


def metric_of(by: Best) -> Metric:
    """Return what `by` measures: "last" is measured by its loss."""
    return "loss" if by == "last" else by


def words_of(by: Best) -> str:
    """Return what `by` measures, in words.

    >>> words_of("balanced_accuracy"), words_of("last")
    ('balanced accuracy', 'loss of the last epoch')
    """
    return "loss of the last epoch" if by == "last" else by.replace("_", " ")


def score_of(value: float, by: Best) -> float:
    """Turn a value of what `by` measures into a score: higher is better, and NaN is worse than any number."""
    if math.isnan(value):
        return -math.inf
    return -value if metric_of(by) == "loss" else value


def best_index(values: Sequence[float], by: Best) -> int | None:
    """Return the index of the best of a run's epochs; of equals the last. None if there are none.

    Args:
        values: what `by` measures, one for each epoch.
        by: a lower loss is better, and so is a higher accuracy; "last" is the last one.

    >>> best_index([0.8, 0.9, 0.9, 0.7], "accuracy"), best_index([0.8, 0.9], "loss"), best_index([], "loss")
    (2, 0, None)
    >>> best_index([0.8, 0.9], "last")
    1
    """
    places = range(len(values))
    if by == "last":
        return max(places, default=None)
    return max(places, key=lambda i: (score_of(values[i], by), i), default=None)


def shown(value: float | None, by: Best) -> str:
    """Return a value of what `by` measures as text: a loss with four digits, a share as a percentage, None as "-".

    >>> shown(0.5, "accuracy"), shown(0.5, "loss"), shown(None, "loss")
    ('50.00%', '0.5000', '-')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if metric_of(by) == "loss" else f"{value:.2%}"
