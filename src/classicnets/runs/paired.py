"""Runs compared on the images that they all answered: who is better, by how much, and is that more than chance?"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from classicnets.analysis.table import WIDTH, aligned
from classicnets.errors import ConfigError
from classicnets.evaluation.paired import Counts, count, difference_interval, holm, mcnemar_exact
from classicnets.runs.answers import Answers, Common, common_images, read_answers
from classicnets.runs.compare import short_names
from classicnets.runs.pair import Disagreement, PairedRuns
from classicnets.system.csv_text import csv_text


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
        columns = [
            "first", "second", "images", "accuracy_first", "accuracy_second", "difference", "low", "high", "p_value",
            "p_value_corrected", "significant", *Counts._fields,
        ]  # fmt: skip
        rows = (
            [
                pair.first, pair.second, pair.counts.images, pair.counts.accuracy_first, pair.counts.accuracy_second,
                pair.counts.difference, *pair.interval, pair.p_value, pair.corrected, pair.is_significant,
                *pair.counts,
            ]
            for pair in self.pairs
        )  # fmt: skip
        return csv_text(columns, rows)

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
            closing += " Each run is compared with the first. Intervals have no correction for the number of runs."
        parts.append(textwrap.fill(closing, WIDTH))
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
        raise ConfigError(f"A comparison needs 2 or more runs, each given once; got {given}. See `classicnets runs`.")
    names = short_names(paths)
    read = {names[path]: read_answers(path) for path in paths}
    first, *others = read
    common = [common_images(read[first], read[other]) for other in others]
    counts = [_counts(images) for images in common]
    p_values = [mcnemar_exact(table) for table in counts]
    pairs = []
    for other, images, table, p_value, corrected in zip(others, common, counts, p_values, holm(p_values), strict=True):
        only_first, only_second = _disagreements(images)
        matched = table.images + images.relabelled
        pairs.append(
            PairedRuns(
                first=first,
                second=other,
                counts=table,
                interval=difference_interval(table),
                p_value=p_value,
                tests=len(others),
                corrected=corrected,
                only_first=only_first,
                only_second=only_second,
                left_out=(len(read[first].answers) - matched, len(read[other].answers) - matched),
                relabelled=images.relabelled,
            )
        )
    return RunComparison(read, tuple(pairs), tuple(_notes(read, common)))


def _disagreements(images: Common) -> tuple[tuple[Disagreement, ...], tuple[Disagreement, ...]]:
    """The images that only the first run gets right, and those that only the second does."""
    only_first, only_second = [], []
    for one, other in zip(images.first, images.second, strict=True):
        image = Disagreement(one.path, str(one.truth), one.label, other.label)
        if one.correct and not other.correct:
            only_first.append(image)
        if other.correct and not one.correct:
            only_second.append(image)
    return tuple(only_first), tuple(only_second)


def _counts(images: Common) -> Counts:
    return count([answer.correct for answer in images.first], [answer.correct for answer in images.second])


def _notes(runs: dict[str, Answers], common: Sequence[Common]) -> list[str]:
    notes = []
    for name, run in runs.items():
        if not run.is_finished:
            notes.append(f"{name} is not finished: its answers are those of its last evaluation.")
        if run.is_validation:
            notes.append(
                f"{name} was measured on its validation images, which may have chosen its best epoch. Its accuracy on "
                "new images is then lower."
            )
    if any(images.by_name for images in common):
        notes.append("Images are matched by their names: a run has no images.csv that tells their contents.")
    return notes
