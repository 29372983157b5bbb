"""Paired classifiers: published examples, values by hand, and how often the interval holds the true difference."""

from __future__ import annotations

import itertools
import math

import pytest

from classicnets.evaluation.paired import Counts, count, difference_interval, holm, mcnemar_exact


@pytest.mark.parametrize(
    ("table", "p_value"),
    [  # the examples of statsmodels' test of `mcnemar`, whose values are Vassar College's
        ((101, 121, 59, 33), 0.000004),
        ((101, 70, 59, 33), 0.378688),
        ((101, 80, 59, 33), 0.089452),
        ((101, 30, 60, 33), 0.00206),
        ((101, 10, 30, 33), 0.002221),
        ((101, 10, 10, 33), 1.0),
    ],
)
def test_mcnemar_exact_gives_published_values(table: tuple[int, int, int, int], p_value: float) -> None:
    assert mcnemar_exact(Counts(*table)) == pytest.approx(p_value, abs=1e-6)


def test_mcnemar_exact_by_hand() -> None:
    assert mcnemar_exact(Counts(5, 0, 0, 2)) == 1.0
    assert mcnemar_exact(Counts(0, 0, 6, 0)) == 2 / 64
    assert mcnemar_exact(Counts(9, 1, 5, 9)) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar_exact(Counts(0, 3, 3, 0)) == 1.0
    by_sum = 2 * sum(math.comb(1030, k) for k in range(501)) / 2**1030
    assert mcnemar_exact(Counts(0, 530, 500, 0)) == pytest.approx(by_sum)
    assert mcnemar_exact(Counts(0, 50_000, 0, 0)) == 0.0


def test_the_interval_is_that_of_a_published_example() -> None:
    # Fagerland, Lydersen and Laake 2014 (Statistics in Medicine 33:2850): airways of 21 children.
    interval = difference_interval(Counts(both=1, only_first=7, only_second=1, neither=12))
    assert interval == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_the_interval_in_closed_form_if_nobody_disagrees() -> None:
    # With no disagreement, the score test accepts d as long as n d^2 <= z^2 d (1 - d).
    z2 = 1.959963984540054**2
    low, high = difference_interval(Counts(170, 0, 0, 9))
    assert (low, high) == pytest.approx((-z2 / (179 + z2), z2 / (179 + z2)))


def test_the_interval_turns_with_the_order_and_ends_within_1() -> None:
    one, other = difference_interval(Counts(50, 4, 9, 3)), difference_interval(Counts(50, 9, 4, 3))
    assert one == pytest.approx((-other.high, -other.low))
    assert difference_interval(Counts(0, 0, 5, 0)).high == pytest.approx(1.0)
    assert difference_interval(Counts(0, 5, 0, 0)).low == pytest.approx(-1.0)


def test_the_interval_holds_the_true_difference_95_percent_of_the_time() -> None:
    n = 40
    intervals = {
        (b, c): difference_interval(Counts(n - b - c, c, b, 0)) for b, c in itertools.product(range(n + 1), repeat=2)
        if b + c <= n
    }  # fmt: skip
    coverages = []
    for second, first in ((0.05, 0.05), (0.1, 0.02), (0.2, 0.05), (0.3, 0.3), (0.15, 0.1), (0.02, 0.25)):
        held = 0.0
        for (b, c), (low, high) in intervals.items():
            if low <= second - first <= high:
                ways = math.comb(n, b) * math.comb(n - b, c)
                held += ways * second**b * first**c * (1 - second - first) ** (n - b - c)
        coverages.append(held)
    assert min(coverages) > 0.93
    assert sum(coverages) / len(coverages) == pytest.approx(0.955, abs=0.01)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_counts() -> None:
    counts = count([True, True, False, False, True], [True, False, True, False, False])
    assert counts == (1, 2, 1, 1)
    assert (counts.images, counts.accuracy_first, counts.accuracy_second) == (5, 0.6, 0.4)
    assert counts.difference == pytest.approx(-0.2)
    with pytest.raises(ValueError, match="shorter"):
        count([True, False], [True])
