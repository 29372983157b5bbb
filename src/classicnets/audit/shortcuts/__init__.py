"""`audit_shortcuts`: does something trivial predict the class?

images -> clues (file, pixels, table) -> a forest for each clue, judged on images it has not seen -> findings
"""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from classicnets.audit.images import all_images
from classicnets.audit.shortcuts.clue import Clue
from classicnets.audit.shortcuts.files import file_clues, written_clue
from classicnets.audit.shortcuts.finding import SIGNIFICANT, Finding, ShortcutAudit, Verdict
from classicnets.audit.shortcuts.judge import Halves, divide
from classicnets.audit.shortcuts.names import name_clues
from classicnets.audit.shortcuts.pixels import pixel_clues, pixel_numbers
from classicnets.audit.shortcuts.tables import table_clues
from classicnets.data.content import content_keys
from classicnets.data.imageset import Data, ImageSet
from classicnets.data.words import counted
from classicnets.errors import BadImage, DataError
from classicnets.evaluation.paired import holm
from classicnets.images import Metadata, read_bytes, read_image, read_metadata, read_state, reduction_to
from classicnets.system.progress import Report, no_report
from classicnets.system.threads import in_threads

__all__ = ["Finding", "ShortcutAudit", "Verdict", "audit_shortcuts"]

_MOST_IMAGES, _MOST_CLASSES, _OF_EACH = 3_000, 100, 10
_SIDE = 128  # pixels of the longer side at which a JPEG is decoded: enough for its brightness, colours and edges


def audit_shortcuts(
    data: str | os.PathLike[str] | Data | ImageSet, *, seed: int = 0, progress: Report = no_report
) -> ShortcutAudit:
    """Find out whether something trivial predicts the class, which a network may learn instead of the object.

    Looked at are, each by itself: the file's name, number, date and size; the image's size and aspect; format, JPEG
    quality, camera and software; brightness, colour and border; the group and the other columns of a table. A small
    forest learns each of these clues from half of the images and is judged on the other half, and the reverse. Images
    that are equal, or of one group, are in one half. Images in memory have pixels only.

    A clue is a *shortcut* if it predicts the class better than chance (permutation test, p at most 0.05 after Holm's
    correction for the number of clues) and by much: at least 40 % of the way from chance to certainty, or 60 % for
    pixels, which may show the object itself. A weaker one is a *trace*.

    No file is changed. Of large sets, 3,000 images of the 100 largest classes are looked at.

    Args:
        data: a source, as for `load_data`; what that returns; or an `ImageSet`. All parts are looked at together.
        seed: decides the sample, the halves, the forests and the permutations, 0 or more.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns a `ShortcutAudit`: `shortcuts` are the clues that predict the class; `save` writes a page with pictures.

    Raises DataError if there are no images of two classes that can be read.

    >>> audit_shortcuts(load_data("digits")).shortcuts
    ()
    """
    images, name, _, notes = all_images(data)
    images, more = _sampled(images, seed)
    looks, bad = _look_at(images, progress)
    left_out = [f"{counted(len(bad), 'damaged image')} left out; the first is {bad[0]}"] if bad else []
    images = images.subset([i for i, look in enumerate(looks) if look is not None])
    clues, reasons = _clues(images, [look for look in looks if look is not None])
    findings, not_judged = _judged(images, clues, seed, progress)
    return ShortcutAudit(name, images, findings, (*notes, *more, *left_out, *reasons, *not_judged))


class _Look(NamedTuple):
    """What is kept of an image; an image in memory has its pixels only."""

    pixels: np.ndarray
    metadata: Metadata | None = None
    size: int = 0
    written: float = 0.0


