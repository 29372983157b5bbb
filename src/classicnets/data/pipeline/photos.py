"""`pack_photos`: keep training photos whole, so that random crops come from any place of the picture.

A photo keeps its aspect. Its shorter side shrinks to what the crops need (`Augment.photo_side`) and never grows. The
photos are kept in one of three places, and give the same pixels from each:

- in memory, if they are small together;
- in the cache, mapped into memory, up to its limit (`CLASSICNETS_CACHE_GIB`);
- beyond that, or if the cache cannot be written, in their own files, which threads decode in every epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.data.imageset import ImageSet, OnError, cannot_be_read
from classicnets.data.pipeline.mapped import MEMORY_LIMIT, default_cache, in_cache, key_of
from classicnets.data.words import in_bytes
from classicnets.errors import BadImage, DataError, StorageError
from classicnets.images import image_size, read_pixels, read_state, within_limit
from classicnets.preprocess import Preprocess
from classicnets.system.cache import packed_limit
from classicnets.system.memory import in_huge_pages
from classicnets.system.threads import in_threads

_CHUNK = 8  # photos in one task of a thread
_REPORT = 64  # photos between two reports of progress

_Bad = tuple[int, str, str]
"""The index of a photo that cannot be decoded, its name, and the reason."""


class Size(NamedTuple):
    """Of a photo, in pixels."""

    height: int
    width: int


@dataclass(frozen=True, eq=False)
class PackedPhotos:
    """Whole photos of many shapes, ready to be cropped.

    Attributes:
        read: returns the photo at an index, uint8 (channels, H, W), in channels-last memory.
        labels: int64 (N,).
        ids: N names, as in the ImageSet.
        num_classes: K, the number of classes of the ImageSet; labels are 0..K-1.
        note: a sentence on where the photos are kept, how large they are, and why.
        workers: threads that read the photos of a batch; 0 for photos that need no decoding.
        skipped: the photos of the set that are left out because they cannot be decoded.
    """

    read: Callable[[int], Tensor]
    labels: Tensor
    ids: tuple[str, ...]
    num_classes: int
    note: str
    workers: int | None = 0
    skipped: tuple[BadImage, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def pictures(self, indices: Tensor) -> Sequence[Tensor]:
        """Return the photos at `indices`, int64 (B,): uint8 (channels, H, W) each.

        Raises DataError if a file has changed or cannot be decoded any more.
        """
        places: list[int] = indices.tolist()
        if self.workers == 0:
            return [self.read(i) for i in places]
        return list(in_threads(self.read, places, workers=self.workers, chunk=_CHUNK))


def pack_photos(
    images: ImageSet,
    preprocess: Preprocess,
    side: int,
    *,
    on_error: OnError = "fail",
    workers: int | None = None,
    cache: Path | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> PackedPhotos:
    """Decode every photo once and keep it whole, or find that it can be decoded.

    Args:
        images: the N photos.
        preprocess: the number of channels and the bit depth; its other settings do not matter.
        side: the shorter side of a kept photo, in pixels. A smaller photo keeps its size.
        on_error: what to do with photos that cannot be decoded: "fail" raises DataError, "skip" leaves them out.
        workers: the number of threads; None is one per core.
        cache: the folder for large sets; None is `default_cache()`.
        memory_limit: sets of more bytes than this are kept in the cache.
        progress: called with the number of photos done and the number of all.

    Raises:
        DataError: photos cannot be decoded (the message names them), or none is left.

    >>> from classicnets.data import load_data
    >>> preprocess = Preprocess(input_size=(8, 8), mean=(0.5,), std=(0.5,))
    >>> pack_photos(load_data("digits").val, preprocess, 8).pictures(torch.tensor([0]))[0].shape
    torch.Size([1, 8, 8])
    """
    sizes = list(in_threads(partial(_size, images, side), range(len(images)), workers=workers))
    ends = [0, *accumulate(preprocess.channels * size.height * size.width for size in sizes)]
    reader = _Reader(images, preprocess, sizes)

    def fill(pixels: Tensor | None) -> list[_Bad]:
        return _read_all(reader, pixels, ends, workers, progress)

    def key() -> str:
        return key_of(images, preprocess, ["whole", side])

    pixels, notes, where = _kept(ends[-1], fill, key, cache or default_cache(), memory_limit)
    bad = {int(i): BadImage(name, reason) for i, name, reason in notes}
    if bad and on_error == "fail":
        raise cannot_be_read(tuple(bad.values()), len(images))
    if len(bad) == len(images):
        raise DataError(f"None of the {len(images)} images can be read. The first: {next(iter(bad.values()))}.")
    left = [i for i in range(len(images)) if i not in bad]
    good = images.subset(left) if bad else images
    sizes = [sizes[i] for i in left]
    read: Callable[[int], Tensor]
    if pixels is None:
        read = _Unchanged.of(_Reader(good, preprocess, sizes))
    else:
        read = _View(pixels, [ends[i] for i in left], sizes, preprocess.channels)
    return PackedPhotos(
        read=read,
        labels=good.labels,
        ids=good.ids,
        num_classes=len(good.classes),
        note=f"{len(good):,} training photos are whole, with a shorter side of up to {side} pixels: {where}",
        workers=workers if pixels is None else 0,
        skipped=tuple(bad.values()),
    )


def _kept(
    size: int, fill: Callable[[Tensor | None], list[_Bad]], key: Callable[[], str], folder: Path, memory_limit: int
) -> tuple[Tensor | None, list[_Bad], str]:
    """The pixels, or None if files are decoded in every epoch; what cannot be read; where they are kept, and why."""
    if size <= memory_limit:
        pixels = in_huge_pages(torch.empty(size, dtype=torch.uint8))
        return pixels, fill(pixels), f"{in_bytes(size)} in memory, where up to {in_bytes(memory_limit)} are kept"
    if size > packed_limit():
        limit = f"the cache's limit of {in_bytes(packed_limit())} (CLASSICNETS_CACHE_GIB)"
        return None, fill(None), f"decoded in every epoch, because {in_bytes(size)} are above {limit}"
    try:
        mapped, notes = in_cache(folder, key(), size, fill)
    except StorageError as error:
        return None, fill(None), f"decoded in every epoch. {error}"
    return mapped, notes, f"{in_bytes(size)} in {folder}, because that is above {in_bytes(memory_limit)}"


def _read_all(
    reader: _Reader,
    pixels: Tensor | None,
    ends: Sequence[int],
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[_Bad]:
    """Read every photo, and write it to its place in `pixels` if there are any; returns those that cannot be read."""

    def work(index: int) -> _Bad | None:
        try:
            photo = reader(index)
        except BadImage as error:
            return index, error.name, error.reason
        if pixels is not None:
            pixels[ends[index] : ends[index + 1]] = photo.permute(1, 2, 0).flatten()
        return None

    total = len(reader.sizes)
    bad = []
    for done, problem in enumerate(in_threads(work, range(total), workers=workers, chunk=_CHUNK), start=1):
        if problem:
            bad.append(problem)
        if progress and (done % _REPORT == 0 or done == total):
            progress(done, total)
    return bad


def _size(images: ImageSet, side: int, index: int) -> Size:
    """The size that a photo is kept at, from its header; nothing for one that has none."""
    if images.paths is None:
        height, width = images.image(index).shape[1:]
    else:
        try:
            height, width = image_size(images.paths[index], name=images.ids[index])
        except BadImage:  # reading it finds the same problem
            return Size(0, 0)
    scale = min(1.0, side / min(height, width))
    return Size(max(1, round(height * scale)), max(1, round(width * scale)))


@dataclass(frozen=True)
class _View:
    """Returns photos from the buffer that holds all of them, one after another, each (H, W, channels)."""

    pixels: Tensor
    starts: Sequence[int]
    sizes: Sequence[Size]
    channels: int

    def __call__(self, index: int) -> Tensor:
        (height, width), start = self.sizes[index], self.starts[index]
        flat = self.pixels[start : start + height * width * self.channels]
        return flat.view(height, width, self.channels).permute(2, 0, 1)


@dataclass(frozen=True)
class _Reader:
    """Decodes photos from their files, at a reduced scale if that is enough, and resizes them to `sizes`."""

    images: ImageSet
    preprocess: Preprocess
    sizes: Sequence[Size]

    def __call__(self, index: int) -> Tensor:
        """uint8 (channels, H, W), channels-last. Raises BadImage."""
        name, size = self.images.ids[index], self.sizes[index]
        if self.images.paths is None:
            pixels = self.images.image(index).numpy()
        else:
            enough = partial(_reduction, size)
            bit_depth = self.preprocess.bit_depth
            pixels = read_pixels(self.images.paths[index], name=name, reduction=enough, bit_depth=bit_depth)
        try:
            pixels = self.preprocess.converted(pixels)
        except DataError as error:
            raise BadImage(name, str(error)) from None
        rows = torch.from_numpy(pixels).expand(self.preprocess.channels, -1, -1).permute(1, 2, 0)[None]
        photo = rows.contiguous().permute(0, 3, 1, 2)  # channels-last is several times as fast to resize
        return (
            photo[0]
            if tuple(photo.shape[2:]) == tuple(size)
            else F.interpolate(photo, size, mode="bilinear", antialias=True)[0]
        )


@dataclass(frozen=True)
class _Unchanged:
    """Decodes photos in every epoch, from files that must stay as they were at the start."""

    reader: _Reader
    states: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, reader: _Reader) -> _Unchanged:
        return cls(reader, [_state(state) for state in reader.images.file_states()])

    def __call__(self, index: int) -> Tensor:
        images = self.reader.images
        if images.paths is None:
            return self.reader(index)
        name = images.ids[index]
        try:
            changed = _state(read_state(images.paths[index], name=name)) != self.states[index]
            photo = self.reader(index)
        except BadImage as error:
            problem = str(error)
        else:
            if not changed:
                return photo
            problem = f"{name}: the file has changed since the run began"
        raise DataError(
            f"{problem}. The run decodes its photos in every epoch, so their files must stay as they were when it "
            f"began: put the file back and resume the run, or start a new one."
        )


def _state(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _reduction(size: Size, height: int, width: int) -> int:
    """How many times smaller a JPEG of that height and width is decoded, for a photo that is kept at `size`."""
    for factor in (8, 4, 2):
        if height >= factor * size.height and width >= factor * size.width:
            return factor
    return within_limit(height, width)
