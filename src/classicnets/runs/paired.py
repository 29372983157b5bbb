"""Runs compared on the images that they all answered: who is better, by how much, and is that more than chance?"""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from classicnets.analysis.table import aligned
from classicnets.errors import ConfigError
from classicnets.evaluation.metrics import Interval
from classicnets.evaluation.paired import Counts, count, difference_interval, holm, mcnemar_exact
from classicnets.runs.answers import Answers, Common, common_images, read_answers
from classicnets.runs.compare import short_names

_SIGNIFICANT = 0.05
_MOST_SHOWN = 10
_WIDTH = 80


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
        corrected: `p_value` after Holm's correction for the number of pairs; the same if there is only one.
        only_first, only_second: the images that only the first run gets right, and those that only the second does.
        left_out: how many images of the first and of the second run the other one did not answer.
        relabelled: how many images have another class in each run; they are left out too.
    """

    first: str
    second: str
    counts: Counts
    interval: Interval
    p_value: float
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
        images = "1 image" if self.counts.images == 1 else f"{self.counts.images:,} images"
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
            "significant": self.is_significant,
            "sentence": self.sentence,
            "counts": counts._asdict(),
            "left_out": list(self.left_out),
            "relabelled": self.relabelled,
            "right_only_in_first": [image._asdict() for image in self.only_first],
            "right_only_in_second": [image._asdict() for image in self.only_second],
        }

    def to_text(self) -> str:
        """Return the numbers for a terminal, with the first images that only one run gets right."""
        counts, (low, high) = self.counts, self.interval
        p_value = f"p = {_p_value(self.p_value)}"
        if self.corrected != self.p_value:
            p_value += f", with Holm's correction {_p_value(self.corrected)}"
        lines = [
            f"{self.second} against {self.first}",
            f"  difference   {100 * counts.difference:+.2f} points, 95% interval {100 * low:+.2f} to {100 * high:+.2f}",
            f"  McNemar      {p_value}",
            f"  right        both {counts.both:,}, only {self.first} {counts.only_first:,}, only {self.second} "
            f"{counts.only_second:,}, neither {counts.neither:,}",
        ]
        first, second = self.left_out
        if first or second:
            lines.append(
                f"  left out     {first:,} images of {self.first} and {second:,} of {self.second}: not in both"
            )
        if self.relabelled:
            lines.append(f"  left out     {self.relabelled:,} images that have another class in each run")
        lines += ["", self.sentence]
        for name, other, images in (
            (self.first, self.second, [(image.id, image.label, image.second) for image in self.only_first]),
            (self.second, self.first, [(image.id, image.label, image.first) for image in self.only_second]),
        ):
            if images:
                lines += ["", *aligned([f"only {name}", "class", f"{other} says"], images[:_MOST_SHOWN], words=3)]
            if len(images) > _MOST_SHOWN:
                lines.append(f"({len(images) - _MOST_SHOWN:,} more; --json has all)")
        return "\n".join(lines)


@dataclass(frozen=True)
class RunComparison:
    """Runs against the first of them. Print it, or use `to_dict()`, `to_json()` and `to_csv()`.

    Attributes:
        runs: the runs, by their names: their folders', or the whole paths if two folders have the same name.
        pairs: each run after the first, against the first.
        notes: what the user should know about the runs, one sentence each.
    """

    runs: dict[str, Answers]
    pairs: tuple[PairedRuns, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        runs = [
            {
                "name": name,
                "path": str(run.path),
                "model": run.model,
                "data": run.data,
                "images": len(run.answers),
                "accuracy": run.accuracy,
                "finished": run.is_finished,
            }
            for name, run in self.runs.items()
        ]
        return {"runs": runs, "pairs": [pair.to_dict() for pair in self.pairs], "notes": list(self.notes)}

    def to_json(self) -> str:
        """Return `to_dict` as a JSON document."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """Return a CSV table with a row per pair; accuracies, their difference and its interval are shares."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([
            "first", "second", "images", "accuracy_first", "accuracy_second", "difference", "low", "high", "p_value",
            "p_value_corrected", "significant", *Counts._fields,
        ])  # fmt: skip
        for pair in self.pairs:
            counts = pair.counts
            writer.writerow([
                pair.first, pair.second, counts.images, counts.accuracy_first, counts.accuracy_second,
                counts.difference, *pair.interval, pair.p_value, pair.corrected, pair.is_significant, *counts,
            ])  # fmt: skip
        return out.getvalue()

    def to_text(self) -> str:
        """Return the runs as a table and each pair below it, for a terminal."""
        rows = [
            [name, run.model, run.data, f"{len(run.answers):,}", f"{run.accuracy:.2%}"]
            for name, run in self.runs.items()
        ]
        parts = ["\n".join(aligned(["run", "model", "measured on", "images", "right"], rows, words=3))]
        parts += [pair.to_text() for pair in self.pairs]
        closing = (
            "Intervals are Tango's score intervals for paired proportions, McNemar's test is exact. Both are about "
            "these trained networks: to compare recipes, train each with several seeds."
        )
        if len(self.pairs) > 1:
            closing += (
                f" Each run is compared with the first; Holm's correction is for these {len(self.pairs)} tests, and "
                "intervals have none."
            )
        parts.append(textwrap.fill(closing, _WIDTH))
        return "\n\n".join(parts)

    def __str__(self) -> str:
        return self.to_text()


