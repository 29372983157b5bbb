"""A weights file of one make into one of another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from classicnets.errors import ConfigError
from classicnets.system.storage import written_aside
from classicnets.weights.files import save_safetensors, sha256_of
from classicnets.weights.pretrained import find_weights
from classicnets.weights.translate import fitting, from_ours, remarks

_TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin")


@dataclass(frozen=True)
class Converted:
    """What was found in `source`, and what was written to `out`; the number of weights counts tensors."""

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
    """Write the weights in `source`, which are those of `model`, in the names (and shapes, and order) of `to`.

    source  a file of any make, a run or model folder, or "torchvision" (see `pretrained`)
    to      "classicnets", "torchvision", "timm" or "cifar" (the community's CIFAR nets)
    out     a new file: `.safetensors`, or `.pth`, `.pt`, `.th`, `.bin` for PyTorch's format; by default beside the
            source, `NAME-TO.safetensors`; no file is overwritten

    Every weight must fit the model, but for its number of classes, of input channels and its auxiliary heads, which
    are the file's. Raises UnknownName, ConfigError, WeightsError, KeysMismatch and StorageError.
    """
    found = find_weights(model, source)
    net, translated = fitting(model, found.state, source=found.source, **found.switches)
    state = from_ours(translated.state, net, to)
    path = Path(out) if out is not None else _beside(source, model, to)
    if path.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise ConfigError(
            f"Cannot tell what kind of file {path} shall be. End its name in .safetensors, or in "
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
        remarks=tuple(dict.fromkeys([*remarks(model, translated.naming), *remarks(model, to)])),
    )


def _beside(source: str | Path, model: str, to: str) -> Path:
    path = Path(source).expanduser().resolve()
    stem = path.stem if path.is_file() else path.name if path.is_dir() else model
    return path.with_name(f"{stem}-{to}.safetensors")
