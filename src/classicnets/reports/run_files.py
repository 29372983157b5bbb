"""What the files of a run folder say. A page is written with those that can be read: the others say nothing."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from classicnets.data.record import read_record
from classicnets.errors import ClassicNetsError, DataError
from classicnets.system.installed import is_installed


def read_table(path: Path) -> dict[str, Any]:
    """The table in a .toml or .json file, or {} if it cannot be read."""
    parse = tomllib.loads if path.suffix == ".toml" else json.loads
    try:
        values = parse(read_text(path))
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def read_text(path: Path) -> str:
    """The text of a file, or "" if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def table_at(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The table at these keys, or {} if there is none."""
    for key in keys:
        inner = values.get(key)
        if not isinstance(inner, dict):
            return {}
        values = inner
    return values


def read_notes(folder: Path) -> list[str]:
    """What the training noted when it first started, from events.jsonl."""
    for line in read_text(folder / "events.jsonl").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "started":
            notes = event.get("notes")
            return [str(note) for note in notes] if isinstance(notes, list) else []
    return []


def read_counts(folder: Path) -> dict[str, Counter[str]]:
    """How many images of each class each part had, from images.csv: part -> class -> number."""
    counts: dict[str, Counter[str]] = {}
    try:
        rows = read_record(folder / "images.csv")
    except DataError:
        return {}
    for row in rows:
        counts.setdefault(row.part, Counter())[row.label] += 1
    return counts


def draw_network(config: dict[str, Any]) -> str:
    """The drawing of the network that model/config.json describes, as an SVG document.

    "" if it describes none, or without PyTorch, which follows the network.
    """
    if not config or not is_installed("torch"):
        return ""
    from classicnets.analysis import inspect
    from classicnets.models.catalog import create

    ours = table_at(config, "classicnets")
    try:
        name = config["architecture"]
        network = create(name, device="meta", **ours["config"])
        size = ours["preprocess"]["input_size"]
        return replace(inspect(network, image_size=(size[0], size[1])), model=name).to_svg()
    except (ClassicNetsError, TypeError, ValueError, LookupError, RuntimeError):
        return ""