def compare_runs(*runs: str | PathLike[str]) -> RunComparison:
    """Compare runs with the first of them on the test images that both answered, by their recorded predictions.

    Nothing is computed again, and no image is read. Images are the same if their contents are, wherever they were.

    Args:
        runs: 2 or more different run folders.

    Returns:
        The comparison of each run with the first one. With more than one pair, p-values have Holm's correction.

    Raises:
        ConfigError: fewer than 2 different runs, or a path that is no run folder.
        DataError: a run was not measured, its files are damaged, or two runs have no test image in common.

    >>> print(compare_runs("runs/resnet20_cifar-digits", "runs/resnet20_cifar-digits-2"))  # doctest: +SKIP
    """
    paths = [Path(run) for run in runs]
    if len({path.resolve() for path in paths}) < len(paths) or len(paths) < 2:
        given = ", ".join(map(str, paths)) or "none"
        raise ConfigError(f"To compare needs 2 or more runs, each given once; got {given}. See `classicnets runs`.")
    read = [read_answers(path) for path in paths]
    names = short_names(paths)
    first, *others = zip((names[path] for path in paths), read, strict=True)
    common = [common_images(first[1], run) for _, run in others]
    p_values = [mcnemar_exact(_counts(images)) for images in common]
    pairs = [
        _pair(first, other, images, p_value, corrected)
        for other, images, p_value, corrected in zip(others, common, p_values, holm(p_values), strict=True)
    ]
    by_name = dict(zip((names[path] for path in paths), read, strict=True))
    return RunComparison(by_name, tuple(pairs), tuple(_notes(by_name, common)))


def _pair(
    first: tuple[str, Answers], second: tuple[str, Answers], images: Common, p_value: float, corrected: float
) -> PairedRuns:
    counts = _counts(images)
    matched = counts.images + images.relabelled
    disagreements = [
        (one.correct, Disagreement(one.path, str(one.truth), one.label, other.label))
        for one, other in zip(images.first, images.second, strict=True)
        if one.correct != other.correct
    ]
    return PairedRuns(
        first=first[0],
        second=second[0],
        counts=counts,
        interval=difference_interval(counts),
        p_value=p_value,
        corrected=corrected,
        only_first=tuple(image for first_is_right, image in disagreements if first_is_right),
        only_second=tuple(image for first_is_right, image in disagreements if not first_is_right),
        left_out=(len(first[1].answers) - matched, len(second[1].answers) - matched),
        relabelled=images.relabelled,
    )


def _counts(images: Common) -> Counts:
    return count([bool(answer.correct) for answer in images.first], [bool(answer.correct) for answer in images.second])


def _notes(runs: dict[str, Answers], common: Sequence[Common]) -> list[str]:
    notes = []
    for name, run in runs.items():
        if not run.is_finished:
            notes.append(f"{name} is not finished: its answers are those of its last evaluation.")
        if run.is_validation:
            notes.append(
                f"{name} was measured on its validation images, which also chose its best epoch. Its accuracy on new "
                "images is lower."
            )
    if any(images.by_name for images in common):
        notes.append("Images are matched by their names: a run has no images.csv that tells their contents.")
    return notes


def _p_value(value: float) -> str:
    return "under 0.0001" if value < 0.0001 else f"{value:.4f}"
