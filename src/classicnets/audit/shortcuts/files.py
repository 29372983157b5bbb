"""Clues in files: their dates and sizes, the size of the image, the settings of the encoder, the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from classicnets.audit.shortcuts.clue import Clue, Feature, flags, varies
from classicnets.images import Metadata

_DAY = 86_400.0
_SAVE_AGAIN = "Save all images again with one program, in one format and at one quality, then audit again."
_OTHER_SOURCE = (
    "The classes seem to come from different sources. Collect each class from all sources, and test on images of a "
    "source that no class was learned from."
)


def file_clues(metadata: Sequence[Metadata], sizes: Sequence[int]) -> list[Clue]:
    """Return what the headers of N files say.

    Args:
        metadata: of each file.
        sizes: of each file, in bytes.
    """
    bytes_ = np.array(sizes, dtype=float)
    heights = np.array([float(one.height) for one in metadata])
    widths = np.array([float(one.width) for one in metadata])
    clues = [
        _size(heights, widths, np.array([float(one.orientation) for one in metadata])),
        _bytes(bytes_, heights * widths),
        _format(metadata),
        _jpeg(metadata),
        _camera(metadata),
        _taken(metadata),
    ]
    return [clue for clue in clues if clue.features]


def written_clue(times: Sequence[float]) -> Clue | str:
    """Return the clue in the times at which N files were last written, in seconds; or why they say nothing.

    Files that were all written on one day were copied or unpacked then.
    """
    days = np.array(times) / _DAY
    if np.ptp(days) < 1:
        date = datetime.fromtimestamp(max(times), UTC).date()
        return f"all files were written within a day ({date}), as copying or unpacking does: their dates say nothing"
    return Clue(
        "date of the file", "file", False, (Feature("day on which the file was written", days.round(1), "date"),),
        "A network does not see dates, but the files of the classes were written at different times: if they also came "
        "from different sources, a network may learn these. Ignore this if you only copied class after class.",
    )  # fmt: skip


def _size(heights: np.ndarray, widths: np.ndarray, orientation: np.ndarray) -> Clue:
    features = (
        Feature("width", widths, "pixels"),
        Feature("height", heights, "pixels"),
        Feature("width over height", (widths / heights).round(4)),
        Feature("EXIF orientation", orientation),
    )
    return Clue(
        "image size", "file", True, varies(features),
        "After resizing, a network sees the size as sharpness and the aspect as distortion. Crop and resize the images "
        "of all classes to one size before training, or collect all classes at the same sizes.",
    )  # fmt: skip


def _bytes(sizes: np.ndarray, pixels: np.ndarray) -> Clue:
    features = (
        Feature("file size", sizes, "bytes"),
        Feature("bytes per pixel", (sizes / pixels).round(4)),
    )
    return Clue(
        "file size", "file", False, varies(features),
        "The size of a file follows from the size of the image, the encoder's quality and how busy the picture is. "
        f"Look at the first two first; if they differ between classes: {_SAVE_AGAIN[0].lower()}{_SAVE_AGAIN[1:]}",
    )  # fmt: skip


def _format(metadata: Sequence[Metadata]) -> Clue:
    features = (
        *flags("the format is {}", [one.format for one in metadata]),
        *flags("the colours are {}", [one.mode for one in metadata]),
    )
    return Clue("format and colours", "file", True, varies(features), _SAVE_AGAIN)


def _jpeg(metadata: Sequence[Metadata]) -> Clue:
    first = [one.tables[0] if one.tables else math.nan for one in metadata]
    second = [one.tables[1] if len(one.tables) > 1 else math.nan for one in metadata]
    features = (
        Feature("JPEG quality", np.array([math.nan if one.quality is None else one.quality for one in metadata])),
        Feature("mean of the quantisation table for brightness", np.array(first)),
        Feature("mean of the quantisation table for colour", np.array(second)),
        *flags("the JPEG's colours are stored as {}", [one.sampling for one in metadata]),
        Feature("progressive JPEG", np.array([float(one.is_progressive) for one in metadata]), is_flag=True),
    )
    return Clue("JPEG quality", "file", True, varies(features), _SAVE_AGAIN)


def _camera(metadata: Sequence[Metadata]) -> Clue:
    density = [math.nan if one.density is None else one.density for one in metadata]
    features = (
        *flags("the camera is {}", [one.camera for one in metadata]),
        *flags("the software is {}", [one.software for one in metadata]),
        Feature("EXIF data", np.array([float(one.has_exif) for one in metadata]), is_flag=True),
        Feature("colour profile", np.array([float(one.has_profile) for one in metadata]), is_flag=True),
        Feature("density", np.array(density), "dots per inch"),
    )
    return Clue("camera and software", "file", False, varies(features), _OTHER_SOURCE)


def _taken(metadata: Sequence[Metadata]) -> Clue:
    days = [math.nan if one.taken is None else one.taken.replace(tzinfo=UTC).timestamp() / _DAY for one in metadata]
    hours = [math.nan if one.taken is None else one.taken.hour + one.taken.minute / 60 for one in metadata]
    features = (
        Feature("day on which the photo was taken", np.array(days), "date"),
        Feature("hour at which the photo was taken", np.array(hours).round(2), "o'clock"),
    )
    return Clue(
        "date of the photo", "file", False, varies(features),
        "The classes were photographed at different times: light, weather and background may have changed with them. "
        "Test on images of another day, and photograph all classes on each day.",
    )  # fmt: skip
