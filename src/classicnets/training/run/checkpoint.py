"""Checkpoints that survive a kill at any moment: written to a temporary folder with hashes, synced, then renamed.

    checkpoints/step-000400/{model.safetensors, trainer.pt, manifest.json}

A folder whose files do not match its manifest is not used; the checkpoint before it is.
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
from classicnets.system.storage import sha256_of, written_aside
from classicnets.weights.files import load_safetensors, save_safetensors

_FILES = ("model.safetensors", "trainer.pt")
_FORMAT = 2
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to resume.

    Attributes:
        tensors: the weights of the model and of its average, as `TrainState.tensors` names them.
        trainer: the rest of the state, as `TrainState.trainer` returns it, with the run's identity.
    """

    tensors: dict[str, Tensor]
    trainer: dict[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, and delete all except the newest two.

    Args:
        folder: the run's checkpoints folder.
        step: optimizer steps done. Checkpoints of later steps are deleted.
        checkpoint: what to save.

    Returns:
        The path, `folder/step-NNNNNN`.

    Raises:
        StorageError: the folder cannot be written.
    """
    target = folder / f"step-{step:06d}"
    with written_aside(target) as new:
        new.mkdir()
        save_safetensors(new / "model.safetensors", checkpoint.tensors)
        _save(checkpoint.trainer, new / "trainer.pt")
        hashes = {name: sha256_of(new / name) for name in _FILES}
        (new / "manifest.json").write_text(json.dumps({"format": _FORMAT, "step": step, "sha256": hashes}), "utf-8")
    reached = [path for path in _by_step(folder) if _step(path) <= step]
    later = [path for path in _by_step(folder) if _step(path) > step]  # left from before a rollback
    for old in [*later, *reached[:-_KEPT]]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint folder. Raises WeightsError or ChecksumMismatch if it is incomplete or damaged."""
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        if manifest["format"] != _FORMAT:
            raise WeightsError(
                f"{path} has format {manifest['format']}, but this version reads format {_FORMAT}. "
                f"Use the version of classicnets that wrote it."
            )
        hashes = manifest["sha256"]
        for name in _FILES:
            if sha256_of(path / name) != hashes[name]:
                raise ChecksumMismatch(f"{path / name} is damaged or was changed: its SHA-256 differs.")
        trainer = torch.load(path / "trainer.pt", map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a complete checkpoint ({error}).") from None
    return Checkpoint(load_safetensors(path / "model.safetensors"), trainer)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest valid checkpoint in `folder`, or None, and a note about each damaged one."""
    notes: list[str] = []
    for path in reversed(_by_step(folder)):
        try:
            return load_checkpoint(path), notes
        except WeightsError as error:
            notes.append(f"{error} Trying the checkpoint before it.")
    return None, notes


def _save(trainer: dict[str, Any], path: Path) -> None:
    """Call `torch.save`. It hides an OSError (a full disk) in a RuntimeError; raise the OSError instead."""
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
