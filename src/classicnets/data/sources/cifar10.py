"""`cifar10`: 60,000 colour 32x32 images in 10 classes. Krizhevsky 2009, "Learning Multiple Layers of Features"."""

from __future__ import annotations

import torch

from classicnets.data.imageset import ImageSet
from classicnets.data.sources.given import Given
from classicnets.errors import DataError
from classicnets.system.cache import cache_dir
from classicnets.system.network import patience


def read_cifar10() -> Given:
    """Read 50,000 training and 10,000 test images, uint8 (3, 32, 32). torchvision downloads them into the cache once.

    Raises DataError if they are not in the cache and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    folder = cache_dir() / "cifar10"
    try:
        with patience():
            sets = {part: CIFAR10(folder, train=part == "train", download=True) for part in ("train", "test")}
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a file with the wrong checksum
        raise DataError(
            f"CIFAR-10 is not in {folder} and cannot be downloaded from {CIFAR10.url} ({error}). Put "
            f"{CIFAR10.filename} into that folder, or use `digits` or `fashion-mnist`."
        ) from error
    images = {
        part: ImageSet(
            classes=tuple(data.classes),
            labels=torch.tensor(data.targets, dtype=torch.int64),
            ids=tuple(f"{part}/{i:05}" for i in range(len(data))),
            images=torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(),
        )
        for part, data in sets.items()
    }
    return Given("cifar10", "cifar10", images["train"], test=images["test"])
