"""Features of a frozen trunk: computed once, then used in every epoch and every validation."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from classicnets.classifier import averaged, evaluating
from classicnets.data.pipeline.loader import Batch
from classicnets.data.pipeline.mapped import MEMORY_LIMIT, default_cache
from classicnets.data.pipeline.pack import Packed
from classicnets.data.words import in_bytes
from classicnets.errors import StorageError
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.system.streams import collect, sent
from classicnets.training.step.validation import Validation

_BATCH = 64  # images in one pass of the trunk. A constant, so that the features on a CPU are always the same bits


@dataclass(frozen=True, eq=False)
class Features:
    """The features of the training images, and the part of the head that learns from them.

    `values` (N, ...) are in the number format that the network computes in, on the CPU or, if they fit there, on the
    GPU. `rest` maps them to logits.
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
        """Run the trunk and the fixed part of the head once over every image.

        Raises StorageError if there is no room for the features.
        """
        fixed, rest = split_head(model.head)
        (values,) = _computed(
            nn.Sequential(model.trunk, fixed), packed.images, lambda images: [preprocess.normalize(images)], precision,
            _BATCH, progress=progress, memory_limit=memory_limit,
        )  # fmt: skip
        return cls(values, rest)

    def batch(self, batch: Batch) -> Batch:
        """Return the batch with features in place of its images, on the same device."""
        values = self.values[sent(batch.indices, self.values.device)]
        return batch._replace(images=sent(values, batch.images.device))


@dataclass(frozen=True, eq=False)
class CachedValidation(Validation):
    """Validation with cached features, for a frozen trunk. On a CPU the logits are the same, bit for bit.

    The trunk runs once for each network, over every view that the card's test-time augmentation makes.
    """

    _views: dict[ConvNet, list[Tensor]] = field(default_factory=dict)

    def _share(self, network: ConvNet) -> Tensor:
        fixed, rest = split_head(network.head)
        classifier = self.classifier(network)
        images, size = self.images, self.batch_size
        if network not in self._views:
            before = nn.Sequential(network.trunk, fixed)
            self._views[network] = _computed(before, images, classifier.views, self.precision, size)

        def passed() -> Iterator[tuple[Tensor]]:
            for start in range(0, len(images), size):
                rows = slice(start, start + size)
                yield (averaged([rest(sent(view[rows], self.precision.device)) for view in self._views[network]]),)

        logits = torch.empty(len(images), len(self.card.classes))
        with evaluating(rest), self.precision():
            collect(passed(), (logits,))
        return logits


def split_head(head: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Split the head at its first layer with weights or dropout: the fixed layers (pooling), and the rest.

    Both parts share their layers with `head`.
    """
    layers = list(head.children())
    first = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Dropout) or [*layer.parameters()])
    return nn.Sequential(*layers[:first]), nn.Sequential(*layers[first:])


def _computed(
    before: nn.Module,
    images: Tensor,
    views: Callable[[Tensor], list[Tensor]],
    precision: Precision,
    batch_size: int,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    memory_limit: int = MEMORY_LIMIT,
) -> list[Tensor]:
    """Return the output of `before`, in eval mode, for each view of all images, on the CPU.

    Above `memory_limit` bytes it is kept in an unnamed file in the cache, which disappears with the process.
    """
    before.eval()
    values: list[Tensor] = []
    with torch.no_grad(), precision():
        for start in range(0, len(images), batch_size):
            some = [before(view) for view in views(sent(images[start : start + batch_size], precision.device))]
            values = values or [_room((len(images), *view.shape[1:]), view.dtype, memory_limit) for view in some]
            for value, view in zip(values, some, strict=True):
                value[start : start + len(view)] = view
            progress(start + len(some[0]), len(images))
    return values


def without_pixels(packed: Packed) -> Packed:
    """Replace each image by one black pixel. With cached features, only the order of an epoch still needs images."""
    return replace(packed, images=packed.images.new_zeros(1).expand(*packed.images.shape[:2], 1, 1))


def _room(shape: tuple[int, ...], dtype: torch.dtype, memory_limit: int) -> Tensor:
    """An uninitialised tensor on the CPU: in memory up to `memory_limit` bytes, above that in an unnamed file."""
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
            f"Cannot keep {in_bytes(size)} of features in {folder}: {error.strerror}. "
            f"Free some space, or set CLASSICNETS_CACHE to another folder."
        ) from error
