"""The images of an audit: all of a source, or those of a part, without the files that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from classicnets.data.imageset import Data, ImageSet, OnError
from classicnets.data.load import read_readable, read_source, refuse_problems, without_bad
from classicnets.data.pipeline.pack import pack
from classicnets.data.words import counted
from classicnets.errors import ConfigError, DataError
from classicnets.evaluation.choose import PARTS, joined, part_of
from classicnets.preprocess import Preprocess
from classicnets.system.progress import Report

TINY = Preprocess(input_size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
"""Prepares images only to find out whether they can be decoded."""


class Audited(NamedTuple):
    """The images of an audit.

    Attributes:
        images: the images.
        name: what they are called.
        source: what `load_data` takes to load them again; "" if nothing.
        notes: how they were read, one sentence each.
    """

    images: ImageSet
    name: str
    source: str
    notes: tuple[str, ...] = ()


def all_images(
    data: str | PathLike[str] | Data | ImageSet, *, parts: Sequence[str] = ("train", "val", "test")
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


def images_of(data: str | PathLike[str] | Data | ImageSet, part: str, on_error: OnError) -> Audited:
    """Return the images of a part, without those whose header cannot be read. Raises ConfigError or DataError."""
    if part not in PARTS:
        raise ConfigError(f"part is {part!r}; it must be train, val, test or all.")
    if isinstance(data, ImageSet):
        return Audited(data, "images", "")
    if isinstance(data, Data):
        images = part_of(data.parts, part, data.name, option="--part")
        return Audited(images, f"{data.name} {PARTS[part]}".strip(), data.source)
    given, bad = read_readable(data if isinstance(data, str) else Path(data), on_error)
    part = part if len(given.parts) > 1 else "all"
    images = part_of(given.parts, part, given.name, option="--part")
    return Audited(images, f"{given.name} {PARTS[part]}".strip(), given.source, (*given.notes, *_left_out(len(bad))))


def without_damaged(chosen: Audited, progress: Report) -> Audited:
    """The images whose pixels can be decoded."""
    if chosen.images.paths is None:
        return chosen
    packed = pack(chosen.images, TINY, on_error="skip", progress=partial(progress, "Looking for damage"))
    names = set(packed.ids)
    kept = [i for i, id in enumerate(chosen.images.ids) if id in names]
    notes = (*chosen.notes, *_left_out(len(packed.skipped)))
    return chosen._replace(images=chosen.images.subset(kept), notes=notes)


def _left_out(number: int) -> list[str]:
    return [f"{counted(number, 'image')} cannot be read and {'is' if number == 1 else 'are'} left out."] * bool(number)
