"""The cache: where downloads and packed images are kept between runs, and how many packed images."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from classicnets.errors import ConfigError
from classicnets.system.paths import expanded, temporary_home, user_folder

logger = logging.getLogger("classicnets")

_DAY = 24 * 60 * 60


def cache_dir() -> Path:
    """Return the folder for downloads and packed images. It may not exist yet.

    It is `$CLASSICNETS_CACHE` if that is set, else `classicnets` in `$XDG_CACHE_HOME` or in `~/.cache`. A user whose
    home folder is missing or read-only, as in many containers, gets a private folder for temporary files instead.

    Raises:
        ConfigError: there is no home folder, and no private folder for temporary files can be created.
    """
    if own := os.environ.get("CLASSICNETS_CACHE"):
        return expanded(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "classicnets"
    return user_folder(".cache", "classicnets") or temporary_home()


def packed_limit() -> int:
    """Return how many bytes of packed images are kept: `$CLASSICNETS_CACHE_GIB` GiB, 20 if it is not set.

    Raises:
        ConfigError: the variable is not a number, 0 or more.
    """
    text = os.environ.get("CLASSICNETS_CACHE_GIB", "20")
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise ConfigError(f"CLASSICNETS_CACHE_GIB is {text!r}; it must be a number of GiB, 0 or more.")
    return int(limit * 2**30)


def make_room(folder: Path, size: int) -> None:
    """Remove the least recently used packed images from `folder`, until `size` more bytes are within the limit.

    Files whose names are equal up to the first dot (a dot at the start aside) form a group, which stays or goes as a
    whole. A group was used when one of its files last changed (see `mark_used`). It stays for a day after that, because
    a run may be about to need it. A process that has mapped a removed file into memory keeps its content.

    Args:
        folder: the folder of packed images.
        size: bytes that are about to be added.
    """
    limit = packed_limit()
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        groups[path.name.lstrip(".").partition(".")[0]].append(path)
    found = sorted((_looked_at(paths) for paths in groups.values()), key=lambda group: group.used)
    excess = sum(group.size for group in found) + size - limit
    for group in found:
        if excess <= 0 or group.used > time.time() - _DAY:
            return
        for path in sorted(group.paths):  # notes before pixels, so that a half removed set is not used
            with contextlib.suppress(OSError):  # Windows does not remove a mapped file
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        excess -= group.size
        logger.warning(
            "Removed %.1f GiB of packed images, last used on %s, from %s: the limit is %g GiB (CLASSICNETS_CACHE_GIB).",
            group.size / 2**30, time.strftime("%Y-%m-%d", time.localtime(group.used)), folder, limit / 2**30,
        )  # fmt: skip


def mark_used(path: Path) -> None:
    """Record that `path` is used now, for `make_room`."""
    with contextlib.suppress(OSError):  # the cache may be shared and read-only
        os.utime(path)


class _Group(NamedTuple):
    """Files that belong together, their bytes, and when they were used."""

    paths: list[Path]
    size: int
    used: float


def _looked_at(paths: list[Path]) -> _Group:
    size, used = 0, 0.0
    inner = [path for folder in paths for path in folder.rglob("*")]
    for path in [*paths, *inner]:
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it too
            state = path.stat()
            size += state.st_size
            used = max(used, state.st_mtime)
    return _Group(paths, size, used)
