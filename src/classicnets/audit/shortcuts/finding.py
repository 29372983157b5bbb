"""What an audit for shortcuts found: each clue with what it predicts, in words, numbers, and as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from classicnets.audit.folder import json_bytes, write_new_folder
from classicnets.audit.shortcuts.clue import Clue, Feature
from classicnets.audit.shortcuts.judge import Measured
from classicnets.data.imageset import ImageSet
from classicnets.data.words import counted
from classicnets.reports.text import percent

SIGNIFICANT = 0.05
GAINS = {"file": 0.4, "table": 0.4, "pixels": 0.6}
"""From which gain over chance, in 0..1, a clue of that kind is a shortcut. Pixels may show the object itself."""


class Verdict(StrEnum):
    """What a clue is."""

    shortcut = "shortcut"
    trace = "trace"
    nothing = "nothing"
    unknown = "too few images"


@dataclass(frozen=True, eq=False)
class Finding:
    """One clue, and what it predicts.

    Attributes:
        clue: what was looked at.
        measured: the accuracy of a forest with this clue alone.
        chance: the accuracy of guessing, in 0..1.
        p_value: corrected for the number of clues (Holm), in 0..1.
        is_decidable: whether so few images could show a perfect clue at all.
    """

    clue: Clue
    measured: Measured
    chance: float
    p_value: float
    is_decidable: bool = True

    @property
    def gain(self) -> float:
        """How far the accuracy is on its way from chance (0) to certainty (1); below 0 if it is below chance."""
        return (self.measured.accuracy - self.chance) / (1 - self.chance)

    @property
    def verdict(self) -> Verdict:
        """ "shortcut", "trace" (above chance, but weak), "nothing", or "too few images"."""
        if not self.is_decidable:
            return Verdict.unknown
        if self.p_value > SIGNIFICANT:
            return Verdict.nothing
        return Verdict.shortcut if self.gain >= GAINS[self.clue.kind] else Verdict.trace

    @property
    def feature(self) -> Feature:
        """The feature that tells most."""
        return self.clue.features[self.measured.best]

    def __str__(self) -> str:
        share, chance = percent(self.measured.accuracy), percent(self.chance)
        name = self.clue.name
        return f"{name[:1].upper()}{name[1:]} alone tells the class for {share} of the images (chance {chance})"

    def to_dict(self, classes: Sequence[str], labels: np.ndarray) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "clue": self.clue.name,
            "kind": self.clue.kind,
            "verdict": str(self.verdict),
            "balanced_accuracy": self.measured.accuracy,
            "low": self.measured.interval.low,
            "high": self.measured.interval.high,
            "chance": self.chance,
            "p_value": self.measured.p_value,
            "p_value_corrected": self.p_value,
            "seen_by_a_network": self.clue.is_seen,
            "features": [feature.name for feature in self.clue.features],
            "most_telling": {
                "name": self.feature.name,
                "unit": "day of 1970" if self.feature.unit == "date" else self.feature.unit,
                "mean_by_class": {
                    classes[label]: float(np.mean(own[np.isfinite(own)])) if np.isfinite(own).any() else None
                    for label, own in by_class(self.feature, labels)
                },
            },
            "advice": self.clue.advice,
        }


@dataclass(frozen=True, eq=False)
class ShortcutAudit:
    """What `audit_shortcuts` found. Print it, `save` it as a page, a figure and JSON.

    Attributes:
        name: of the data.
        images: those that were looked at.
        findings: the clues, the strongest first.
        notes: how the data was read, and what was left out, one sentence each.
    """

    name: str
    images: ImageSet
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def shortcuts(self) -> tuple[Finding, ...]:
        """The clues that predict the class."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.shortcut)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        if self.shortcuts:
            names = ", ".join(finding.clue.name for finding in self.shortcuts)
            return f"{counted(len(self.shortcuts), 'clue')} of {len(self.findings)} can predict the class: {names}"
        if not self.findings:
            return "There is nothing to look at: the images do not differ in any clue"
        if all(finding.verdict is Verdict.unknown for finding in self.findings):
            return "Too few images to tell: chance alone could make any clue look perfect"
        best = self.findings[0]
        return (
            f"None of {counted(len(self.findings), 'clue')} predicts the class: the strongest, {best.clue.name}, "
            f"reaches {percent(best.measured.accuracy)} (chance {percent(best.chance)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        labels = self.images.labels.numpy()
        return {
            "data": self.name,
            "num_images": len(self.images),
            "num_classes": len(np.unique(labels)),
            "result": self.sentence,
            "shortcuts": [finding.clue.name for finding in self.shortcuts],
            "clues": [finding.to_dict(self.images.classes, labels) for finding in self.findings],
            "notes": list(self.notes),
        }

    def to_html(self) -> str:
        """Return the page: one HTML document that needs no other file."""
        from classicnets.audit.shortcuts.page import shortcuts_page  # needs matplotlib

        return shortcuts_page(self)

    def save(self, folder: str | Path) -> Path:
        """Write shortcuts.html, shortcuts.png and shortcuts.json to a new folder, and return it.

        Raises ConfigError if the folder exists, StorageError if it cannot be written.

        >>> audit_shortcuts("photos/").save("audit")  # doctest: +SKIP
        PosixPath('audit')
        """
        from classicnets.audit.shortcuts.page import overview  # needs matplotlib
        from classicnets.reports.canvas import png

        files = {
            "shortcuts.html": self.to_html().encode(),
            "shortcuts.png": png(overview(self)),
            "shortcuts.json": json_bytes(self.to_dict()),
        }
        return write_new_folder(folder, files)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.sentence}", *map(str, self.shortcuts)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def by_class(feature: Feature, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each class with its values of a feature."""
    for label in np.unique(labels).tolist():
        yield label, feature.values[labels == label]


def shown(value: float, feature: Feature) -> str:
    """Write a value of a feature: "yes", "2024-05-31", "92", "0.431", "1,024 pixels", "none"."""
    if not np.isfinite(value):
        return "none"
    if feature.is_flag:
        return "yes" if value else "no"
    if feature.unit == "date":
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=float(value)):%Y-%m-%d}"
    number = f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {feature.unit}".strip()


def rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Each clue as a row of a table: its name, accuracy, interval, chance, corrected p-value and verdict."""
    return [
        (
            finding.clue.name,
            percent(finding.measured.accuracy),
            f"{percent(finding.measured.interval.low)} to {percent(finding.measured.interval.high)}",
            percent(finding.chance),
            f"{finding.p_value:.2g}",
            str(finding.verdict),
        )
        for finding in findings
    ]
