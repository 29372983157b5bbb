"""What a study found: `Outcome`, as text, as JSON and as a figure."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from classicnets.analysis.table import WIDTH
from classicnets.data.words import counted
from classicnets.reports.canvas import LIGHT, Theme
from classicnets.studies.claim import Cells, Claim, PresetName
from classicnets.studies.verdict import Finding, Verdict, together

_PARTS = ("training", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study found.

    Attributes:
        claim: what was tested.
        preset: "quick" or "full".
        changes: what was changed of the preset: "images=5000", "epochs=30".
        data: the name of the images; "" if the claim is counted, without a training.
        images: how many of them were for training, validation and testing; empty without a training.
        seeds: how many seeds each network was trained with; 0 without a training.
        measured: the cells of each seed, by arm; one entry without a training.
        findings: one for each hypothesis of the claim.
        environment: the machine and the versions.
        folder: the study's folder.
    """

    claim: Claim
    preset: PresetName
    changes: tuple[str, ...]
    data: str
    images: tuple[int, ...]
    seeds: int
    measured: tuple[Cells, ...]
    findings: tuple[Finding, ...]
    environment: dict[str, Any]
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """What the numbers say of the claim."""
        return together([finding.verdict for finding in self.findings])

    @property
    def seconds(self) -> float:
        """The time that the trainings took, in seconds."""
        return math.fsum(cell.get("seconds", 0.0) for cells in self.measured for cell in cells.values())

    @property
    def setting(self) -> str:
        """What the numbers come from, in a sentence."""
        if not self.seeds:
            return "Counted, without a training."
        parts = [f"{number:,} for {part}" for number, part in zip(self.images, _PARTS, strict=False)]
        preset = " ".join([self.preset, *self.changes])
        return f"{preset}: {self.data}, {', '.join(parts)}; {counted(self.seeds, 'seed')} for each network."

    @property
    def notes(self) -> list[str]:
        """Sentences on trainings that diverged."""
        return [
            f"{arm}, seed {seed}, diverged: {cell['diverged']}"
            for seed, cells in enumerate(self.measured)
            for arm, cell in cells.items()
            if "diverged" in cell
        ]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """The hypotheses, what was found, and the verdict on each: the rows of a table."""
        return [(str(one.hypothesis), one.numbers, one.verdict.value) for one in self.findings]

    def draw(self, theme: Theme = LIGHT) -> Figure:
        """Draw the claim's figure, with the verdict above it."""
        first = self.findings[0]
        headline = f"{self.claim.name}: {self.verdict}"
        return self.claim.draw(self.measured, headline, f"{first.numbers}: {first.hypothesis.what}", theme)

    def to_text(self) -> str:
        """Return the outcome for a terminal of 80 columns."""
        claim = self.claim
        lines = [f"{claim.name}: {self.verdict}", "", *textwrap.wrap(claim.sentence, WIDTH), claim.source]
        if claim.disputed:
            lines += textwrap.wrap(f"Disputed: {claim.disputed}", WIDTH)
        for finding in self.findings:
            lines += ["", *textwrap.wrap(f"hypothesis  {finding.hypothesis}", WIDTH, subsequent_indent=" " * 12)]
            lines += [f"found       {finding.numbers}: {finding.verdict}"]
        lines += ["", *textwrap.wrap(self.setting, WIDTH), *self.notes]
        return "\n".join([*lines, f"figure: {self.folder / 'figure.png'}"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready: the claim, its verdict, the findings, and what each cell measured."""
        return {
            "name": self.claim.name,
            "claim": self.claim.sentence,
            "source": self.claim.source,
            "disputed": self.claim.disputed,
            "verdict": self.verdict.value,
            "findings": [finding.to_dict() for finding in self.findings],
            "interval": "95 %, Student's t over the seeds" if self.seeds else "exact",
            "preset": self.preset,
            "changes": list(self.changes),
            "data": self.data,
            "images": list(self.images),
            "seeds": self.seeds,
            "seconds": round(self.seconds, 1),
            "notes": self.notes,
            "measured": [dict(cells) for cells in self.measured],
            "environment": self.environment,
            "folder": str(self.folder),
        }
