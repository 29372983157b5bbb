"""The images of an audit: all of a source, whatever part they are in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from classicnets.data.imageset import Data, ImageSet
from classicnets.data.load import read_source, refuse_problems, without_bad
from classicnets.data.words import counted
from classicnets.errors import DataError
from classicnets.evaluation.choose import joined


class Audited(NamedTuple):
    """The images, a name for them, what they were loaded from, and how they were read, one sentence each."""

    images: ImageSet
    name: str
    source: str
    notes: tuple[str, ...]


def all_images(
    data: str | os.PathLike[str] | Data | ImageSet, *, parts: Sequence[str] = ("train", "val", "test")
) -> Audited:
    """Return all images of some parts of `data`: of a source as for `load_data`, of loaded `Data`, or of one set.

    Files of a source whose header cannot be read are left out, with a note.

    Raises DataError if there is no such source, no image can be read, or there are not two classes with images.
    """
    notes: list[str] = []
    if isinstance(data, ImageSet):
        images, name, source = data, "images", ""
    elif isinstance(data, Data):
        images, name = joined(tuple(some for part, some in data.parts.items() if part in parts)), data.name
        source = data.source
    else:
        given = read_source(data if isinstance(data, str) else Path(data))
        refuse_problems(given)
        given, bad = without_bad(given)
        if bad:
            notes.append(
                f"{counted(len(bad), 'image')} cannot be read and {'is' if len(bad) == 1 else 'are'} left out; the "
                f"first is {bad[0]}; `classicnets check` lists all"
            )
        images, name = joined(tuple(some for part, some in given.parts.items() if part in parts)), given.name
        source = given.source
        notes = [*given.notes, *notes]
    known = [name for name, count in images.counts().items() if count]
    if len(known) < 2:
        raise DataError(
            f"{name} has images of {counted(len(known), 'class')}, and an audit compares classes. Give images of two "
            f"classes or more."
        )
    return Audited(images, name, source, tuple(notes))
