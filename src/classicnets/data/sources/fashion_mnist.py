"""`fashion-mnist`: 70,000 grey 28x28 pictures of clothes in 10 classes. Xiao et al. 2017, arXiv:1708.07747.

Its four files are searched in the cache and in the system's folder. If they are in neither, they are downloaded into
the cache, from torchvision's mirror or as Debian's package.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classicnets.data.imageset import ImageSet
from classicnets.data.sources.given import Given, in_memory
from classicnets.errors import DataError
from classicnets.system.cache import cache_dir
from classicnets.system.network import patience

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

_PREFIXES = {"train": "train", "test": "t10k"}
_MOST_BYTES = 256 * 1024 * 1024


def read_fashion_mnist() -> Given:
    """Read 60,000 training and 10,000 test images, uint8 (1, 28, 28), from the first place that has them.

    Raises DataError if no place has them; the message gives the reason for each place.
    """
    ways: dict[str, Callable[[], Path]] = {
        f"the cache ({_cached()})": _cached,
        f"the system's folder ({SYSTEM_FOLDER})": lambda: SYSTEM_FOLDER,
        "torchvision's download": _download,
        f"apt-get download {PACKAGE}": _download_package,
    }
    failures = []
    for way, folder in ways.items():
        try:
            place = folder()
            sets = {part: _read_part(place, part) for part in _PREFIXES}
        except (DataError, OSError, RuntimeError, ModuleNotFoundError) as error:
            failures.append(f"  {way}: {error}")
        else:
            return Given("fashion-mnist", "fashion-mnist", sets["train"], test=sets["test"])
    raise DataError(
        "Fashion-MNIST cannot be found or downloaded:\n"
        + "\n".join(failures)
        + f"\nPut its four *-ubyte.gz files into "
        f"{_cached()}, or use `digits`, which needs no download."
    )


def find_fashion_mnist() -> Path | None:
    """Return the folder that holds the four files, or None if they would have to be downloaded.

    >>> find_fashion_mnist()  # doctest: +SKIP
    PosixPath('/usr/share/datasets/fashion-mnist')
    """
    places = (_cached(), SYSTEM_FOLDER)
    return next((folder for folder in places if all(file.is_file() for file in _files(folder))), None)


def _cached() -> Path:
    return cache_dir() / "fashion-mnist"


def _files(folder: Path, parts: Iterable[str] = _PREFIXES) -> list[Path]:
    """The file of images and the file of labels of each part, compressed or not."""
    names = [f"{_PREFIXES[part]}-{kind}-ubyte" for part in parts for kind in ("images-idx3", "labels-idx1")]
    return [folder / name if (folder / name).is_file() else folder / f"{name}.gz" for name in names]


def _download() -> Path:
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import download_url

    with _aside() as folder, patience():
        for name, md5 in FashionMNIST.resources:
            download_url(f"{FashionMNIST.mirrors[0]}{name}", folder, name, md5)
        return _keep(folder)


def _download_package() -> Path:
    with _aside() as folder:
        _run("apt-get", "download", PACKAGE, folder=folder)
        _run("dpkg-deb", "-x", *(file.name for file in folder.glob("*.deb")), "unpacked", folder=folder)
        return _keep(folder / "unpacked" / "usr/share/datasets/fashion-mnist")


@contextlib.contextmanager
def _aside() -> Iterator[Path]:
    """A temporary folder in the cache, deleted at the end."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="fashion-mnist-") as folder:
        yield Path(folder)


def _keep(folder: Path) -> Path:
    """Move the four files from `folder` to their place in the cache; returns that place."""
    _cached().mkdir(exist_ok=True)
    for file in _files(folder):
        os.replace(file, _cached() / file.name)
    return _cached()


def _run(*command: str, folder: Path) -> None:
    """Run a program in `folder`. Raises DataError if it is missing or fails, with its last line of output."""
    if not shutil.which(command[0]):
        raise DataError(f"there is no {command[0]} on this machine")
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{command[0]} took longer than five minutes") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise DataError(f"{command[0]} failed: {said[-1]}") from None


def _read_part(folder: Path, part: str) -> ImageSet:
    image_file, label_file = _files(folder, [part])
    images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{image_file} holds images of {images.shape[1]}x{images.shape[2]} pixels instead of 28x28")
    if len(images) != len(labels):
        raise DataError(f"{image_file} holds {len(images)} images and {label_file.name} {len(labels)} labels")
    if labels.max() >= len(CLASSES):
        raise DataError(f"{label_file} holds a label above {len(CLASSES) - 1}")
    return in_memory(CLASSES, labels, images[:, None], ids=f"{part}/{{:05}}")


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read the uint8 array of an IDX file, which is gzipped if its name ends in .gz.

    The format: two zero bytes, the type (8 is uint8), the number of dimensions, each size as a big-endian uint32, then
    the values. Raises DataError for any other content, for missing or extra values, and for no values or more than
    256 MiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 * (1 + dimensions)))
            if magic != 0x0800 + dimensions:
                raise DataError(
                    f"{path} is not an IDX file of uint8 in {dimensions} dimensions (it begins with {magic:#010x})"
                )
            size = math.prod(shape)
            if size == 0:
                raise DataError(f"{path} holds no values")
            if size > _MOST_BYTES:
                raise DataError(f"{path} says that it holds {size:,} bytes; the limit is {_MOST_BYTES:,}")
            values = bytearray(file.read(size + 1))
    except FileNotFoundError:
        raise DataError(f"there is no {path.name}") from None
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is damaged ({error})") from None
    if len(values) != size:
        raise DataError(
            f"{path} holds {'more' if len(values) > size else 'fewer'} values than its header says ({size:,})"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)
