"""A classifier's folder: `config.json`, `model.safetensors`, `README.md`. Written for the hub, read trusting nothing.

The layout is the Hugging Face hub's and the field names are timm's; what only this package needs is in the config's
"classicnets" section. Nothing here can run: the weights are numbers, the config is JSON, and the network is built from
this package's own catalog, no larger than its weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from classicnets import __version__
from classicnets.errors import ChecksumMismatch, ConfigError, KeysMismatch, WeightsError
from classicnets.models.catalog import CATALOG
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.weights.files import load_safetensors, sha256_of

FILES = ("config.json", "model.safetensors", "README.md")
_MOST_BYTES = 64 * 2**20


def make_config(
    model: ConvNet,
    *,
    architecture: str,
    classes: Sequence[str],
    preprocess: Preprocess,
    tta: str,
    provenance: dict[str, Any],
    sha256: str,
) -> dict[str, Any]:
    """The content of config.json; `sha256` is that of the weights' file."""
    return {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": _num_features(model),
        "label_names": list(classes),
        "pretrained_cfg": {
            "input_size": [preprocess.channels, *preprocess.input_size],
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_fraction,
            "crop_mode": {"crop": "center", "squash": "squash", "pad": "border"}[preprocess.resize],
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": len(classes),
        },
        "classicnets": {
            "format": 1,
            "version": __version__,
            "config": model.config.to_dict(),
            "preprocess": preprocess.to_dict(),
            "tta": tta,
            "provenance": provenance,
            "sha256": sha256,
        },
    }


def _num_features(model: ConvNet) -> int:
    """The channels that the last layer with weights takes: what timm calls num_features."""
    return [p.shape[1] for part in (model.trunk, model.head) for p in part.parameters() if p.ndim > 1][-1]


class OurSection(BaseModel):
    """The "classicnets" section of config.json."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    version: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    tta: Literal["none", "flip"]
    provenance: dict[str, Any]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SavedConfig(BaseModel):
    """config.json. What the hub or timm may add to its top level is left alone."""

    architecture: str
    num_classes: int
    label_names: list[str]
    classicnets: OurSection


def find_folder(path: str | Path) -> Path:
    """The classifier's folder: `path` itself, or the `model` folder of a run. Raises WeightsError."""
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise WeightsError(f"{path} does not exist. Give a run folder (runs/...) or its model folder.")
    if (path / "recipe.toml").is_file():
        raise WeightsError(
            f"{path} has no model yet: its training has not come to the end of an epoch. "
            f"Go on with `classicnets train --resume {path}`."
        )
    raise WeightsError(
        f"{path} is no classifier: it holds neither config.json nor model/config.json. Give a run folder (runs/...)."
    )


def read_config(path: Path) -> SavedConfig:
    """config.json, checked for form; whether it fits the weights is for `build` to see. Raises WeightsError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise WeightsError(f"{path} is over {_MOST_BYTES >> 20} MiB, which no config is. Get the folder again.")
        values = json.loads(path.read_text("utf-8"))
        if isinstance(values, dict) and "classicnets" not in values:
            raise WeightsError(
                f"{path} was not written by classicnets. `classicnets convert` takes weights of other packages."
            )
        saved = SavedConfig.model_validate(values, strict=True)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not a classifier's config: {_reason(error)}. Get the folder again.") from None
    sizes = (saved.num_classes, len(saved.label_names), saved.classicnets.config.get("num_classes"))
    if len(set(map(str, sizes))) > 1:
        raise WeightsError(
            f"{path}: {sizes[0]} is the num_classes, {sizes[1]} the label_names, {sizes[2]} the network's classes: "
            "all three must be equal. Was the file edited? Get the folder again."
        )
    return saved


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):  # pydantic's; a ValueError too, as are those of JSON and of UTF-8
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The weights, once their SHA-256 is the one given and every number is finite. Raises WeightsError."""
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror}. Get the folder again.") from None
    if actual != sha256:
        raise ChecksumMismatch(
            f"{path} is damaged or was changed: its SHA-256 starts with {actual[:12]}, and config.json says "
            f"{sha256[:12]}. Get the folder again."
        )
    state = load_safetensors(path)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} holds numbers that are not finite. Such a model cannot answer.")
    return state


def build(architecture: str, values: dict[str, Any], state: dict[str, Tensor]) -> ConvNet:
    """The network of a config, its memory not yet filled.

    Raises ConfigError for a config that is none, KeysMismatch for one that is far larger than its weights: building it
    would take memory and time without bound.
    """
    if architecture not in CATALOG:
        raise ConfigError(f"the architecture {architecture!r} is not one of this package's. See `classicnets models`.")
    family, row = CATALOG[architecture]
    most = max(4096, len(state), *(size for tensor in state.values() for size in tensor.shape))
    if any(number > most for number in _integers(values)):
        raise KeysMismatch(f"The config of {architecture!r} has a size above {most}, more than its weights can have.")
    try:
        with torch.device("meta"):
            model = family.net(replace(row, **values))
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        raise ConfigError(f"no {architecture!r} can be built from its config ({error})") from None
    needed, given = (sum(t.numel() for t in tensors.values()) for tensors in (model.state_dict(), state))
    if needed > 2 * given + 10**6:
        raise KeysMismatch(
            f"The config of {architecture!r} asks for {needed:,} numbers, and its weights hold {given:,}."
        )
    return model.to_empty(device="cpu")


def _integers(value: Any) -> Iterator[int]:
    """Every integer within a JSON value."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _integers(part)
