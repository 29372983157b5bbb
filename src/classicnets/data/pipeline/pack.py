"""`pack`: decode and resize every image once, so that no epoch has to decode a file.

Every image gets the size of the network's input, and the result is one uint8 tensor. A small tensor is kept in memory.
A large one is a file in the cache, mapped into memory; the next run finds it again. `CLASSICNETS_CACHE_GIB` limits the
size of the cache (default: 20 GiB). Training photos that are cropped at random stay whole instead: see `photos.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.data.imageset import Data, ImageSet, OnError, cannot_be_read
from classicnets.data.pipeline.mapped import MEMORY_LIMIT, default_cache, in_cache, key_of
from classicnets.data.pipeline.photos import PackedPhotos, pack_photos
from classicnets.data.words import listed
from classicnets.errors import BadImage, DataError
from classicnets.preprocess import Preprocess
from classicnets.system.memory import in_huge_pages
from classicnets.system.threads import in_threads

_CHUNK = 64  # images in one task of a thread
_PHOTOS_MEASURED, _PIXELS_MEASURED = 2_000, 64  # whole photos for `channel_stats`, and pixels along a shorter side


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

    def pictures(self, indices: Tensor) -> Sequence[Tensor]:
        """Return the images at `indices`, int64 (B,): uint8 (channels, H, W) each."""
        return self.images.index_select(0, indices).unbind()


@dataclass(frozen=True, eq=False)
class PackedData:
    """All images of a run, packed. `data` is their source without the images that could not be decoded.

    The training images are whole photos if their random crops come from any place.
    """

    train: Packed | PackedPhotos
    val: Packed
    test: Packed | None
    data: Data


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

    def fill_file(out: Tensor) -> list[tuple[int, str, str]]:
        return [(i, image.name, image.reason) for i, image in fill(out.view(shape)).items()]

    if math.prod(shape) <= memory_limit:
        pixels = in_huge_pages(torch.empty(shape, dtype=torch.uint8))
        bad = fill(pixels)
    else:
        settings = preprocess.to_dict()
        geometry = [settings[name] for name in ("input_size", "resize", "crop_fraction", "interpolation")]
        key = key_of(images, preprocess, geometry)
        mapped, notes = in_cache(cache or default_cache(), key, math.prod(shape), fill_file)
        pixels, bad = mapped.view(shape), {int(i): BadImage(name, reason) for i, name, reason in notes}
    if bad and on_error == "fail":
        raise cannot_be_read(tuple(bad.values()), len(images))
    if len(bad) == len(images):
        raise DataError(f"None of the {len(images)} images can be read. The first: {next(iter(bad.values()))}.")
    kept = images.subset([i for i in range(len(images)) if i not in bad]) if bad else images
    labels = torch.as_tensor(kept.labels)
    return Packed(pixels[: len(kept)], labels, kept.ids, len(kept.classes), tuple(bad.values()))


def pack_data(
    data: Data,
    preprocess: Preprocess | Mapping[str, Preprocess],
    *,
    photo_side: int | None = None,
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
        photo_side: keep the training images whole, with a shorter side of at most this many pixels (`pack_photos`);
            None gives them the size of the network's input.
        workers: the number of threads; None is one per core.
        cache: the folder for large parts; None is `default_cache()`.
        memory_limit: parts of more bytes than this are kept in the cache.
        progress: called with the name of the part, the number of its images done and the number of all.

    Raises:
        DataError: images cannot be decoded and `data.on_error` is "fail" (the message names them), or a class has no
            training image left.
        StorageError: the cache cannot be written.
    """
    preprocesses = dict.fromkeys(data.parts, preprocess) if isinstance(preprocess, Preprocess) else preprocess

    def packed(part: str) -> Packed:
        return pack(
            data.parts[part],
            preprocesses[part],
            on_error="skip",
            workers=workers,
            cache=cache,
            memory_limit=memory_limit,
            progress=partial(progress, part) if progress else None,
        )

    train: Packed | PackedPhotos
    if photo_side is None:
        train = packed("train")
    else:
        train = pack_photos(
            data.train,
            preprocesses["train"],
            photo_side,
            on_error="skip",
            workers=workers,
            cache=cache,
            memory_limit=memory_limit,
            progress=partial(progress, "train") if progress else None,
        )
    val = packed("val")
    test = packed("test") if data.test is not None else None
    parts = (train, val) if test is None else (train, val, test)
    bad = tuple(image for part in parts for image in part.skipped)
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
    return PackedData(train, val, test, data)


class ChannelStats(NamedTuple):
    """The mean and standard deviation of each channel, for pixel values in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_stats(packed: Packed | PackedPhotos, *, most: int = 10_000) -> ChannelStats:
    """Measure the mean and deviation of the images, for `Preprocess`, on at most `most` of them, always the same.

    Each photo counts equally, whatever its size. Of 2,000 photos at most, every so many pixels are measured.
    """
    if isinstance(packed, PackedPhotos):
        most = min(most, _PHOTOS_MEASURED)
    chosen = torch.arange(0, len(packed), max(1, math.ceil(len(packed) / most)))
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    for some in torch.split(chosen, 256):
        for values in _measured(packed, some):
            total += values.mean((0, 2, 3)) * len(values)
            squares += values.square().mean((0, 2, 3)) * len(values)
    mean = torch.as_tensor(total) / len(chosen)
    variance = torch.as_tensor(squares) / len(chosen) - mean.square()
    std = variance.clamp_(min=0).sqrt_().clamp_(min=1 / 255)  # blank images: never divide by 0
    return ChannelStats(tuple(mean.tolist()), tuple(std.tolist()))


def _measured(packed: Packed | PackedPhotos, indices: Tensor) -> Iterator[Tensor]:
    """The values of the images at `indices`, float64 (B, channels, H, W) in 0..1, in one batch if they are packed."""
    if isinstance(packed, Packed):
        yield packed.images[indices].double().div_(255)
        return
    for photo in packed.pictures(indices):
        step = max(1, min(photo.shape[1:]) // _PIXELS_MEASURED)
        yield photo[None, :, ::step, ::step].double().div_(255)


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
            out[rows.start : rows.stop] = torch.as_tensor(preprocess.geometry(images.images[rows.start : rows.stop]))
            return {}
        assert images.paths is not None
        bad = {}
        for i in rows:
            try:
                out[i] = torch.from_numpy(preprocess.read(images.paths[i], name=images.ids[i]))
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
