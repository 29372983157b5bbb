"""The images of an audit: all of a source, or those of a part, without the files that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from classicnets.data.imageset import Data, ImageSet, OnError
from classicnets.data.load import read_readable
from classicnets.data.pipeline.pack import pack
from classicnets.data.words import counted
from classicnets.errors import BadImage, ConfigError, DataError
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

    Raises DataError if there is no such source, no image of a class can be read, or there are not two classes with
    images.
    """
    found = _opened(data, "skip")
    images = joined(tuple(some for part, some in found.parts.items() if part in parts))
    known = [name for name, count in images.counts().items() if count]
    if len(known) < 2:
        raise DataError(
            f"{found.name} has images of {counted(len(known), 'class')}, and an audit compares classes. Give images of "
            f"two classes or more."
        )
    return Audited(images, found.name, found.source, found.notes)


def images_of(data: str | PathLike[str] | Data | ImageSet, part: str, on_error: OnError) -> Audited:
    """Return the images of a part, without those whose header cannot be read. Raises ConfigError or DataError."""
    if part not in PARTS:
        raise ConfigError(f"part is {part!r}; it must be train, val, test or all.")
    found = _opened(data, on_error)
    part = part if len(found.parts) > 1 else "all"
    images = part_of(found.parts, part, found.name, option="--part")
    return Audited(images, f"{found.name} {PARTS[part]}".strip(), found.source, found.notes)


class _Opened(NamedTuple):
    """The parts of a source, and what `Audited` says of it. A single set is its training images."""

    parts: Mapping[str, ImageSet]
    name: str
    source: str
    notes: tuple[str, ...] = ()


def _opened(data: str | PathLike[str] | Data | ImageSet, on_error: OnError) -> _Opened:
    if isinstance(data, ImageSet):
        return _Opened({"train": data}, "images", "")
    if isinstance(data, Data):
        return _Opened(data.parts, data.name, data.source)
    given, bad = read_readable(data if isinstance(data, str) else Path(data), on_error)
    return _Opened(given.parts, given.name, given.source, (*given.notes, *_left_out(bad)))


def without_damaged(chosen: Audited, progress: Report) -> Audited:
    """The images whose pixels can be decoded."""
    if chosen.images.paths is None:
        return chosen
    packed = pack(chosen.images, TINY, on_error="skip", progress=partial(progress, "Looking for damage"))
    names = set(packed.ids)
    kept = [i for i, id in enumerate(chosen.images.ids) if id in names]
    notes = (*chosen.notes, *_left_out(packed.skipped))
    return chosen._replace(images=chosen.images.subset(kept), notes=notes)


def _left_out(bad: Sequence[BadImage]) -> list[str]:
    if not bad:
        return []
    are = f"{counted(len(bad), 'image')} cannot be read and {'is' if len(bad) == 1 else 'are'} left out"
    return [f"{are}; the first is {bad[0]}; `classicnets check` lists all"]
