"""`Given`: what a source holds, as it was found, before anything is left out or split off."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from classicnets.data.imageset import ImageSet
from classicnets.errors import BadImage


@dataclass(frozen=True, eq=False)
class Given:
    """The parts that a source comes in; `load_data` splits off what is missing.

    Attributes:
        problems: why it cannot be trained on as it is, one sentence each.
        missing: files that the source names and that are not there.
        ignored: how many files lie among the images whose suffix is no image's, by suffix: "12 .heic".
    """

    name: str
    source: str
    train: ImageSet
    val: ImageSet | None = None
    test: ImageSet | None = None
    problems: tuple[str, ...] = ()
    missing: tuple[BadImage, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, ImageSet]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: images for name, images in parts.items() if images is not None}


PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What users call the parts of their data, and what we call them."""


@dataclass(frozen=True)
class Entry:
    """One image file of a source."""

    id: str
    path: Path
    label: str
    group: str | None = None


def file_set(entries: list[Entry], classes: tuple[str, ...]) -> ImageSet:
    """An ImageSet of files. Where some images have a group, each one without is a group of its own."""
    index = {name: i for i, name in enumerate(classes)}
    grouped = any(entry.group for entry in entries)
    return ImageSet(
        classes=classes,
        labels=torch.tensor([index[entry.label] for entry in entries], dtype=torch.int64),
        ids=tuple(entry.id for entry in entries),
        paths=tuple(entry.path for entry in entries),
        groups=tuple(entry.group or f"(alone) {entry.id}" for entry in entries) if grouped else None,
    )


def name_of(path: Path) -> str:
    """A short name for a folder, or for a table and its folder, safe in a file name."""
    path = path.resolve()
    name = f"{path.parent.name}-{path.stem}" if path.is_file() else path.name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def too_few_classes(classes: tuple[str, ...]) -> list[str]:
    """The problem of a source with a single class, if it is one."""
    if len(classes) > 1:
        return []
    return [f"there is only one class, {classes[0]!r}, and a classifier tells at least two apart"]


def listed(names: Sequence[str]) -> str:
    """The first ten names, quoted, and how many more there are."""
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def problem(sentence: str, names: Sequence[str]) -> list[str]:
    """The problem that is said of `names`, if there are any."""
    return [f"{sentence}: {listed(names)}"] if names else []


def counted(number: int, noun: str) -> str:
    """ "1 image", "1,200 images"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
