"""Packed pixels in the cache: one file, mapped into memory, that the next run finds again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from classicnets.data.imageset import ImageSet
from classicnets.data.words import in_bytes
from classicnets.errors import StorageError
from classicnets.images import pixel_limit
from classicnets.preprocess import Preprocess
from classicnets.system.cache import cache_dir, make_room, mark_used
from classicnets.system.storage import written_aside

MEMORY_LIMIT = 512 * 1024 * 1024
"""Packed sets of more bytes than this are kept in the cache and mapped into memory."""

_LAYOUT = 3  # version of the files in the cache; increase it when they, or the results of reading, change


def default_cache() -> Path:
    """The folder for packed images."""
    return cache_dir() / "packed"


def key_of(images: ImageSet, preprocess: Preprocess, geometry: list[Any]) -> str:
    """Return a name that changes whenever the packed bytes could change.

    Args:
        images: the images, whose files must exist.
        preprocess: its channels and bit depth count.
        geometry: what decides the size of an image, as JSON values.
    """
    decoders = [version(name) for name in ("torch", "torchvision", "pillow", "simplejpeg")]
    # ctime, unlike mtime, cannot be set back when files are unpacked or copied.
    changes = [state.st_ctime_ns for state in images.file_states()]
    files = [str(path.absolute()) for path in images.paths or ()]
    limits = [preprocess.bit_depth, pixel_limit()]
    parts = [_LAYOUT, images.fingerprint(), preprocess.channels, geometry, limits, decoders, files, changes]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def in_cache(folder: Path, key: str, size: int, fill: Callable[[Tensor], Any]) -> tuple[Tensor, Any]:
    """Return the pixels that `fill` writes, mapped into memory, and its notes.

    Args:
        folder: the cache.
        key: the name of the files, which are created if they are missing.
        size: bytes of the pixels.
        fill: writes to a uint8 tensor (size,) and returns notes as JSON values.

    Raises StorageError if they cannot be kept.
    """
    pixels, notes = folder / f"{key}.uint8", folder / f"{key}.json"
    try:
        # The notes are written last: if they exist, the pixels are complete.
        if not (notes.exists() and pixels.exists() and pixels.stat().st_size == size):
            folder.mkdir(parents=True, exist_ok=True)
            make_room(folder, size)
            with written_aside(pixels) as new:
                _reserve(new, size)
                mapped = np.memmap(new, np.uint8, "r+", shape=(size,))
                found = fill(torch.from_numpy(mapped))
                mapped.flush()
            with written_aside(notes) as new:
                new.write_text(json.dumps(found))
        mark_used(notes)
        # Copy on write: PyTorch needs writable memory, and the file must not change.
        return torch.from_numpy(np.memmap(pixels, np.uint8, "c", shape=(size,))), json.loads(notes.read_text())
    except (OSError, StorageError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        raise StorageError(
            f"Cannot keep {in_bytes(size)} of packed images in {folder}: {getattr(reason, 'strerror', reason)}. "
            f"Free some space, or set CLASSICNETS_CACHE to another folder."
        ) from error


def _reserve(path: Path, size: int) -> None:
    """Make a file of that size and reserve its space: writing to a mapped file on a full disk kills the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
