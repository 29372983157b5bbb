"""images.csv of a run: which image was in which part, recognisable after the images have moved.

    part,id,label,key
    train,cat/001.jpg,cat,48213-5c0d...

The key is the content's size and a hash of it. So an image is found again under another path, and an image that a
classifier was trained on is found in another set.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from classicnets.data.imageset import Data, ImageSet
from classicnets.errors import DataError
from classicnets.images import as_array
from classicnets.system.storage import written_aside
from classicnets.system.threads import in_threads

_END = 64 * 1024


class Recorded(NamedTuple):
    """One image of a run.

    Attributes:
        part: "train", "val" or "test".
        id: the image's name in its source.
        label: the name of its class.
        key: what identifies its content; empty if it could not be read.
    """

    part: str
    id: str
    label: str
    key: str


def write_record(path: str | Path, data: Data) -> None:
    """Write images.csv: one row per image of each part. Reads at most 128 KiB of each file, in threads.

    Args:
        path: the file, usually `RUN/images.csv`; replaced if it exists.
        data: what the run trains on.

    Raises StorageError if the disk refuses. An image that cannot be read gets an empty key.

    Example:
        >>> write_record("runs/birds/images.csv", load_data("birds/"))  # doctest: +SKIP
    """
    with written_aside(path) as new, new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Recorded._fields)
        for part, images in data.parts.items():
            writer.writerows(_rows(part, images))


def read_record(path: str | Path) -> list[Recorded]:
    """Read what `write_record` wrote, in its order.

    Args:
        path: the file, usually `RUN/images.csv`.

    Raises DataError if the file is missing or is not such a record.

    Example:
        >>> {row.part for row in read_record("runs/birds/images.csv")}  # doctest: +SKIP
        {'train', 'val', 'test'}
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            if tuple(next(rows, ())) != Recorded._fields:
                raise DataError(
                    f"{path} is not a record of images: its first line must be part,id,label,key. "
                    "Give the images.csv of a run."
                )
            return [Recorded(*row) for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as a record of images: {error}. Remove it to continue without a record."
        ) from None


def image_keys(images: ImageSet) -> Iterator[str]:
    """Yield the key of each image, in order; an empty one for a file that cannot be read."""
    return in_threads(partial(_key, images), range(len(images)))


def _rows(part: str, images: ImageSet) -> Iterable[Recorded]:
    labels: list[int] = images.labels.tolist()
    for id, label, key in zip(images.ids, labels, image_keys(images), strict=True):
        yield Recorded(part, id, images.classes[label], key)


def _key(images: ImageSet, index: int) -> str:
    """Size and hash of an image's pixels, or of the first and the last 64 KiB of its file."""
    if images.paths is None:
        pixels = as_array(images.image(index))
        return _named(pixels.nbytes, pixels.tobytes())
    try:
        with open(images.paths[index], "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(_END)
            if size > _END:
                file.seek(max(_END, size - _END))
                content += file.read(_END)
    except OSError:
        return ""
    return _named(size, content)


def _named(size: int, content: bytes) -> str:
    return f"{size}-{hashlib.blake2b(content, digest_size=16).hexdigest()}"
