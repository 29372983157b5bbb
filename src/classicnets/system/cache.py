"""Where downloads and packed images are kept between runs, and how much of what is packed."""

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

logger = logging.getLogger("classicnets")

_DAY = 24 * 60 * 60


def cache_dir() -> Path:
    """`$CLASSICNETS_CACHE` where it is set, else `classicnets` in `$XDG_CACHE_HOME` or in `~/.cache`. May not exist."""
    own = os.environ.get("CLASSICNETS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "classicnets"


def packed_limit() -> int:
    """How many bytes of packed images are kept: `$CLASSICNETS_CACHE_GIB` GiB, 20 where it is not set.

    Raises ConfigError where it is set to anything but a number, 0 or more.
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
    """Remove from `folder` what was used longest ago, until `size` more bytes are within the limit.

    Files belong together whose names are alike up to the first dot after the start. They were used when one of them
    last changed (`mark_used`), and stay for a day after that: a run may be about to need them. What a process has
    mapped into memory stays whole for it.
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
        for path in sorted(group.paths):  # notes before pixels: what is half removed is not taken for whole
            with contextlib.suppress(OSError):  # Windows keeps what somebody has mapped
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        excess -= group.size
        logger.warning(
            "Removed %.1f GiB of packed images, last used on %s, from %s: at most %g GiB are kept "
            "(CLASSICNETS_CACHE_GIB).",
            group.size / 2**30, time.strftime("%Y-%m-%d", time.localtime(group.used)), folder, limit / 2**30,
        )  # fmt: skip


def mark_used(path: Path) -> None:
    """Say that `path` was used now."""
    with contextlib.suppress(OSError):  # a cache that is shared and read-only serves as well
        os.utime(path)


class _Group(NamedTuple):
    """Files that belong together, their bytes, and when they were used."""

    paths: list[Path]
    size: int
    used: float


def _looked_at(paths: list[Path]) -> _Group:
    size, used = 0, 0.0
    for path in [*paths, *(inner for folder in paths for inner in folder.rglob("*"))]:
        with contextlib.suppress(FileNotFoundError):  # another process may be at it too
            state = path.stat()
            size, used = size + state.st_size, max(used, state.st_mtime)
    return _Group(paths, size, used)
