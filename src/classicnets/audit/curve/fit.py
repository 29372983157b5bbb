"""A power law through error rates, and how far what it says of more images can be trusted.

    error(n) = c + a n^-b,  a and c at least 0

Resampled error rates give a curve each. Their spread is the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from classicnets.evaluation.metrics import Interval

_EXPONENTS = np.linspace(0.05, 2.0, 79)
"""Of measured learning curves, most lie between 0.1 and 1 (Hestness et al. 2017, arXiv:1712.00409)."""


@dataclass(frozen=True, eq=False)
class PowerLaws:
    """Curves through resampled error rates: `floor`, `scale` and `exponent` are float64 (B,), one for each resample."""

    floor: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray

    def errors(self, number: float) -> np.ndarray:
        """The error rate with `number` training images on each of the curves, 0..1: float64 (B,)."""
        return np.clip(self.floor + self.scale * number**-self.exponent, 0, 1)

    def accuracy(self, number: float) -> tuple[float, Interval]:
        """The accuracy with `number` training images: the mean and the 95 % interval."""
        return _summary(1 - self.errors(number))

    def gain(self, start: float, end: float) -> tuple[float, Interval]:
        """What growing from `start` to `end` images adds to the accuracy: the mean and the 95 % interval."""
        return _summary(self.errors(start) - self.errors(end))


def fit(sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> PowerLaws:
    """Fit a power law to each row of error rates, by weighted least squares.

    Half of the rows, every second one, are fitted without a floor: whether the error goes on falling or levels off
    cannot be seen from few points, so the spread of the curves covers both.

    Args:
        sizes: how many images were learned from, float64 (S,), above 0, rising; 2 or more.
        errors: float64 (B, S), 0..1.
        weights: of each size, float64 (S,), above 0.

    >>> laws = fit(np.array([10.0, 20, 40, 80]), np.array([[0.4, 0.3, 0.25, 0.225]] * 2), np.ones(4))
    >>> f"{laws.floor[0]:.2f} {laws.exponent[0]:.2f}"
    '0.20 1.00'
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    may_level = np.arange(len(errors)) % 2 == 0
    w = weights / weights.sum()
    mean = errors @ w
    for exponent in _EXPONENTS:
        x = sizes**-exponent
        centre = x @ w
        spread = ((x - centre) ** 2) @ w
        scale = np.maximum(0, ((errors - mean[:, None]) * (x - centre)) @ w / spread)
        floor = mean - scale * centre
        levels = may_level & (floor > 0)
        scale = np.where(levels, scale, np.maximum(0, (errors * x) @ w / ((x * x) @ w)))
        floor = np.where(levels, floor, 0.0)
        loss = ((errors - floor[:, None] - scale[:, None] * x) ** 2) @ w
        better = loss < best
        best[better] = loss[better]
        found[:, better] = np.stack((floor, scale, np.full_like(floor, exponent)))[:, better]
    return PowerLaws(*found)


def _summary(values: np.ndarray) -> tuple[float, Interval]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(values.mean()), Interval(float(low), float(high))
