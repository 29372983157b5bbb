"""The verdict follows from the numbers alone: the interval against an independent one, and each side of a threshold."""

import math

import pytest
from scipy import stats

from classicnets.evaluation.metrics import Interval
from classicnets.studies.claim import Hypothesis, written
from classicnets.studies.numbers import difference, epochs_to, ratio
from classicnets.studies.verdict import Finding, Verdict, decide, interval, together

SHOWN, NOT_SHOWN, CONTRADICTED = Verdict


@pytest.mark.parametrize("values", [(0.1, 0.3), (0.1, 0.2, 0.6), (-3.0, 1.0, 2.0, 8.0)])
def test_the_interval_is_students(values):
    expected = stats.t.interval(0.95, len(values) - 1, sum(values) / len(values), stats.sem(values))
    assert interval(values) == pytest.approx(expected)


def test_a_counted_number_and_equal_numbers_are_their_own_interval():
    assert interval([2.5]) == (2.5, 2.5)
    assert interval([0.1, 0.1, 0.1]) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(
    ("low", "high", "relation", "expected"),
    [
        (0.1, 0.2, ">", SHOWN),
        (-0.1, 0.2, ">", NOT_SHOWN),
        (0.0, 0.2, ">", NOT_SHOWN),  # the threshold itself is no difference
        (0.0, 0.0, ">", NOT_SHOWN),
        (-0.2, -0.1, ">", CONTRADICTED),
        (-0.2, -0.1, "<", SHOWN),
        (0.1, 0.2, "<", CONTRADICTED),
        (-math.inf, math.inf, "<", NOT_SHOWN),
    ],
)
def test_the_whole_interval_must_lie_on_one_side(low, high, relation, expected):
    assert decide(Interval(low, high), relation, 0.0) is expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((SHOWN, SHOWN), SHOWN),
        ((SHOWN, NOT_SHOWN), NOT_SHOWN),
        ((SHOWN, CONTRADICTED, NOT_SHOWN), CONTRADICTED),
    ],
)
def test_a_claim_needs_all_of_its_hypotheses(verdicts, expected):
    assert together(verdicts) is expected


def cells(*pairs):
    return [{"a": {"accuracy": a}, "b": {"accuracy": b}} for a, b in pairs]


def test_seeds_are_paired():
    """Both arms vary more than they differ: only the pairs show it."""
    hypothesis = Hypothesis(what="a minus b", value=difference("accuracy", "a", "b"), unit="points")
    found = Finding.of(hypothesis, cells((0.51, 0.5), (0.72, 0.7), (0.915, 0.9)))
    assert found.values == pytest.approx((0.01, 0.02, 0.015))
    assert found.verdict is SHOWN
    assert found.numbers == "+1.50 points (95% interval +0.26 to +2.74)"
    assert str(hypothesis) == "a minus b > 0 points"
    assert found.to_dict()["interval"] == pytest.approx(stats.t.interval(0.95, 2, 0.015, stats.sem(found.values)))


def test_a_number_that_was_counted_has_no_interval_in_words():
    weights = Hypothesis(what="weights", value=ratio("n", "a", "b"), threshold=1.0, unit="times")
    found = Finding.of(weights, [{"a": {"n": 49}, "b": {"n": 27}}] * 3)
    assert (found.numbers, found.verdict) == ("1.81 times", SHOWN)


def test_a_training_that_diverged_leaves_the_claim_open():
    measured = [*cells((0.6, 0.5), (0.6, 0.5)), {"a": {"diverged": "at step 3"}, "b": {"accuracy": 0.5}}]
    found = Finding.of(Hypothesis(what="a minus b", value=difference("accuracy", "a", "b")), measured)
    assert found.verdict is NOT_SHOWN
    assert found.numbers == "a training diverged"
    assert found.to_dict()["values"][2] is None
    assert found.to_dict()["interval"] == [None, None]


def test_numbers_of_cells():
    two = {"a": {"n": 6, "epochs": []}, "b": {"n": 2}}
    assert (difference("n", "a", "b")(two), ratio("n", "a", "b")(two)) == (4, 3)
    rows = [
        {"epoch": 1, "train_accuracy": 0.5},
        {"epoch": 2, "train_accuracy": 0.4},
        {"epoch": 3, "train_accuracy": 0.8},
    ]
    assert epochs_to({"epochs": rows}, 0.25) == 0.5
    assert epochs_to({"epochs": rows}, 0.6) == 2.5
    assert epochs_to({"epochs": rows}, 0.9) == 3  # never: at least all of them


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(-0.0123, "points", "-1.23 points"), (2.5, "times", "2.5 times"), (0.0, "", "+0"), (1e-15, "", "+1e-15")],
)
def test_numbers_in_words(value, unit, text):
    assert written(value, unit, signed=True) == text
