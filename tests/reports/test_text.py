"""Numbers as text."""

from __future__ import annotations

import pytest

from classicnets.reports.text import measured, percent


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.9314, 1, "93.1 %"), (0.9314, 2, "93.14 %"), (1.0, 1, "100 %"), (0.0, 2, "0 %"),
        (0.99999, 1, "over 99.9 %"), (0.99999, 2, "over 99.99 %"), (1e-9, 1, "under 0.1 %"), (0.9994, 1, "99.9 %"),
        (0.5, 0, "50 %"), (0.999, 0, "over 99 %"),
    ],
)  # fmt: skip
def test_a_percentage_is_never_rounded_to_all_or_nothing(share: float, digits: int, text: str) -> None:
    assert percent(share, digits) == text


def test_what_best_measures() -> None:
    assert measured(1.23456, "loss") == "1.2346"
    assert measured(0.5, "accuracy") == measured(0.5, "balanced_accuracy") == "50.0 %"
