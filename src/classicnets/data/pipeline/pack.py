"""`pack`: decode and resize every image once, so that no epoch has to decode a file.

The result is one uint8 tensor. A small tensor is kept in memory. A large one is a file in the cache, mapped into
memory; the next run finds it again. `CLASSICNETS_CACHE_GIB` limits the size of the cache (default: 20 GiB).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from classicnets.data.imageset import Data, ImageSet, OnError, cannot_be_read
from classicnets.data.words import listed
from classicnets.errors import BadImage, DataError, StorageError
from classicnets.images import pixel_limit
from classicnets.preprocess import Preprocess
from classicnets.system.cache import cache_dir, make_room, mark_used
from classicnets.system.storage import written_aside
from classicnets.system.threads import in_threads

MEMORY_LIMIT = 512 * 1024 * 1024
"""Packed sets of more bytes than this are kept in the cache and mapped into memory."""

_CHUNK = 64  # images in one task of a thread
_LAYOUT = 3  # version of the files in the cache; increase it when they, or the result of `read`, change


@dataclass(frozen=True, eq=False)
class Packed:
    """Images ready for `Preprocess.normalize`.

    Attributes:
        images: uint8 (N, channels, H, W), in memory or mapped into it.
        labels: int64 (N,).
        ids: N names, as in the ImageSet.
        num_classes: K, the number of classes of the ImageSet; labels are 0..K-1.
        skipped: the images of the set that are left out because they cannot be decoded.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    num_classes: int
    skipped: tuple[BadImage, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class PackedData:
    """All images of a run, packed. `data` is their source without the images that could not be decoded."""

    train: Packed
    val: Packed
    test: Packed | None
    data: Data


def default_cache() -> Path:
    """The folder for packed images."""
    return cache_dir() / "packed"


def pack(
    images: ImageSet,
    preprocess: Preprocess,
    *,
    on_error: OnError = "fail",
    workers: int | None = None,
    cache: Path | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Decode and resize every image, in the order of the set: `preprocess.read` for files, `geometry` for tensors.

    The result is the same bit for bit in memory and in the cache, packed now or found there.

    Args:
        images: the N images.
        preprocess: the input size, the number of channels and how images are resized.
        on_error: what to do with images that cannot be decoded: "fail" raises DataError, "skip" leaves them out.
        workers: the number of threads; None is one per core.
        cache: the folder for large sets; None is `default_cache()`.
        memory_limit: sets of more bytes than this are kept in the cache.
        progress: called with the number of images done and the number of all.

    Raises:
        DataError: images cannot be decoded (the message names them), or none is left.
        StorageError: the cache cannot be written.

    >>> from classicnets.data import load_data
    >>> pack(load_data("digits").val, Preprocess(input_size=(8, 8), mean=(0.5,), std=(0.5,))).images.shape
    torch.Size([179, 1, 8, 8])
    """
    shape = (len(images), preprocess.channels, *preprocess.input_size)

    def fill(out: Tensor) -> dict[int, BadImage]:
        return _fill(out, images, preprocess, workers, progress)

    if math.prod(shape) <= memory_limit:
        pixels = torch.empty(shape, dtype=torch.uint8)
        bad = fill(pixels)
    else:
        pixels, bad = _from_cache(cache or default_cache(), _key(images, preprocess), shape, fill)
    if bad and on_error == "fail":
        raise cannot_be_read(tuple(bad.values()), len(images))
    if len(bad) == len(images):
        raise DataError(f"None of the {len(images)} images can be read. The first: {next(iter(bad.values()))}.")
    kept = images.subset([i for i in range(len(images)) if i not in bad]) if bad else images
    return Packed(pixels[: len(kept)], kept.labels, kept.ids, len(kept.classes), tuple(bad.values()))


def pack_data(
    data: Data,
    preprocess: Preprocess | Mapping[str, Preprocess],
    *,
    workers: int | None = None,
    cache: Path | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: Callable[[str, int, int], None] | None = None,
) -> PackedData:
    """Pack all parts of a run before the training starts.

    Args:
        data: the parts; its `on_error` decides what happens to images that cannot be decoded. Images that are left out
            are in the result's `data.skipped`, and nowhere else in the result.
        preprocess: one for all parts, or one for each of "train", "val" and "test".
        workers: the number of threads; None is one per core.
        cache: the folder for large parts; None is `default_cache()`.
        memory_limit: parts of more bytes than this are kept in the cache.
        progress: called with the name of the part, the number of its images done and the number of all.

    Raises:
        DataError: images cannot be decoded and `data.on_error` is "fail" (the message names them), or a class has no
            training image left.
        StorageError: the cache cannot be written.
    """
    packed = {
        part: pack(
            images,
            preprocess if isinstance(preprocess, Preprocess) else preprocess[part],
            on_error="skip",
            workers=workers,
            cache=cache,
            memory_limit=memory_limit,
            progress=partial(progress, part) if progress else None,
        )
        for part, images in data.parts.items()
    }
    bad = tuple(image for part in packed.values() for image in part.skipped)
    if bad and data.on_error == "fail":
        raise cannot_be_read(bad, sum(map(len, data.parts.values())))
    names = {image.name for image in bad}
    left = {
        part: images.subset([i for i, name in enumerate(images.ids) if name not in names]) if names else images
        for part, images in data.parts.items()
    }
    gone = [name for name, count in left["train"].counts().items() if count == 0]
    if bad and gone:
        raise DataError(f"No training image of {listed(gone)} can be read. Add images, or remove the class.")
    data = replace(data, train=left["train"], val=left["val"], test=left.get("test"), skipped=data.skipped + bad)
    return PackedData(packed["train"], packed["val"], packed.get("test"), data)


class ChannelStats(NamedTuple):
    """The mean and standard deviation of each channel, for pixel values in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_stats(packed: Packed, *, most: int = 10_000) -> ChannelStats:
    """Measure the mean and deviation of the images, for `Preprocess`, on at most `most` of them, always the same."""
    chosen = torch.arange(0, len(packed), max(1, math.ceil(len(packed) / most)))
    total = torch.zeros(packed.images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for some in torch.split(chosen, 256):
        values = packed.images[some].double().div_(255)
        total += values.mean((0, 2, 3)) * len(some)
        squares += values.square().mean((0, 2, 3)) * len(some)
    mean = total / len(chosen)
    std = (
        (squares / len(chosen) - mean.square()).clamp_(min=0).sqrt_().clamp_(min=1 / 255)
    )  # blank images: never divide by 0
    return ChannelStats(tuple(mean.tolist()), tuple(std.tolist()))


def _fill(
    out: Tensor,
    images: ImageSet,
    preprocess: Preprocess,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> dict[int, BadImage]:
    """Write the images to the first rows of `out`, in order; returns those that cannot be decoded, by index."""

    def work(start: int) -> dict[int, BadImage]:
        rows = range(start, min(start + _CHUNK, len(images)))
        if images.images is not None:
            out[rows.start : rows.stop] = preprocess.geometry(images.images[rows.start : rows.stop])
            return {}
        assert images.paths is not None
        bad = {}
        for i in rows:
            try:
                out[i] = preprocess.read(images.paths[i], name=images.ids[i])
            except BadImage as error:
                bad[i] = error
        return bad

    bad: dict[int, BadImage] = {}
    starts = range(0, len(images), _CHUNK)
    for start, found in zip(starts, in_threads(work, starts, workers=workers, chunk=1), strict=True):
        bad |= found
        if progress:
            progress(min(start + _CHUNK, len(images)), len(images))
    if bad:
        for row, i in enumerate(i for i in range(len(images)) if i not in bad):
            out[row] = out[i]
    return bad


def _key(images: ImageSet, preprocess: Preprocess) -> str:
    """A name that changes whenever the packed bytes could change."""
    settings = preprocess.to_dict()
    geometry = [settings[name] for name in ("input_size", "resize", "crop_fraction", "interpolation")]
    decoders = [version(name) for name in ("torch", "torchvision", "pillow", "simplejpeg")]
    # ctime, unlike mtime, cannot be set back when files are unpacked or copied.
    changes = [state.st_ctime_ns for state in images.file_states()]
    files = [str(path.absolute()) for path in images.paths or ()]
    limits = [preprocess.bit_depth, pixel_limit()]
    parts = [_LAYOUT, images.fingerprint(), preprocess.channels, geometry, limits, decoders, files, changes]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _from_cache(
    folder: Path, key: str, shape: tuple[int, ...], fill: Callable[[Tensor], dict[int, BadImage]]
) -> tuple[Tensor, dict[int, BadImage]]:
    """The pixels that `fill` writes and its result, from the file `key` in `folder`, which is made if it is missing."""
    pixels, notes = folder / f"{key}.uint8", folder / f"{key}.json"
    size = math.prod(shape)
    try:
        # The notes are written last: if they exist, the pixels are complete.
        if not (notes.exists() and pixels.exists() and pixels.stat().st_size == size):
            folder.mkdir(parents=True, exist_ok=True)
            make_room(folder, size)
            with written_aside(pixels) as new:
                _reserve(new, size)
                mapped = np.memmap(new, np.uint8, "r+", shape=shape)
                bad = fill(torch.from_numpy(mapped))
                mapped.flush()
            with written_aside(notes) as new:
                new.write_text(json.dumps([(i, image.name, image.reason) for i, image in bad.items()]))
        mark_used(notes)
        skipped = {int(i): BadImage(name, reason) for i, name, reason in json.loads(notes.read_text())}
        # Copy on write: PyTorch needs writable memory, and the file must not change.
        return torch.from_numpy(np.memmap(pixels, np.uint8, "c", shape=shape)), skipped
    except (OSError, StorageError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        raise StorageError(
            f"Cannot keep {size / 2**20:,.0f} MiB of packed images in {folder}: {getattr(reason, 'strerror', reason)}. "
            f"Free some space, or set CLASSICNETS_CACHE to another folder."
        ) from error


def _reserve(path: Path, size: int) -> None:
    """Make a file of that size and reserve its space: writing to a mapped file on a full disk kills the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
