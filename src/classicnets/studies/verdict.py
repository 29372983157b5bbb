"""From the numbers of the seeds to a verdict. No other place decides one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from classicnets.evaluation.metrics import Interval
from classicnets.studies.claim import Cells, Hypothesis, written
from classicnets.system.finite import finite

_CONFIDENCE = 0.95


class Verdict(StrEnum):
    """What the numbers say of a claim."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    CONTRADICTED = "contradicted"


def interval(values: Sequence[float]) -> Interval:
    """Return the 95 % interval of the mean of `values`, one or more, by Student's t.

    A single value is exact: counted, not measured. It is its own interval. A value that is not finite (a training
    diverged) leaves the mean open: the interval is everything.

    >>> low, high = interval([0.01, 0.02, 0.03])
    >>> f"{low:.4f} to {high:.4f}"
    '-0.0048 to 0.0448'
    """
    from scipy.special import stdtrit

    if not all(map(math.isfinite, values)):
        return Interval(-math.inf, math.inf)
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1 or len(set(values)) == 1:
        return Interval(mean, mean)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    margin = float(stdtrit(n - 1, (1 + _CONFIDENCE) / 2)) * deviation / math.sqrt(n)
    return Interval(mean - margin, mean + margin)


def decide(found: Interval, relation: str, threshold: float) -> Verdict:
    """Return the verdict on "value > threshold" (or "<"): the whole interval must lie on one side.

    >>> decide(Interval(0.1, 0.3), ">", 0).value, decide(Interval(-0.1, 0.3), ">", 0).value
    ('shown', 'not shown')
    """
    above, below = found.low > threshold, found.high < threshold
    if relation == "<":
        above, below = below, above
    return Verdict.SHOWN if above else Verdict.CONTRADICTED if below else Verdict.NOT_SHOWN


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on a claim from those on its hypotheses: all must be shown, and none contradicted."""
    if Verdict.CONTRADICTED in verdicts:
        return Verdict.CONTRADICTED
    return Verdict.SHOWN if all(one is Verdict.SHOWN for one in verdicts) else Verdict.NOT_SHOWN


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the numbers say of one hypothesis.

    Attributes:
        hypothesis: what was compared.
        values: the number of each seed, in order; one if it was counted. NaN if a training of the seed diverged.
        interval: the 95 % interval of their mean.
        verdict: what follows.
    """

    hypothesis: Hypothesis
    values: tuple[float, ...]
    interval: Interval
    verdict: Verdict

    @classmethod
    def of(cls, hypothesis: Hypothesis, measured: Sequence[Cells]) -> Finding:
        """Compare: `measured` holds the cells of each seed."""
        values = tuple(_value(hypothesis, cells) for cells in measured)
        found = interval(values)
        return cls(
            hypothesis=hypothesis,
            values=values,
            interval=found,
            verdict=decide(found, hypothesis.relation, hypothesis.threshold),
        )

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return math.fsum(self.values) / len(self.values)

    @property
    def numbers(self) -> str:
        """The mean in words, and its interval unless the number is exact."""
        unit = self.hypothesis.unit
        if not math.isfinite(self.mean):
            return "a training diverged"
        mean, low, high = (written(value, unit, signed=True) for value in (self.mean, *self.interval))
        if low == high:
            return mean
        return f"{mean} (95% interval {low.removesuffix(unit).strip()} to {high.removesuffix(unit).strip()})"

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready. A number that is not finite is None."""
        return {
            "hypothesis": str(self.hypothesis),
            "what": self.hypothesis.what,
            "relation": self.hypothesis.relation,
            "threshold": self.hypothesis.threshold,
            "values": finite(self.values),
            "mean": finite(self.mean),
            "interval": finite(self.interval),
            "found": self.numbers,
            "verdict": self.verdict.value,
        }


def _value(hypothesis: Hypothesis, cells: Cells) -> float:
    if any("diverged" in cell for cell in cells.values()):
        return math.nan
    return float(hypothesis.value(cells))
