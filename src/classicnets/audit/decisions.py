"""`Decisions`: the suspects of a saved audit, and corrections.csv, where what a person decides about them is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from classicnets.audit.images import images_of
from classicnets.audit.label_page import described, pictures_of
from classicnets.audit.suspects import LabelAudit
from classicnets.data.corrections import ACTIONS, Correction, read_corrections, write_corrections
from classicnets.errors import BadImage, ConfigError, DataError

_LARGE, _SMALL = 448, 112  # pixels of the longer side


@dataclass(frozen=True, eq=False)
class Decisions:
    """The suspects of an audit, and the file that decisions about them are kept in.

    The file is read again before each decision, so that lines written by hand meanwhile are kept.

    Attributes:
        audit: the suspects.
        file: corrections.csv; created with the first decision.
        pictured: makes a picture of an image's name and a size, as `pictures_of` returns it.
    """

    audit: LabelAudit
    file: Path
    pictured: Callable[[str, int], str]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> Decisions:
        """Open what `LabelAudit.save` wrote.

        Raises DataError if the folder holds no audit, if its images are gone, or if corrections.csv cannot be read.
        """
        audit = LabelAudit.load(folder)
        if not audit.source:
            raise DataError(
                f"{folder} is the audit of images from memory, and has no pictures to show. Audit a folder."
            )
        images = images_of(audit.source, audit.part, "skip").images
        decisions = cls(audit, Path(folder) / "corrections.csv", pictures_of(images))
        decisions.read()
        return decisions

    def read(self) -> dict[str, Correction]:
        """Return what was decided so far, by the image's name. Raises DataError if the file cannot be read."""
        return read_corrections(self.file, classes=self.audit.classes) if self.file.exists() else {}

    def state(self) -> dict[str, Any]:
        """Return the suspects, each with its decision or None, and the classes, JSON-ready."""
        decided = self.read()
        suspects = [
            {
                "path": suspect.path,
                "label": suspect.label,
                "proposed": suspect.proposed,
                "score": suspect.score,
                "decision": decided[suspect.path]._asdict() if suspect.path in decided else None,
            }
            for suspect in self.audit.suspects
        ]
        return {"suspects": suspects, "classes": list(self.audit.classes)}

    def describe(self, number: int) -> dict[str, Any]:
        """Return suspect number `number` with its pictures; "" for one that cannot be decoded."""

        def pictured(name: str, side: int) -> str:
            try:
                return self.pictured(name, side)
            except BadImage:
                return ""

        return described(self.audit.suspects[number], pictured, large=_LARGE, small=_SMALL)

    def decide(self, number: int, action: str, label: str) -> None:
        """Save a decision about suspect number `number`; the action "" takes it back.

        Raises ConfigError for a decision that cannot be, StorageError if it cannot be saved.
        """
        if not 0 <= number < len(self.audit.suspects):
            raise ConfigError(f"There is no suspect {number}.")
        if action not in ("", *ACTIONS):
            raise ConfigError(f"The action is {action!r}; it must be keep, relabel or drop.")
        if action == "relabel" and label not in self.audit.classes:
            raise ConfigError(f"There is no class {label!r}.")
        path = self.audit.suspects[number].path
        with self._lock:
            corrections = self.read()
            corrections.pop(path, None)
            if action:
                corrections[path] = Correction(action, label if action == "relabel" else "")  # type: ignore[arg-type]
            write_corrections(self.file, corrections)
