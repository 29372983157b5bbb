"""Batches of an epoch, made from packed images: the order and every change are a function of (seed, epoch, index)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


class Shard(NamedTuple):
    """The share of every batch that this process makes: the `rank`-th of `world` equal ones."""

    rank: int
    world: int

    def of(self, n: int) -> slice:
        """The shard of `n` samples."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)


WHOLE = Shard(0, 1)
"""All of every batch."""


@dataclass(frozen=True, eq=False)
class Loader:
    """Makes the training batches of any epoch, from packed images.

    Attributes:
        packed: the images and their labels. Photos that are kept whole need an `augment` that crops them.
        preprocess: normalises the images; its input size is the size of the batches.
        augment: what happens to an image.
        batch_size: images in a batch, over all processes.
        seed: with the epoch and the image's index, decides the order and every change.
        workers: threads that make batches ahead of time; 0 makes them when asked for.
        shard: which share of every batch this process makes.
        balanced: show each class equally often. Images of a small class come several times, changed differently.
    """

    packed: Packed | PackedPhotos
    preprocess: Preprocess
    augment: Augment
    batch_size: int
    seed: int = 0
    workers: int = 0
    shard: Shard = WHOLE
    balanced: bool = False

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
        order = self._order(epoch)
        steps = range(start, len(self))
        make = partial(self._batch, epoch, order, image_size)
        return _ahead(make, steps, self.workers) if self.workers else map(make, steps)

    def _order(self, epoch: int) -> Tensor:
        if self.balanced:
            return random.balanced_permutation(self.seed, epoch, self.packed.labels)
        return random.permutation(self.seed, epoch, len(self.packed))

    def _batch(self, epoch: int, order: Tensor, image_size: tuple[int, int] | None, step: int) -> Batch:
        packed, config = self.packed, self.augment
        n = len(packed)
        first = step * self.batch_size
        mine = self.shard.of(min(self.batch_size, n - first))
        places = torch.arange(first + mine.start, first + mine.stop + config.mixes) % n
        drawn = order[places]
        indices = drawn % n
        images = self._augmented(epoch, drawn, image_size or self.preprocess.input_size)
        images = self.preprocess.normalize(images)
        if image_size is not None and image_size != tuple(images.shape[2:]):
            images = F.interpolate(images, size=image_size, mode="bilinear", antialias=True)
        labels = packed.labels[indices]
        if not config.mixes:
            return Batch(images, labels, labels, indices)
        mixes = mixing.draw(self.seed, epoch, drawn[:-1])
        images, targets = mixing.mix(images, labels, mixes, config, packed.num_classes)
        return Batch(images, labels[:-1], targets, indices[:-1])

    def _augmented(self, epoch: int, drawn: Tensor, size: tuple[int, int]) -> Tensor:
        """The samples `drawn` in this epoch, 0..255: crops of `size`, or images of the preprocessing's size."""
        packed, config = self.packed, self.augment
        indices = drawn % len(packed)
        draws = draw(self.seed, epoch, drawn, config)
        if isinstance(packed, Packed) and not config.crops_pictures:
            return augment(packed.images.index_select(0, indices), draws, config)
        pictures = packed.pictures(indices)
        sizes = torch.tensor([picture.shape[1:] for picture in pictures])
        boxes = crops.boxes(sizes, crops.draw(self.seed, epoch, drawn), config, size)
        return alter(crops.cropped(pictures, boxes, draws, config, size), draws, config)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """How many batches an epoch has: only full ones, and one of all images if there are fewer than a batch."""
    return max(1, num_images // batch_size)


def _ahead(make: Callable[[int], Batch], steps: range, workers: int) -> Iterator[Batch]:
    """`map(make, steps)`, with the next `workers` batches being made in threads while this one is used."""
    with ThreadPoolExecutor(workers, thread_name_prefix="classicnets-loader") as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in steps:
            waiting.append(pool.submit(make, step))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
