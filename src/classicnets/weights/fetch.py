"""Published files: fetched once, kept in the cache, and never used without their checksum."""

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
from classicnets.system.storage import written_aside
from classicnets.weights.files import MAX_BYTES, sha256_of

logger = logging.getLogger("classicnets")

_CHUNK = 1 << 20
_PATIENCE = 30.0  # seconds without a byte


def fetch(url: str) -> Path:
    """The file at `url`, whose name ends in the start of its SHA-256, as PyTorch's do: `resnet50-11ad3fa6.pth`.

    It is looked for in the cache, then in torch.hub's, and fetched into the cache otherwise.
    Raises ChecksumMismatch for a file whose SHA-256 is another, WeightsError when it cannot be had, StorageError.
    """
    name = url.rpartition("/")[2]
    named = re.search(r"-([0-9a-f]{8,64})\.", name)
    if named is None:
        raise WeightsError(f"{url} does not have its checksum in its name, so that it cannot be trusted.")
    kept = cache_dir() / "weights" / name
    for place in (kept, Path(torch.hub.get_dir()) / "checkpoints" / name):
        if place.is_file():
            _verify(place, named[1], f"Remove {place}, and it is fetched again.")
            return place
    logger.info("Fetching %s", url)
    with written_aside(kept) as new:
        with open(new, "wb") as file:
            for chunk in _chunks(url, kept):
                file.write(chunk)
        _verify(new, named[1], f"It was fetched from {url}; try again, or from another network.")
    return kept


def _chunks(url: str, kept: Path) -> Iterator[bytes]:
    """The file's bytes, as they arrive."""
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise WeightsError(f"{url} is larger than {MAX_BYTES:,} bytes, which no weights here are.")
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"Cannot fetch {url} ({getattr(error, 'reason', None) or error}). Without a network, get this file "
            f"elsewhere and put it at {kept}: it is then used from there."
        ) from error


def _verify(path: Path, start: str, next_step: str) -> None:
    actual = sha256_of(path)
    if not actual.startswith(start):
        raise ChecksumMismatch(
            f"{path.name} is damaged or was changed: its SHA-256 starts with {actual[: len(start)]}, its name says "
            f"{start}. {next_step}"
        )
