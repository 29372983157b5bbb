"""Batches of an epoch, made from packed images: the order and every change are a function of (seed, epoch, index)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.data.pipeline import mixing, random
from classicnets.data.pipeline.augment import Augment, augment, draw
from classicnets.data.pipeline.pack import Packed
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


class Part(NamedTuple):
    """Which part of every batch this process makes: the `rank`-th of `world` equal ones."""

    rank: int
    world: int

    def of(self, n: int) -> slice:
        """The part of `n` samples."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)


WHOLE = Part(0, 1)
"""All of every batch."""


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """How many batches an epoch has: only full ones, and one of all images where there are fewer than a batch."""
    return max(1, num_images // batch_size)


def training_batches(
    packed: Packed,
    preprocess: Preprocess,
    config: Augment,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    image_size: tuple[int, int] | None = None,
    workers: int = 0,
    part: Part = WHOLE,
    balanced: bool = False,
) -> Iterator[Batch]:
    """The batches of `epoch` from number `start` on, each augmented; `workers` threads make them ahead of time.

    With `part`, only that part of each: `batch_size` is that of all processes together.
    With `image_size` (progressive resizing) the network gets images of that size instead of the preprocessing's.
    With `balanced`, each class comes equally often, so that images of a small one come several times, each time changed
    otherwise. What is left over after the last full batch waits for another epoch, whose order is another one.
    Images are mixed with the next one in the order of the epoch: neither `batch_size` nor `part` makes a difference.
    """
    n = len(packed.labels)
    order = random.balanced_permutation(seed, epoch, packed.labels) if balanced else random.permutation(seed, epoch, n)

    def make(step: int) -> Batch:
        first = step * batch_size
        mine = part.of(min(batch_size, n - first))
        places = torch.arange(first + mine.start, first + mine.stop + config.mixes) % n
        drawn = order[places]
        indices = drawn % n
        images = augment(
            packed.images.index_select(0, indices), draw(seed, epoch, drawn, config), config, preprocess.input_size
        )
        images = preprocess.normalize(images)
        if image_size is not None and image_size != preprocess.input_size:
            images = F.interpolate(images, size=image_size, mode="bilinear", antialias=True)
        labels = packed.labels[indices]
        if not config.mixes:
            return Batch(images, labels, labels, indices)
        draws = mixing.draw(seed, epoch, drawn[:-1])
        images, targets = mixing.mix(images, labels, draws, config, packed.num_classes)
        return Batch(images, labels[:-1], targets, indices[:-1])

    steps = range(start, steps_per_epoch(len(order), batch_size))
    return _ahead(make, steps, workers) if workers else map(make, steps)


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
