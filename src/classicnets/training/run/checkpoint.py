"""Checkpoints that survive a kill at any moment: written aside, synced, given a manifest of hashes, then renamed.

    checkpoints/step-000400/{model.safetensors, trainer.pt, manifest.json}

A folder without a manifest that fits is never used; the one before it is.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from classicnets.errors import ChecksumMismatch, WeightsError
from classicnets.system.storage import written_aside
from classicnets.weights.files import load_safetensors, save_safetensors, sha256_of

_FILES = ("model.safetensors", "trainer.pt")
_FORMAT = 2
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: `tensors` of the model (and its average), and the trainer's own state."""

    tensors: dict[str, Tensor]
    trainer: dict[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write `folder/step-NNNNNN`, keep the newest two, and return the path. Raises StorageError."""
    target = folder / f"step-{step:06d}"
    with written_aside(target) as new:
        new.mkdir()
        save_safetensors(new / "model.safetensors", checkpoint.tensors)
        _save(checkpoint.trainer, new / "trainer.pt")
        hashes = {name: sha256_of(new / name) for name in _FILES}
        (new / "manifest.json").write_text(json.dumps({"format": _FORMAT, "step": step, "sha256": hashes}), "utf-8")
    reached = [path for path in _by_step(folder) if _step(path) <= step]
    later = [path for path in _by_step(folder) if _step(path) > step]  # left by a run that went back, being damaged
    for old in [*later, *reached[:-_KEPT]]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint folder. Raises WeightsError or ChecksumMismatch where it is not whole."""
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        if manifest["format"] != _FORMAT:
            raise WeightsError(f"{path}: of format {manifest['format']}, and this version reads {_FORMAT}.")
        hashes = manifest["sha256"]
        for name in _FILES:
            if sha256_of(path / name) != hashes[name]:
                raise ChecksumMismatch(f"{path / name}: not the file that was saved (its SHA-256 differs).")
        trainer = torch.load(path / "trainer.pt", map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not a whole checkpoint ({error}).") from None
    return Checkpoint(load_safetensors(path / "model.safetensors"), trainer)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint in `folder` (None where there is none), and what was said about damaged ones."""
    notes: list[str] = []
    for path in reversed(_by_step(folder)):
        try:
            return load_checkpoint(path), notes
        except WeightsError as error:
            notes.append(f"{error} Looking for the one before.")
    return None, notes


def _save(trainer: dict[str, Any], path: Path) -> None:
    """`torch.save`, which calls a full disk a RuntimeError: the OSError that it hides is raised instead."""
    try:
        with path.open("wb") as file:
            torch.save(trainer, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _by_step(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    found = (path for path in folder.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdecimal())
    return sorted(found, key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
