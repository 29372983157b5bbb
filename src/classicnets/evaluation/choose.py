"""Which images to evaluate on: those that the classifier's own data keeps apart, or others that the user names."""

from __future__ import annotations

from typing import NamedTuple

import torch

from classicnets.classifier import Classifier
from classicnets.data.imageset import ImageSet, OnError, cannot_be_read
from classicnets.data.load import load_data, read_source
from classicnets.errors import ConfigError, DataError

PARTS = {"test": "test", "val": "validation", "train": "training", "all": ""}
"""The parts of data that can be asked for, and what a report calls them."""


class Chosen(NamedTuple):
    """Images to evaluate on, what to call them, what to do about damaged ones, and what the user should know.

    `is_own` says that they are what the classifier's training kept apart for this: its test images, or its validation
    images where it has none.
    """

    images: ImageSet
    name: str
    on_error: OnError
    is_own: bool
    notes: tuple[str, ...] = ()


def own_images(classifier: Classifier, part: str | None = None) -> Chosen:
    """Images of the data that the classifier was trained on, divided as they were then.

    `part` None is the test images, or the validation images where there are no others.
    Raises ConfigError where the classifier does not say what it was trained on, DataError where that has gone.
    """
    record = classifier.provenance.get("data", {})
    try:
        data = load_data(
            record["source"],
            seed=record["split_seed"],
            val_fraction=record["val_fraction"],
            test_fraction=record["test_fraction"],
            on_error=record["on_error"],
        )
    except (KeyError, TypeError):
        raise ConfigError(
            "This classifier does not record what it was trained on. Name the images: `classicnets evaluate RUN DATA`."
        ) from None
    best = "test" if data.test is not None else "val"
    part = part or best
    notes = []
    if data.on_error == "fail" and data.fingerprint() != record.get("fingerprint"):
        notes.append("The data has changed since the training: what is test now may have been training images then.")
    if part == "all":
        images = joined(tuple(data.parts.values()))
    elif part in data.parts:
        images = data.parts[part]
    else:
        raise DataError(f"{data.name} has no {part} images. It has {', '.join(data.parts)}; choose with --split.")
    return Chosen(images, f"{data.name} {PARTS[part]}".strip(), data.on_error, part == best, tuple(notes))


def given_images(source: str, part: str | None = None, *, on_error: OnError = "fail") -> Chosen:
    """Images of any source that `load_data` takes, in the parts that it comes in; none are split off.

    `part` None is the test images where the source has some, else all. Raises DataError.
    """
    given = read_source(source)
    if given.missing and on_error == "fail":
        raise cannot_be_read(given.missing, sum(map(len, given.parts.values())) + len(given.missing))
    part = part or ("test" if given.test is not None else "all")
    if part == "all":
        images = joined(tuple(given.parts.values()))
    elif part in given.parts and len(given.parts) > 1:
        images = given.parts[part]
    else:
        raise DataError(
            f"{given.source} does not come with {part} images. It has {', '.join(given.parts)}; "
            f"leave --split away to evaluate on all."
            if len(given.parts) > 1
            else f"{given.source} is not divided into parts. Leave --split away to evaluate on all of it."
        )
    return Chosen(images, f"{given.name} {PARTS[part]}".strip(), on_error, is_own=False)


def joined(parts: tuple[ImageSet, ...]) -> ImageSet:
    """Sets of one source, with the same classes, as one set."""
    first = parts[0]
    return ImageSet(
        classes=first.classes,
        labels=torch.cat([part.labels for part in parts]),
        ids=tuple(id for part in parts for id in part.ids),
        images=None if first.images is None else torch.cat([p.images for p in parts if p.images is not None]),
        paths=None if first.paths is None else tuple(path for part in parts for path in part.paths or ()),
    )
