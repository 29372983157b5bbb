"""`cifar10`: 60,000 colour 32x32 images in 10 classes. Krizhevsky 2009, "Learning Multiple Layers of Features"."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np

from classicnets.data.imageset import ImageSet
from classicnets.data.sources.given import Given, in_memory
from classicnets.errors import DataError
from classicnets.system.cache import cache_dir
from classicnets.system.network import patience

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def read_cifar10() -> Given:
    """Read 50,000 training and 10,000 test images, uint8 (3, 32, 32). torchvision downloads them into the cache once.

    Raises DataError if they are not in the cache and cannot be downloaded.
    """
    place = cache_dir() / "cifar10"
    batches = place / "cifar-10-batches-py"
    if not _is_whole(batches):
        _download(place)
    train, test = ([batches / name for name in _MD5 if name.startswith(part)] for part in ("data", "test"))
    return Given("cifar10", "cifar10", _read_part(train, "train"), test=_read_part(test, "test"))


def _is_whole(batches: Path) -> bool:
    """Whether all files are there, and are the known ones: a pickle could hold anything."""
    return all((batches / name).is_file() and _md5(batches / name) == known for name, known in _MD5.items())


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(place: Path) -> None:
    try:
        from torchvision.datasets import CIFAR10

        with patience():
            CIFAR10(place, download=True)
    except (OSError, RuntimeError, ModuleNotFoundError) as error:  # RuntimeError: a file with the wrong checksum
        raise DataError(
            f"CIFAR-10 is not in {place} and cannot be downloaded from {ADDRESS} ({error}). Unpack "
            f"{Path(ADDRESS).name} in that folder, or use `digits` or `fashion-mnist`."
        ) from error


def _read_part(files: list[Path], part: str) -> ImageSet:
    batches = [pickle.loads(file.read_bytes(), encoding="latin1") for file in files]
    images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([batch["labels"] for batch in batches])
    return in_memory(CLASSES, labels, images, ids=f"{part}/{{:05}}")
