"""Two runs on the same images: the numbers, a sentence, and the images that only one of them gets right."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from classicnets.analysis.table import WIDTH, aligned
from classicnets.data.words import counted
from classicnets.evaluation.metrics import Interval
from classicnets.evaluation.paired import Counts

_SIGNIFICANT = 0.05
_MOST_SHOWN = 10


class Disagreement(NamedTuple):
    """An image that only one of two runs gets right: its name, its class, and what each run took it for."""

    id: str
    label: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class PairedRuns:
    """Two runs on the same images.

    Attributes:
        first, second: the names of the runs.
        counts: how many of the common images both runs get right, only the first, only the second, and neither.
        interval: the 95 % interval of `counts.difference`: Tango's score interval for paired proportions.
        p_value: of McNemar's exact test, two-sided.
        tests: how many pairs are compared in all.
        corrected: `p_value` after Holm's correction for `tests`; the same if there is only one.
        only_first, only_second: the images that only the first run gets right, and those that only the second does.
        left_out: how many images of the first and of the second run the other one did not answer.
        relabelled: how many images have another class in each run; they are left out too.
    """

    first: str
    second: str
    counts: Counts
    interval: Interval
    p_value: float
    tests: int
    corrected: float
    only_first: tuple[Disagreement, ...]
    only_second: tuple[Disagreement, ...]
    left_out: tuple[int, int]
    relabelled: int

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.corrected < _SIGNIFICANT

    @property
    def sentence(self) -> str:
        """The result in a sentence."""
        images = counted(self.counts.images, "image")
        if not (self.only_first or self.only_second):
            return f"No difference: both are right on the same images, of {images}."
        if not self.is_significant:
            return f"No significant difference on {images}."
        low, high = self.interval
        better, worse = self.second, self.first
        if self.counts.difference < 0:
            better, worse = worse, better
            low, high = -high, -low
        points = f"{100 * abs(self.counts.difference):.2f} points (95% interval {100 * low:.2f} to {100 * high:.2f})"
        return f"{better} is better than {worse} by {points} on {images}."

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready. Accuracies, their difference (second minus first) and interval are shares."""
        counts = self.counts
        return {
            "first": self.first,
            "second": self.second,
            "images": counts.images,
            "accuracy_first": counts.accuracy_first,
            "accuracy_second": counts.accuracy_second,
            "difference": counts.difference,
            "interval": list(self.interval),
            "interval_method": "Tango's score interval for paired proportions, 95 %",
            "p_value": self.p_value,
            "p_value_method": "McNemar's exact test, two-sided",
            "p_value_corrected": self.corrected,
            "tests": self.tests,
            "significant": self.is_significant,
            "sentence": self.sentence,
            "counts": counts._asdict(),
            "left_out": list(self.left_out),
            "relabelled": self.relabelled,
            "right_only_in_first": [image._asdict() for image in self.only_first],
            "right_only_in_second": [image._asdict() for image in self.only_second],
        }

    def to_text(self) -> str:
        """Return the numbers for a terminal of 80 columns, with the first images that only one run gets right."""
        counts, (low, high) = self.counts, self.interval
        p_value = f"p {_p_value(self.p_value)}"
        if self.tests > 1:
            p_value += f", with Holm's correction for {self.tests} tests p {_p_value(self.corrected)}"
        lines = [
            f"{self.second} against {self.first}",
            f"  difference   {100 * counts.difference:+.2f} points, 95% interval {100 * low:+.2f} to {100 * high:+.2f}",
            f"  McNemar      {p_value}",
            f"  right        {counts.both:,} both, {counts.neither:,} neither",
            f"               {counts.only_first:,} only {self.first}",
            f"               {counts.only_second:,} only {self.second}",
        ]
        for name, number in zip((self.first, self.second), self.left_out, strict=True):
            if number:
                lines.append(f"  left out     {number:,} images of {name} that are not in both")
        if self.relabelled:
            lines.append(f"  left out     {self.relabelled:,} images that have another class in each run")
        lines += ["", textwrap.fill(self.sentence, WIDTH, break_long_words=False, break_on_hyphens=False)]
        only_first = [(image.id, image.label, image.second) for image in self.only_first]
        only_second = [(image.id, image.label, image.first) for image in self.only_second]
        lines += _images(self.first, self.second, only_first) + _images(self.second, self.first, only_second)
        return "\n".join(lines)


def _images(name: str, other: str, images: Sequence[tuple[str, str, str]]) -> list[str]:
    """The first images that only the run `name` gets right: their names, their classes, and what the other says."""
    if not images:
        return []
    lines = ["", *aligned([f"only {name}", "class", f"{other} says"], images[:_MOST_SHOWN], words=3)]
    if len(images) > _MOST_SHOWN:
        lines.append(f"({len(images) - _MOST_SHOWN:,} more; --json has all)")
    return lines


def _p_value(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"