def _sampled(images: ImageSet, seed: int) -> tuple[ImageSet, list[str]]:
    """At most so many images of the largest classes that have two or more, and a note on what is left out."""
    labels = images.labels.numpy()
    counts = np.bincount(labels)
    largest = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label] > 1][:_MOST_CLASSES]
    notes = []
    if single := int((counts == 1).sum()):
        notes.append(f"left out the classes with a single image: {single:,}")
    if len(largest) < 2:
        raise DataError("Fewer than two classes have two images or more, so nothing can be compared. Add images.")
    if (counts > 1).sum() > len(largest):
        notes.append(f"of {(counts > 1).sum():,} classes, the {len(largest)} with the most images are looked at")
    most = max(_OF_EACH, _MOST_IMAGES // len(largest))
    random = np.random.default_rng([seed, 3])
    chosen = [random.permutation(np.flatnonzero(labels == label))[:most] for label in largest]
    kept = np.sort(np.concatenate(chosen))
    if len(kept) < counts[largest].sum():
        notes.append(f"of {counts[largest].sum():,} images, {len(kept):,} are looked at, at most {most:,} of a class")
    return images.subset(torch.from_numpy(kept)), notes


def _look_at(images: ImageSet, progress: Report) -> tuple[list[_Look | None], list[BadImage]]:
    """Open every image once, in order; None for one that is damaged."""
    looks: list[_Look | None] = []
    bad = []
    for look in in_threads(partial(_look, images), range(len(images)), chunk=16):
        if isinstance(look, BadImage):
            bad.append(look)
        looks.append(None if isinstance(look, BadImage) else look)
        progress("Looking at images", len(looks), len(images))
    return looks, bad


def _look(images: ImageSet, index: int) -> _Look | BadImage:
    if images.paths is None:
        return _Look(pixel_numbers(images.image(index)))
    path, name = images.paths[index], images.ids[index]
    try:
        state, content = read_state(path, name=name), read_bytes(path, name=name)
        pixels = read_image(content, name=name, reduction=reduction_to(_SIDE), bit_depth=images.bit_depth)
        return _Look(pixel_numbers(pixels), read_metadata(content, name=name), state.st_size, state.st_mtime)
    except BadImage as error:
        return error


def _clues(images: ImageSet, looks: list[_Look]) -> tuple[list[Clue], list[str]]:
    """All clues, and what was left out of them and why."""
    clues = pixel_clues([look.pixels for look in looks])
    metadata = [look.metadata for look in looks if look.metadata is not None]
    if not metadata:
        return clues, ["the images are in memory, so only their pixels were looked at: there are no files"]
    names, name_notes = name_clues(images.ids, images.labels.numpy(), images.classes)
    columns, column_notes = table_clues(images)
    clues += [*names, *file_clues(metadata, [look.size for look in looks]), *columns]
    written = written_clue([look.written for look in looks])
    if isinstance(written, str):
        return clues, [*name_notes, *column_notes, written]
    return [*clues, written], [*name_notes, *column_notes]


def _judged(images: ImageSet, clues: list[Clue], seed: int, progress: Report) -> tuple[tuple[Finding, ...], list[str]]:
    """Measure every clue and correct for their number, the strongest first; and notes on what cannot be measured."""
    labels, contents = images.labels.numpy(), content_keys(images)
    apart = divide(labels, [contents, *([images.groups] if images.groups else [])], seed)
    across = divide(labels, [contents], seed) if any(clue.crosses_groups for clue in clues) else None
    measured = []
    for number, clue in enumerate(clues):
        halves = across if clue.crosses_groups else apart
        if halves is not None:
            measured.append((clue, halves, halves.measure(clue)))
        progress("Judging clues", number + 1, len(clues))
    corrected = holm([one.p_value for _, _, one in measured])
    findings = [
        Finding(clue, one, halves.chance, p_value, halves.least_p * len(measured) <= SIGNIFICANT)
        for (clue, halves, one), p_value in zip(measured, corrected, strict=True)
    ]
    return tuple(sorted(findings, key=lambda finding: -finding.gain)), _apart_notes(labels, apart)


def _apart_notes(labels: np.ndarray, halves: Halves | None) -> list[str]:
    """A note on classes that cannot be in both halves."""
    whole = "all images of a class are copies of one another or in one group"
    if halves is None:
        return [f"{whole}, in all classes except one at most: clues cannot be judged on images that were not learned"]
    gone = len(np.unique(labels)) - len(np.unique(halves.labels))
    return [f"{whole} in {gone:,} of the classes, which are left out of the judging"] if gone else []
