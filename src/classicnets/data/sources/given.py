"""`Given`: what a source holds, as it was found, before unreadable images are left out or a part is split off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classicnets.data.imageset import ImageSet
from classicnets.data.labels import label_problems, spelling
from classicnets.data.words import listed
from classicnets.errors import BadImage, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Given:
    """The parts that a source comes with. `load_data` splits off the parts that are missing.

    Attributes:
        problems: why it cannot be trained on as it is, one sentence each.
        missing: files that the source names and that do not exist.
        ignored: how many files among the images are of another kind, by suffix: "12 .heic".
        notes: how the source was interpreted and what was left out, one sentence each.
    """

    name: str
    source: str
    train: ImageSet
    val: ImageSet | None = None
    test: ImageSet | None = None
    problems: tuple[str, ...] = ()
    missing: tuple[BadImage, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, ImageSet]:
        """The parts that exist, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: images for name, images in parts.items() if images is not None}


@dataclass(frozen=True)
class Entry:
    """One image file of a source; `columns` is what else a table says of it."""

    id: str
    path: Path
    label: str
    group: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def given_files(
    path: Path,
    entries: Mapping[str, list[Entry]],
    classes: Mapping[str, tuple[str, ...]],
    *,
    problems: list[str],
    notes: list[str],
    missing: list[BadImage] | None = None,
    ignored: tuple[str, ...] = (),
) -> Given:
    """Make the parts of a folder or table from the files and the names of the classes of each part.

    The classes are those of train. A class of another part that train lacks is a problem: no network could learn it.
    A class of train that another part lacks is allowed, as rare classes often have no validation image; `quick_check`
    warns of it. A part without any file is left out, with a note.
    """
    known = classes["train"]
    problems = [*problems, *_too_few(known), *label_problems(known)]
    notes = list(notes)
    sets = {}
    for part, some in entries.items():
        problems += _unknown(part, classes[part], known)
        if some or part == "train":
            sets[part] = _file_set(some, known)
        else:
            notes.append(f"{part} has no images and is not used")
    return Given(
        name_of(path),
        str(path),
        sets["train"],
        sets.get("val"),
        sets.get("test"),
        tuple(problems),
        tuple(missing or ()),
        ignored,
        tuple(notes),
    )


def _file_set(entries: list[Entry], classes: tuple[str, ...]) -> ImageSet:
    """An ImageSet of files. If some images have a group, each image without one is a group of its own."""
    index = {name: i for i, name in enumerate(classes)}
    entries = [entry for entry in entries if entry.label in index]
    grouped = any(entry.group for entry in entries)
    names = entries[0].columns if entries else ()
    return ImageSet(
        classes=classes,
        labels=cast("Tensor", np.array([index[entry.label] for entry in entries], np.int64)),  # until `read_source`
        ids=tuple(entry.id for entry in entries),
        paths=tuple(entry.path for entry in entries),
        groups=tuple(entry.group or f"(alone) {entry.id}" for entry in entries) if grouped else None,
        columns={name: tuple(entry.columns[name] for entry in entries) for name in names},
    )


def in_memory(classes: tuple[str, ...], labels: ArrayLike, images: NDArray[np.uint8], *, ids: str) -> ImageSet:
    """Return a set of images that are in memory, as arrays until `read_source`.

    Args:
        classes: the name of every class.
        labels: N indices into them.
        images: uint8 (N, C, H, W).
        ids: how the number of an image makes its name, such as "train/{:05}".
    """
    return ImageSet(
        classes,
        cast("Tensor", np.asarray(labels, np.int64)),
        tuple(map(ids.format, range(len(images)))),
        images=cast("Tensor", np.ascontiguousarray(images)),
    )


def name_of(path: Path) -> str:
    """Return a short name for `path`, a folder or a table (named with its folder), safe in a file name."""
    path = path.resolve()
    name = f"{path.parent.name}-{path.stem}" if path.is_file() else path.name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _too_few(classes: tuple[str, ...]) -> list[str]:
    if len(classes) > 1:
        return []
    return [f"there is only one class, {classes[0]!r}, and a classifier needs at least two"]


def _unknown(part: str, classes: tuple[str, ...], train_classes: tuple[str, ...]) -> list[str]:
    """The problem of classes that train lacks; suggests the class of train that the first was meant to be."""
    known = set(train_classes)
    unknown = [name for name in classes if name not in known]
    if not unknown:
        return []
    same = [name for name in train_classes if spelling(name) == spelling(unknown[0])]
    near = same or did_you_mean(unknown[0], train_classes, most=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return [f"{part} has classes that train lacks: {listed(unknown)}{hint}"]
