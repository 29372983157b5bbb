"""Batches of an epoch, made from packed images: the order and every change are a function of (seed, epoch, index)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from classicnets.data import random
from classicnets.data.augment import DRAWS, Augment, augment
from classicnets.data.pack import Packed
from classicnets.preprocess import Preprocess


class Batch(NamedTuple):
    """Network input (B, C, H, W), normalised and channels-last; labels int64 (B,); indices int64 (B,) in the set.

    `targets` are what the loss compares with: the labels, or probabilities float32 (B, K) where images are mixed.
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
) -> Iterator[Batch]:
    """The batches of `epoch` from number `start` on, each augmented; `workers` threads make them ahead of time.

    With `part`, only that part of each: `batch_size` is that of all processes together.
    With `image_size` (progressive resizing) the network gets images of that size instead of the preprocessing's.
    What is left over after the last full batch waits for another epoch, whose order is another one.
    """
    order = random.permutation(seed, epoch, len(packed.labels))

    def make(step: int) -> Batch:
        indices = order[step * batch_size : (step + 1) * batch_size]
        indices = indices[part.of(len(indices))]
        draws = random.uniform(seed, epoch, indices, DRAWS)
        images = augment(packed.images[indices], draws, config, preprocess.input_size)
        images = preprocess.normalize(images)
        if image_size is not None and image_size != preprocess.input_size:
            images = F.interpolate(images, size=image_size, mode="bilinear", antialias=True)
        labels = packed.labels[indices]
        return Batch(images, labels, labels, indices)

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
