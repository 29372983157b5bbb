"""One place decides which is the best."""

import math

import pytest

from classicnets.evaluation.best import best_index


@pytest.mark.parametrize(
    ("values", "by", "expected"),
    [
        ([0.1, 0.5, 0.3], "accuracy", 1),
        ([0.1, 0.5, 0.3], "loss", 0),
        ([0.5, 0.5, 0.3], "balanced_accuracy", 1),
        ([0.2, 0.2], "loss", 1),
        ([math.nan, 0.0], "accuracy", 1),
        ([math.nan, 9.0], "loss", 1),
        ([], "accuracy", None),
        ([0.9, 0.1, 0.5], "last", 2),
        ([0.9, math.nan], "last", 1),
        ([], "last", None),
    ],
)
def test_the_best_is_the_last_of_the_best(values, by, expected):
    assert best_index(values, by) == expected
