"""Convert weights between the names of this package and those of others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from classicnets.errors import ConfigError
from classicnets.system.storage import sha256_of, written_aside
from classicnets.weights.files import save_safetensors
from classicnets.weights.pretrained import find_weights
from classicnets.weights.translate import fitting, from_ours, remarks

_TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin")


@dataclass(frozen=True)
class Converted:
    """What was read and what was written.

    Attributes:
        source: where the weights come from, in words.
        found: what they were found in: "PyTorch file, in 'state_dict'".
        found_names: whose names they had: "torchvision".
        model: the model's name in the catalog.
        num_classes: its number of outputs.
        in_channels: its number of input channels.
        weights: the number of tensors.
        numbers: the number of their elements.
        out: the file that was written.
        out_names: whose names it has.
        sha256: its SHA-256.
        remarks: what a user should know, one sentence each.
    """

    source: str
    found: str
    found_names: str
    model: str
    num_classes: int
    in_channels: int
    weights: int
    numbers: int
    out: str
    out_names: str
    sha256: str
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def convert(source: str | Path, model: str, *, to: str = "classicnets", out: str | Path | None = None) -> Converted:
    """Write the weights of a model in the names, shapes and order of another library.

    Every weight must fit the model. Its number of classes, its number of input channels and its auxiliary heads are
    those of the weights.

    Args:
        source: a file of any library, a run, a model folder, a checkpoint's folder, or "torchvision" (see
            `pretrained`).
        model: the name in the catalog of the model whose weights they are.
        to: "classicnets", "torchvision", "timm" or "cifar" (the community's CIFAR networks).
        out: a new file: `.safetensors`, or `.pth`, `.pt`, `.th`, `.bin` for PyTorch's format. By default
            `NAME-TO.safetensors` beside the source. No file is overwritten.

    Returns what was read and written. Raises UnknownName or ConfigError for arguments that cannot be used, WeightsError
    (KeysMismatch) for weights that cannot, StorageError if the disk refuses.

    Example:
        >>> convert("runs/birds", "resnet18", to="torchvision", out="birds.pth")  # doctest: +SKIP
    """
    found = find_weights(model, source)
    net, translated = fitting(model, found.state, source=found.source, **found.switches)
    state = from_ours(translated.state, net, to)
    path = Path(out) if out is not None else _beside(source, model, to)
    if path.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise ConfigError(
            f"Cannot tell the format of {path} by its name. End its name in .safetensors, or in "
            f"{', '.join(_TORCH_SUFFIXES)} for PyTorch's format."
        )
    if path.exists():
        raise ConfigError(f"{path} exists, and is not overwritten. Give another name with --out.")
    if path.suffix == ".safetensors":
        save_safetensors(path, state)
    else:
        with written_aside(path) as new:
            torch.save(state, new)
    return Converted(
        source=found.source,
        found=found.kind,
        found_names=translated.naming,
        model=model,
        num_classes=net.config.num_classes,
        in_channels=net.config.in_channels,
        weights=len(state),
        numbers=sum(weight.numel() for weight in state.values()),
        out=str(path),
        out_names=to,
        sha256=sha256_of(path),
        remarks=tuple(dict.fromkeys([*found.notes, *remarks(model, translated.naming), *remarks(model, to)])),
    )


def _beside(source: str | Path, model: str, to: str) -> Path:
    path = Path(source).expanduser().resolve()
    stem = path.stem if path.is_file() else path.name if path.is_dir() else model
    return path.with_name(f"{stem}-{to}.safetensors")
