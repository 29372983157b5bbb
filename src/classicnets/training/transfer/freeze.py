"""Fine-tuning: which stages of the trunk learn, when, how fast; and the features of a trunk that never does.

Stages are the trunk's own children, so that nothing has to be traced.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from classicnets.classifier import Classifier, averaged, evaluating
from classicnets.data.pipeline.loader import Batch
from classicnets.data.pipeline.pack import MEMORY_LIMIT, Packed, default_cache
from classicnets.errors import StorageError
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import FinetuneSection

ALL_LEARN = FinetuneSection()
"""Nothing is ever frozen, and all learn at the same rate."""

_BATCH = 64  # images that the trunk sees at a time, always as many: on the CPU the features are the same, bit for bit


def stages(trunk: nn.Sequential) -> list[list[nn.Module]]:
    """The stages that have weights, from the image to the head, each with what follows it and has none (pools)."""
    groups: list[list[nn.Module]] = []
    for stage in trunk:
        if not groups or next(stage.parameters(), None) is not None:
            groups.append([])
        groups[-1].append(stage)
    return groups


class Part(NamedTuple):
    """Parameters that begin to learn together, at `scale` times the learning rate."""

    scale: float
    parameters: list[nn.Parameter]


def parts(model: ConvNet, recipe: FinetuneSection) -> list[Part]:
    """The parameters of `model`, divided as the recipe asks: all as one, or the heads, then stage by stage before."""
    if recipe == ALL_LEARN:
        return [Part(1.0, list(model.parameters()))]
    in_trunk = set(model.trunk.parameters())
    divided = [Part(1.0, [p for p in model.parameters() if p not in in_trunk])]
    for distance, group in enumerate(reversed(stages(model.trunk)), start=1):
        divided.append(Part(recipe.layer_decay**distance, [p for stage in group for p in stage.parameters()]))
    return divided


def num_frozen(recipe: FinetuneSection, num_stages: int, done: float) -> int:
    """How many stages, counted from the image, are frozen when the share `done` (0..1) of the run is over."""
    if done < recipe.freeze or recipe.freeze == 1:
        return num_stages
    if recipe.unfreeze == "at_once":
        return 0
    half_of_the_rest = (1 - recipe.freeze) / 2
    return max(0, num_stages - 1 - int((num_stages - 1) * (done - recipe.freeze) / half_of_the_rest))


def freeze(model: ConvNet, recipe: FinetuneSection, done: float) -> bool:
    """Let those stages have gradients that learn at the share `done` of the run, and take them from the others.

    Returns whether that is not as it was.
    """
    if recipe == ALL_LEARN:
        return False
    before = [parameter.requires_grad for parameter in model.parameters()]
    groups = stages(model.trunk)
    frozen = num_frozen(recipe, len(groups), done)
    for number, group in enumerate(groups):
        for stage in group:
            stage.requires_grad_(number >= frozen)
    return before != [parameter.requires_grad for parameter in model.parameters()]


def train_mode(model: ConvNet) -> None:
    """Training mode; frozen stages stay in eval mode: batch norms keep their statistics, dropout lets all through."""
    model.train()
    for group in stages(model.trunk):
        if not any(parameter.requires_grad for stage in group for parameter in stage.parameters()):
            for stage in group:
                stage.eval()


@dataclass(frozen=True, eq=False)
class Features:
    """What a frozen trunk makes of the training images, and the part of the head that learns from it.

    `values` (N, ...) are on the CPU, in the number format that the network computes in; `rest` turns them into logits.
    """

    values: Tensor
    rest: nn.Sequential

    @classmethod
    def compute(
        cls,
        model: ConvNet,
        packed: Packed,
        preprocess: Preprocess,
        precision: Precision,
        *,
        progress: Callable[[int, int], None],
        memory_limit: int = MEMORY_LIMIT,
    ) -> Features:
        """Run the trunk, and all of the head that never changes, over every image once.

        Raises StorageError where the features cannot be kept.
        """
        fixed, rest = split_head(model.head)
        (values,) = _kept(
            nn.Sequential(model.trunk, fixed), packed.images, lambda images: [preprocess.normalize(images)], precision,
            _BATCH, progress=progress, memory_limit=memory_limit,
        )  # fmt: skip
        return cls(values, rest)

    def batch(self, batch: Batch) -> Batch:
        """The batch with the features of its images instead of the images."""
        return batch._replace(images=self.values[batch.indices])


class KeptViews:
    """Validation from features: as long as the trunk stays as it is, `logits` are those of `classifier.logits`.

    On the CPU they are the same to the bit. The trunk is run the first time, over every view that the classifier takes.
    """

    def __init__(self, classifier: Classifier, images: Tensor, precision: Precision, batch_size: int) -> None:
        self._classifier, self._images = classifier, images
        self._precision, self._batch_size = precision, batch_size
        self._values: list[Tensor] = []

    def logits(self) -> Tensor:
        """float32 (N, K), on the CPU. Raises StorageError where the features cannot be kept."""
        fixed, rest = split_head(self._classifier.model.head)
        n, size = len(self._images), self._batch_size
        if not self._values:
            before = nn.Sequential(self._classifier.model.trunk, fixed)
            self._values = _kept(before, self._images, self._classifier.views, self._precision, size)
        logits = torch.empty(n, len(self._classifier.classes))
        with evaluating(rest), self._precision():
            for start in range(0, n, size):
                rows = slice(start, start + size)
                logits[rows] = averaged([rest(view[rows].to(self._precision.device)) for view in self._values])
        return logits


def split_head(head: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """The head's first layers, which have neither weights nor chance (pooling), and the rest; they share its layers."""
    layers = list(head.children())
    first = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Dropout) or [*layer.parameters()])
    return nn.Sequential(*layers[:first]), nn.Sequential(*layers[first:])


def _kept(
    before: nn.Module,
    images: Tensor,
    views: Callable[[Tensor], list[Tensor]],
    precision: Precision,
    batch_size: int,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    memory_limit: int = MEMORY_LIMIT,
) -> list[Tensor]:
    """What `before`, in eval mode, makes of each view of all images, on the CPU.

    Above `memory_limit` bytes it lies in a file without a name in the cache, gone with the process.
    """
    before.eval()
    values: list[Tensor] = []
    with torch.no_grad(), precision():
        for start in range(0, len(images), batch_size):
            some = [before(view) for view in views(images[start : start + batch_size].to(precision.device))]
            values = values or [_room((len(images), *view.shape[1:]), view.dtype, memory_limit) for view in some]
            for value, view in zip(values, some, strict=True):
                value[start : start + len(view)] = view
            progress(start + len(some[0]), len(images))
    return values


def without_pixels(packed: Packed) -> Packed:
    """The same images as a single black pixel each: all that the order of an epoch needs, once features are kept."""
    return replace(packed, images=packed.images.new_zeros(1).expand(*packed.images.shape[:2], 1, 1))


def _room(shape: tuple[int, ...], dtype: torch.dtype, memory_limit: int) -> Tensor:
    size = math.prod(shape) * dtype.itemsize
    if size <= memory_limit:
        return torch.empty(shape, dtype=dtype)
    folder: Path = default_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # writing to a mapped file on a full disk would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(size,))).view(dtype).view(shape)
    except OSError as error:
        raise StorageError(
            f"Cannot keep {size / 2**20:,.0f} MiB of features in {folder}: {error.strerror}. "
            f"Free some space, or set CLASSICNETS_CACHE to another folder."
        ) from error
