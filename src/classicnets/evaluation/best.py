"""Which epoch, trial or run is the best. Everything that compares them does it here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Best = Literal["accuracy", "loss", "balanced_accuracy"]
"""What the best epoch, trial or run is chosen by, measured on the validation images."""


def score_of(value: float, by: Best) -> float:
    """Turn a value of what `by` names into a score: higher is better, and NaN is worse than any number."""
    if math.isnan(value):
        return -math.inf
    return -value if by == "loss" else value


def best_index(values: Sequence[float], by: Best) -> int | None:
    """Return the index of the best of `values`; of equals the last. None if there are no values.

    Args:
        values: one for each epoch, trial or run.
        by: what they measure; a lower loss is better, and so is a higher accuracy.

    >>> best_index([0.8, 0.9, 0.9, 0.7], "accuracy"), best_index([0.8, 0.9], "loss"), best_index([], "loss")
    (2, 0, None)
    """
    places = range(len(values))
    return max(places, key=lambda i: (score_of(values[i], by), i), default=None)


def shown(value: float | None, by: Best) -> str:
    """Return a value of what `by` names as text: a loss with four digits, a share as a percentage, None as "-".

    >>> shown(0.5, "accuracy"), shown(0.5, "loss"), shown(None, "loss")
    ('50.00%', '0.5000', '-')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if by == "loss" else f"{value:.2%}"
