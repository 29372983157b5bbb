"""The folder that an audit writes: `--out DIR`, new and complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from classicnets.system.finite import finite
from classicnets.system.storage import check_new, written_aside


def write_new_folder(folder: str | PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write files to a new folder, all of them or none, and return it.

    Args:
        folder: must not exist.
        files: the content of each, by name.

    Raises ConfigError if the folder exists, StorageError if it cannot be written.
    """
    folder = Path(folder)
    check_new(folder)
    with written_aside(folder, replace=False) as new:
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
    return folder


def json_bytes(values: Any) -> bytes:
    """JSON-ready values as JSON; numbers that are not finite become null."""
    return (json.dumps(finite(values), indent=1, ensure_ascii=False) + "\n").encode()
