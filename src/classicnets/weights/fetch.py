"""Published files: downloaded once, kept in the cache, and always checked by their SHA-256."""

from __future__ import annotations

import http.client
import logging
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import torch

from classicnets.errors import ChecksumMismatch, WeightsError
from classicnets.system.cache import cache_dir
from classicnets.system.storage import sha256_of, written_aside
from classicnets.weights.files import MAX_BYTES

logger = logging.getLogger("classicnets")

_CHUNK = 1 << 20
_PATIENCE = 30.0  # seconds without a byte


def fetch(url: str) -> Path:
    """Return the path of a published file: from the cache, from torch.hub's cache, or downloaded into the cache.

    Args:
        url: its address. The file's name ends in the start of its SHA-256, as PyTorch's do: `resnet50-11ad3fa6.pth`.

    Raises ChecksumMismatch if the file has another SHA-256, WeightsError if it cannot be downloaded, StorageError if
    the disk refuses.

    Example:
        >>> fetch("https://download.pytorch.org/models/resnet18-f37072fd.pth")  # doctest: +SKIP
    """
    name = url.rpartition("/")[2]
    named = re.search(r"-([0-9a-f]{8,64})\.", name)
    if named is None:
        raise WeightsError(f"{url} has no checksum in its name, so it cannot be trusted.")
    kept = cache_dir() / "weights" / name
    for place in (kept, Path(torch.hub.get_dir()) / "checkpoints" / name):
        if place.is_file():
            _verify(place, named[1], f"Remove {place} to download it again.")
            return place
    logger.info("Fetching %s", url)
    with written_aside(kept) as new:
        with open(new, "wb") as file:
            for chunk in _chunks(url, kept):
                file.write(chunk)
        _verify(new, named[1], f"It was downloaded from {url}. Try again, or from another network.")
    return kept


def _chunks(url: str, kept: Path) -> Iterator[bytes]:
    """Yield the file's bytes as they arrive."""
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise WeightsError(
                        f"{url} is larger than {MAX_BYTES:,} bytes, too large for weights of these networks."
                    )
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"Cannot fetch {url} ({getattr(error, 'reason', None) or error}). Without a network, get this file "
            f"elsewhere and put it at {kept}."
        ) from error


def _verify(path: Path, start: str, next_step: str) -> None:
    actual = sha256_of(path)
    if not actual.startswith(start):
        raise ChecksumMismatch(
            f"{path.name} is damaged or was changed: its SHA-256 starts with {actual[: len(start)]}, its name says "
            f"{start}. {next_step}"
        )
