"""`LabelAudit`: the suspects that `audit_labels` found, and the folder that they are kept in.

audit/
  suspects.csv       path,label,proposed,score: the surest first
  labels.html        the surest suspects with their pictures
  audit.json         all of it, for the page that corrects labels
  corrections.csv    what was decided there, or by hand: path,action,label
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from classicnets.audit.folder import json_bytes, write_new_folder
from classicnets.data.imageset import ImageSet
from classicnets.errors import DataError
from classicnets.system.csv_text import csv_text

_FORMAT = 1


@dataclass(frozen=True)
class Suspect:
    """An image whose label is probably wrong.

    Attributes:
        path: the image's name in its source.
        label: the name of its class, as given.
        proposed: the class that it probably belongs to.
        score: how sure that is, 0..1.
        like_label, like_proposed: names of the nearest images with that label, and of the proposed class.
    """

    path: str
    label: str
    proposed: str
    score: float
    like_label: tuple[str, ...] = ()
    like_proposed: tuple[str, ...] = ()


class Pair(NamedTuple):
    """How many suspects have a label and are proposed to be of another class."""

    label: str
    proposed: str
    suspects: int


@dataclass(frozen=True, kw_only=True)
class LabelAudit:
    """Labels that are probably wrong.

    Attributes:
        data: what was audited: "photos training".
        source: what `load_data` takes to load it again; "" for images from memory.
        part: which of its images: "train", "val", "test" or "all".
        classes: the names of the classes.
        num_images: how many images were audited.
        expected_wrong: the estimated number of wrong labels; there may be more or fewer suspects.
        agreement: the share of the labels that models agree with which did not learn from them, 0..1.
        suspects: the images whose labels are probably wrong, the surest first.
        method: how the probabilities were computed, in words.
        notes: what the user should know, one sentence each.
        images: the images; None if they were not loaded.
    """

    data: str
    source: str
    part: str
    classes: tuple[str, ...]
    num_images: int
    expected_wrong: float
    agreement: float
    suspects: tuple[Suspect, ...]
    method: str
    notes: tuple[str, ...] = ()
    images: ImageSet | None = field(default=None, repr=False, compare=False)

    @property
    def pairs(self) -> list[Pair]:
        """How many suspects each pair of classes has, the most first."""
        counts = Counter((suspect.label, suspect.proposed) for suspect in self.suspects)
        return [Pair(*pair, number) for pair, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it except the images, JSON-ready."""
        return {
            "data": self.data,
            "source": self.source,
            "part": self.part,
            "num_images": self.num_images,
            "expected_wrong": self.expected_wrong,
            "agreement": self.agreement,
            "method": self.method,
            "notes": list(self.notes),
            "pairs": [pair._asdict() for pair in self.pairs],
            "suspects": [asdict(suspect) for suspect in self.suspects],
            "classes": list(self.classes),
        }

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write suspects.csv, labels.html and audit.json to a new folder, and return it.

        Raises ConfigError if the folder exists, StorageError if it cannot be written, DataError if a picture of a
        suspect cannot be read.

        >>> audit_labels("photos/").save("audit")  # doctest: +SKIP
        PosixPath('audit')
        """
        from classicnets.audit.label_page import labels_page

        rows = ((s.path, s.label, s.proposed, f"{s.score:.4f}") for s in self.suspects)
        files = {
            "suspects.csv": csv_text(("path", "label", "proposed", "score"), rows).encode(),
            "labels.html": labels_page(self).encode(),
            "audit.json": json_bytes({"format": _FORMAT, **self.to_dict()}),
        }
        return write_new_folder(folder, files)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> LabelAudit:
        """Read what `save` wrote, without the images. Raises DataError if the folder holds no such audit."""
        file = Path(folder) / "audit.json"
        try:
            found = json.loads(file.read_text("utf-8"))
            suspects = tuple(
                Suspect(
                    values["path"], values["label"], values["proposed"], values["score"],
                    tuple(values["like_label"]), tuple(values["like_proposed"]),
                )
                for values in found["suspects"]
            )  # fmt: skip
            names = ("data", "source", "part", "num_images", "expected_wrong", "agreement", "method")
            return cls(
                classes=tuple(found["classes"]), notes=tuple(found["notes"]), suspects=suspects,
                **{name: found[name] for name in names},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder} holds no audit of labels: {file} cannot be read ({error}). Make one with "
                f"`classicnets audit labels DATA --out {folder}`."
            ) from None
