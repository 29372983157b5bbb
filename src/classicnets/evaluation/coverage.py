"""How often sets hold the true class, and how large they are: measured on labelled images."""

from __future__ import annotations

from typing import NamedTuple

from classicnets.conformal import Conformal, SetMethod
from classicnets.errors import ConfigError
from classicnets.evaluation.metrics import Interval, bootstrap_interval
from classicnets.images import as_array
from classicnets.scorer import Values

COVERAGES = (0.90, 0.95)
"""The coverages that a report shows."""


class MeasuredSets(NamedTuple):
    """Sets of one coverage and method, measured on images.

    Attributes:
        method: "lac" or "raps".
        coverage: the coverage that was asked for, in 0..1.
        measured: the share of the images whose set holds the true class, in 0..1.
        interval: its 95 % interval.
        mean_size: the mean number of classes in a set, 1 or more.
        size_interval: its 95 % interval (normal approximation).
        own_classes: how many classes have a threshold of their own.
    """

    method: SetMethod
    coverage: float
    measured: float
    interval: Interval
    mean_size: float
    size_interval: Interval
    own_classes: int


def measure_sets(
    conformal: Conformal, probabilities: Values, labels: Values, coverage: float, method: SetMethod = "lac"
) -> MeasuredSets:
    """Measure the sets that a classifier gives.

    Args:
        conformal: what the classifier keeps of its validation images.
        probabilities: its scores for other images, float (N, K), N 1 or more.
        labels: their true classes, int64 (N,).
        coverage: above 0 and below 1.
        method: "lac" or "raps".

    Raises ConfigError if the validation images cannot promise the coverage.

    >>> measure_sets(card.conformal, card.probabilities(logits), labels, 0.95).measured  # doctest: +SKIP
    0.957
    """
    inside = conformal.sets(as_array(probabilities), coverage, method)
    n = len(labels)
    sizes = inside.sum(axis=1)
    held = int(inside[range(n), as_array(labels)].sum())
    mean, margin = float(sizes.mean()), 1.96 * float(sizes.std()) / n**0.5
    return MeasuredSets(
        method=method,
        coverage=coverage,
        measured=held / n,
        interval=bootstrap_interval(held, n),
        mean_size=mean,
        size_interval=Interval(max(1.0, mean - margin), mean + margin),
        own_classes=len(conformal.own_classes(coverage, method)),
    )


def measure_all(conformal: Conformal, probabilities: Values, labels: Values) -> tuple[tuple[MeasuredSets, ...], str]:
    """Return the sets of both methods at every coverage of `COVERAGES` that can be promised, and why one cannot."""
    rows, reason = [], ""
    for method in ("lac", "raps"):
        for coverage in COVERAGES:
            try:
                rows.append(measure_sets(conformal, probabilities, labels, coverage, method))
            except ConfigError as error:
                reason = str(error)
    return tuple(rows), reason
