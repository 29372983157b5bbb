"""Batches of an epoch, made from packed images: the order and every change are a function of (seed, epoch, index).

    order, draws, pixels (CPU, in threads) -> augmentation, normalisation, mixing (on the device) -> Batch

On a GPU, the second half runs on a stream of its own, one batch ahead, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.data.pipeline import crops, mixing, random
from classicnets.data.pipeline.augment import Augment, alter, augment, draw
from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.photos import PackedPhotos
from classicnets.preprocess import Preprocess
from classicnets.system.streams import in_threads_ahead, on_side_stream, pinned, sent
from classicnets.system.threads import usable_cores

_CPU = torch.device("cpu")
_MOST_WORKERS = 8  # threads that make pixels for a GPU if the recipe asks for none


class Batch(NamedTuple):
    """Network input (B, C, H, W), normalised and channels-last; labels int64 (B,); indices int64 (B,) in the set.

    `targets` are what the loss compares with: the labels, or probabilities float32 (B, K) where images are mixed; then
    `labels` and `indices` are of the image that each is mixed into, whatever its share: an accuracy that is counted
    with them is lower than on whole images.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor
    indices: Tensor

    def on(self, device: torch.device) -> Batch:
        """Return the batch on `device`, without waiting for it. The indices stay on the CPU."""
        images, labels, targets = (sent(tensor, device) for tensor in (self.images, self.labels, self.targets))
        return Batch(images, labels, targets, self.indices)


