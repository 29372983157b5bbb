"""`NextLabels`: the images that `next_to_label` chose, and the folder that they are kept in.

next/
  next.csv     path,score,reason,guess: in the order in which to label them
  next.html    the first of them with their pictures
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from classicnets.audit.folder import write_new_folder
from classicnets.data.imageset import ImageSet
from classicnets.data.words import counted
from classicnets.system.csv_text import csv_text


class Wanted(NamedTuple):
    """An image to label.

    Attributes:
        path: the image's name in the pool.
        score: how unsure the head is, 0..1: 1 minus the margin between the two likeliest classes.
        reason: why it was chosen, in words.
        guess: the likeliest class.
    """

    path: str
    score: float
    reason: str
    guess: str


@dataclass(frozen=True, kw_only=True)
class NextLabels:
    """Which images of a pool to label next.

    Attributes:
        data: what the labelled images are called.
        num_labelled: how many there are.
        num_pool: how many images the pool has.
        wanted: the images to label, in the order in which to label them.
        labelled_already: images of the pool that are identical to a labelled one.
        copies: images of the pool that are identical to another of the pool.
        unreadable: files of the pool that cannot be decoded, with the reason.
        method: where the features come from, in words.
        notes: what the user should know, one sentence each.
        images: the images of the pool that can be labelled.
    """

    data: str
    num_labelled: int
    num_pool: int
    wanted: tuple[Wanted, ...]
    labelled_already: tuple[str, ...]
    copies: tuple[str, ...]
    unreadable: tuple[str, ...]
    method: str
    notes: tuple[str, ...] = ()
    images: ImageSet = field(repr=False, compare=False)

    @property
    def left_out(self) -> list[str]:
        """What was left out of the pool, one sentence for each reason."""
        reasons = {
            "identical to a labelled image": self.labelled_already,
            "identical to another image of the pool": self.copies,
            "unreadable": self.unreadable,
        }
        return [f"left out: {counted(len(some), 'image')} {why}" for why, some in reasons.items() if some]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it except the images, JSON-ready."""
        values = {name: value for name, value in vars(self).items() if name not in ("images", "wanted")}
        return {**values, "wanted": [one._asdict() for one in self.wanted]}

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write next.csv and next.html to a new folder, and return it.

        Raises ConfigError if the folder exists, StorageError if it cannot be written, BadImage if a picture cannot be
        decoded.

        >>> next_to_label("photos/", "unlabelled/").save("next")  # doctest: +SKIP
        PosixPath('next')
        """
        from classicnets.audit.next_page import next_page

        rows = ((one.path, f"{one.score:.4f}", one.reason, one.guess) for one in self.wanted)
        files = {"next.csv": csv_text(Wanted._fields, rows).encode(), "next.html": next_page(self).encode()}
        return write_new_folder(folder, files)
