"""corrections.csv: what a person decided about labels, laid over the images. No image is moved, changed or removed.

    path,action,label
    train/cat/001.jpg,relabel,dog
    train/cat/002.jpg,keep,
    train/dog/003.jpg,drop,

`path` is the image's name as `classicnets audit labels` writes it. "keep" says that the label was looked at and is
right, "relabel" gives another one, "drop" leaves the image out of the training.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from classicnets.data.csv_rows import csv_rows
from classicnets.data.imageset import Data, ImageSet
from classicnets.data.words import counted, listed
from classicnets.errors import DataError, did_you_mean
from classicnets.system.storage import written_aside

Action = Literal["keep", "relabel", "drop"]
ACTIONS: tuple[Action, ...] = get_args(Action)

_COLUMNS = ("path", "action", "label")


class Correction(NamedTuple):
    """What was decided about an image: an action and, for "relabel", the name of its class, else ""."""

    action: Action
    label: str = ""


def read_corrections(file: str | Path, *, classes: Collection[str] | None = None) -> dict[str, Correction]:
    """Read corrections, by the image's name, in the order of the file.

    Args:
        file: a CSV file with the columns path, action and label, separated by commas, semicolons or tabs.
        classes: the names that a new label may be; None allows all.

    Raises DataError, with the number of the line, if the file cannot be read, an action or a label is not known, or two
    lines decide differently about one image.

    >>> read_corrections("audit/corrections.csv")  # doctest: +SKIP
    {'train/cat/001.jpg': Correction(action='relabel', label='dog')}
    """
    file = Path(file)
    corrections: dict[str, Correction] = {}
    lines: dict[str, int] = {}
    for line, cells in csv_rows(file, _COLUMNS[:2], known=_COLUMNS, form=",".join(_COLUMNS)):
        where = f"{file}, line {line}"
        path, action = cells["path"], cells["action"].casefold()
        if action not in ACTIONS:
            near = did_you_mean(action, ACTIONS, most=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise DataError(f"{where}: the action is {cells['action']!r}; it must be keep, relabel or drop.{hint}")
        label = cells.get("label", "") if action == "relabel" else ""
        if action == "relabel" and not label:
            raise DataError(f"{where}: relabel needs a label. Fill it in, or write drop or keep.")
        if label and classes is not None and label not in classes:
            near = did_you_mean(label, classes, most=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The classes are {listed(list(classes))}."
            raise DataError(f"{where}: there is no class {label!r}.{hint}")
        correction = Correction(action, label)
        if corrections.get(path, correction) != correction:
            raise DataError(
                f"{where}: {path} is in line {lines[path]} already, with another decision. Remove one of the two lines."
            )
        corrections[path], lines[path] = correction, line
    return corrections


def write_corrections(file: str | Path, corrections: Mapping[str, Correction]) -> None:
    """Write corrections so that `read_corrections` reads them back. A kill leaves the old file or the new one.

    Raises StorageError if the disk refuses.
    """
    with written_aside(file) as new, new.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((path, *correction) for path, correction in corrections.items())


def corrected(data: Data, file: str | Path) -> Data:
    """Lay corrections over the training and validation images. Test images stay as they are, so results compare.

    The corrections come after the split, so every image is in the part that it was in without them. Data that has these
    corrections already is returned as it is.

    Args:
        data: the images; not changed.
        file: what `read_corrections` reads.

    Returns:
        The data with other labels, without the dropped images, and with notes on what was done.

    Raises:
        DataError: as `read_corrections`; none of the images is in the data; or a part or a class of the training images
            loses all of its images.

    >>> corrected(load_data("photos/"), "audit/corrections.csv").notes  # doctest: +SKIP
    ('corrections.csv: 3 kept, 40 relabelled, 2 dropped',)
    """
    file = Path(file)
    corrections = read_corrections(file, classes=data.classes)
    digest = hashlib.sha256(repr(sorted(corrections.items())).encode()).hexdigest()
    if data.corrections == digest:
        return data
    parts = {part: _laid_over(images, corrections) for part, images in data.parts.items() if part != "test"}
    done = Counter(corrections[id].action for part in parts for id in data.parts[part].ids if id in corrections)
    tested = [id for id in (data.test.ids if data.test else ()) if id in corrections]
    gone = set(corrections).difference(*(images.ids for images in data.parts.values()))
    if corrections and len(gone) == len(corrections):
        raise DataError(
            f"{file} is not about these images: none of its {counted(len(corrections), 'path')} is in {data.source}, "
            f"such as {next(iter(corrections))!r}. Give the corrections that belong to this data."
        )
    for part, images in parts.items():
        if not len(images):
            raise DataError(f"{file} drops every {part} image. Keep some of them.")
    lost = [name for name, n in parts["train"].counts().items() if not n and data.train.counts()[name]]
    if lost:
        raise DataError(f"{file} leaves no training image of {listed(lost)}. Keep some, or remove the class.")
    notes = [f"{file.name}: {done['keep']:,} kept, {done['relabel']:,} relabelled, {done['drop']:,} dropped"]
    if tested:
        names = listed(tested)
        notes.append(
            f"not applied: {counted(len(tested), 'correction')} of test images, {names}, because results with and "
            f"without corrections are compared on the same test images"
        )
    if gone:
        names = listed([path for path in corrections if path in gone])
        notes.append(f"not applied: {counted(len(gone), 'correction')} of images that the data does not have: {names}")
    notes = [*data.notes, *notes]
    return replace(data, train=parts["train"], val=parts["val"], corrections=digest, notes=tuple(notes))


def _laid_over(images: ImageSet, corrections: Mapping[str, Correction]) -> ImageSet:
    """The images with their new labels, without those that are dropped."""
    index = {name: i for i, name in enumerate(images.classes)}
    labels, kept = deepcopy(images.labels), []
    for i, id in enumerate(images.ids):
        correction = corrections.get(id)
        if correction is None or correction.action != "drop":
            kept.append(i)
        if correction is not None and correction.action == "relabel":
            labels[i] = index[correction.label]
    return replace(images, labels=labels).subset(kept)
