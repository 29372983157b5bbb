"""Where downloads and packed images are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$CLASSICNETS_CACHE` where it is set, else `classicnets` in `$XDG_CACHE_HOME` or in `~/.cache`. May not exist."""
    own = os.environ.get("CLASSICNETS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "classicnets"
