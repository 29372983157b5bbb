"""Two classifiers on the same images: how far their accuracies differ, and whether that is more than chance.

Pure functions of counts. Only images that one classifier gets right and the other one wrong tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from classicnets.evaluation.metrics import Interval

_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_HALVINGS = 60


class Counts(NamedTuple):
    """How many images both classifiers get right, only the first, only the second, and neither."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def images(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def accuracy_first(self) -> float:
        """The share that the first gets right, in 0..1."""
        return (self.both + self.only_first) / self.images

    @property
    def accuracy_second(self) -> float:
        """The share that the second gets right, in 0..1."""
        return (self.both + self.only_second) / self.images

    @property
    def difference(self) -> float:
        """The accuracy of the second minus that of the first, in -1..1."""
        return (self.only_second - self.only_first) / self.images


def count(first: Sequence[bool], second: Sequence[bool]) -> Counts:
    """Count who is right.

    Args:
        first: whether the first classifier is right, for each image; 1 or more.
        second: the same for the second classifier, in the same order.

    Raises ValueError if their lengths differ.

    >>> count([True, True, False], [True, False, False])
    Counts(both=1, only_first=1, only_second=0, neither=1)
    """
    pairs = list(zip(first, second, strict=True))
    return Counts(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def mcnemar_exact(counts: Counts) -> float:
    """Return the p-value of McNemar's exact test, two-sided, in 0..1: the chance of a difference at least this large
    if both classifiers are equally good.

    Each image that only one of them gets right is then a toss of a fair coin (McNemar 1947, Psychometrika 12:153).

    >>> mcnemar_exact(Counts(both=0, only_first=1, only_second=7, neither=0))
    0.0703125
    """
    from scipy.special import bdtr

    smaller, tosses = min(counts.only_first, counts.only_second), counts.only_first + counts.only_second
    return min(1.0, 2 * float(bdtr(smaller, tosses, 0.5)))


def difference_interval(counts: Counts) -> Interval:
    """Return the 95 % interval of `counts.difference`: the score interval for paired proportions.

    It holds the differences that a score test does not reject (Tango 1998, Statistics in Medicine 17:891). Near the
    border it may leave out 0 where McNemar's exact test, which is stricter, finds no significant difference.

    >>> low, high = difference_interval(Counts(both=1, only_first=7, only_second=1, neither=12))
    >>> f"{low:.3f} to {high:.3f}"
    '-0.517 to -0.026'
    """
    observed = counts.difference
    return Interval(_last_accepted(counts, observed, -1.0), _last_accepted(counts, observed, 1.0))


def _last_accepted(counts: Counts, accepted: float, beyond: float) -> float:
    """The last difference on the way from one that the test accepts to `beyond`, by bisection."""
    for _ in range(_HALVINGS):
        middle = (accepted + beyond) / 2
        if _accepts(counts, middle):
            accepted = middle
        else:
            beyond = middle
    return accepted


def _accepts(counts: Counts, difference: float) -> bool:
    """Whether Tango's score test at 5 % accepts that the true difference is this one."""
    n, b, c = counts.images, counts.only_second, counts.only_first
    # The likeliest share of images that only the first gets right, given the difference: a root of A q^2 + B q + C.
    half_b = ((2 * n - b + c) * difference - b - c) / 2
    share = (math.sqrt(max(0.0, half_b**2 + 2 * n * c * difference * (1 - difference))) - half_b) / (2 * n)
    variance = n * (2 * share + difference * (1 - difference))
    return (b - c - n * difference) ** 2 <= _Z**2 * max(0.0, variance)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order (Holm 1979, Scand. J. Statistics 6:65).

    The chance that any of them falls below 0.05 by chance alone is then at most 5 %.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