class Shard(NamedTuple):
    """The share of every batch that this process makes: the `rank`-th of `world` equal ones."""

    rank: int
    world: int

    def of(self, n: int) -> slice:
        """The shard of `n` samples."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)


WHOLE = Shard(0, 1)
"""All of every batch."""


class _Read(NamedTuple):
    """What the CPU contributes to a batch.

    `drawn` are the samples, int64 (B,), with the one after the last if images are mixed; `draws` are their numbers.
    `pixels` are their images or crops, uint8 (B, C, H, W), or None if the device has them.
    """

    drawn: Tensor
    draws: Tensor
    pixels: Tensor | None


@dataclass(frozen=True, eq=False)
class Loader:
    """Makes the training batches of any epoch, from packed images.

    Attributes:
        packed: the images and their labels. Photos that are kept whole need an `augment` that crops them.
        preprocess: normalises the images; its input size is the size of the batches.
        augment: what happens to an image.
        batch_size: images in a batch, over all processes.
        seed: with the epoch and the image's index, decides the order and every change.
        workers: threads that make batches ahead of time; 0 makes them when asked for. See `threads`.
        shard: which share of every batch this process makes.
        balanced: show each class equally often. Images of a small class come several times, changed differently.
        device: where the batches are needed. A GPU augments and normalises them itself; its batches are ready for the
            stream that is current when they are yielded. For other devices they are made on the CPU.
        resident: the packed images on that GPU, uint8 (N, C, H, W), or None. See `resident.py`.
    """

    packed: Packed | PackedPhotos
    preprocess: Preprocess
    augment: Augment
    batch_size: int
    seed: int = 0
    workers: int = 0
    shard: Shard = WHOLE
    balanced: bool = False
    device: torch.device = _CPU
    resident: Tensor | None = None

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return steps_per_epoch(len(self.packed), self.batch_size)

    def batches(self, epoch: int, *, start: int = 0, image_size: tuple[int, int] | None = None) -> Iterator[Batch]:
        """Yield the batches of `epoch` (from 0), from number `start` on.

        With `image_size` (height, width), for progressive resizing, the network gets images of that size instead of
        the preprocessing's; random crops are then cut to that size at once. What is left over after the last full batch
        waits for another epoch, whose order differs. Images are mixed with the next one in the order of the epoch:
        neither `batch_size` nor `shard` matters.

        Raises DataError if photos that are decoded in every epoch have changed.
        """
        read = partial(self._read, epoch, self._order(epoch), image_size or self.preprocess.input_size)
        finish = partial(self._finished, epoch, image_size)
        steps = range(start, len(self))
        if self.device.type != "cuda":
            return in_threads_ahead(lambda step: finish(read(step)), steps, self.workers)
        ahead = in_threads_ahead(read, steps, self.threads, one_core_each=True)
        return on_side_stream(finish, ahead, self.device)

    @property
    def threads(self) -> int:
        """The number of threads that make batches ahead of time.

        For a GPU they make the pixels. It always has some, unless the images are in its memory.
        """
        if self.workers or self.device.type != "cuda" or self.resident is not None:
            return self.workers
        if isinstance(self.packed, PackedPhotos) and self.packed.workers != 0:
            return 2  # each has threads of its own, which decode
        return min(_MOST_WORKERS, max(1, usable_cores() - 1))

    @property
    def _crops(self) -> bool:
        """Whether batches are cut out of whole pictures, on the CPU."""
        return self.augment.crops_pictures or isinstance(self.packed, PackedPhotos)

    def _order(self, epoch: int) -> Tensor:
        if self.balanced:
            return random.balanced_permutation(self.seed, epoch, self.packed.labels)
        return random.permutation(self.seed, epoch, len(self.packed))

    def _read(self, epoch: int, order: Tensor, size: tuple[int, int], step: int) -> _Read:
        """The CPU's part of batch number `step`: crops have `size`."""
        packed, config = self.packed, self.augment
        n = len(packed)
        first = step * self.batch_size
        mine = self.shard.of(min(self.batch_size, n - first))
        drawn = order[torch.arange(first + mine.start, first + mine.stop + config.mixes) % n]
        draws, indices = draw(self.seed, epoch, drawn, config), drawn % n
        pixels: Tensor | None = None
        if self._crops:
            pictures = packed.pictures(indices)
            sizes = torch.tensor([picture.shape[1:] for picture in pictures])
            boxes = crops.boxes(sizes, crops.draw(self.seed, epoch, drawn), config, size)
            pixels = crops.cropped(pictures, boxes, draws, config, size)
        elif self.resident is None:
            assert isinstance(packed, Packed), "whole photos are always cropped"
            pixels = packed.images.index_select(0, indices)
        if pixels is not None and self.device.type == "cuda":
            pixels = pinned(pixels)
        return _Read(drawn, draws, pixels)

    def _finished(self, epoch: int, image_size: tuple[int, int] | None, read: _Read) -> Batch:
        """The rest of the batch, on the device if that is a GPU."""
        packed, config = self.packed, self.augment
        device = self.device if self.device.type == "cuda" else _CPU
        indices = read.drawn % len(packed)
        images = self._augmented(read, indices, device)
        images = self.preprocess.normalize(images)
        if image_size is not None and image_size != tuple(images.shape[2:]):
            images = F.interpolate(images, size=image_size, mode="bilinear", antialias=True)
        labels = sent(packed.labels[indices], device)
        if not config.mixes:
            return Batch(images, labels, labels, indices)
        mixes = mixing.draw(self.seed, epoch, read.drawn[:-1])
        images, targets = mixing.mix(images, labels, mixes, config, packed.num_classes)
        return Batch(images, labels[:-1], targets, indices[:-1])

    def _augmented(self, read: _Read, indices: Tensor, device: torch.device) -> Tensor:
        """The images of a batch as the network sees them, 0..255: crops, or images of the preprocessing's size."""
        if read.pixels is None:
            assert self.resident is not None
            return augment(self.resident.index_select(0, sent(indices, device)), read.draws, self.augment)
        change = alter if self._crops else augment
        return change(sent(read.pixels, device), read.draws, self.augment)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """How many batches an epoch has: only full ones, and one of all images if there are fewer than a batch."""
    return max(1, num_images // batch_size)
