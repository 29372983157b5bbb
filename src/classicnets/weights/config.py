"""config.json of a saved classifier: how it is written, how it is read, and the network that it describes.

The field names at the top level are timm's. What only this package needs is in the section "classicnets".
Reading trusts nothing: the config is JSON, the network comes from this package's catalog, and it is no larger than its
weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from classicnets import __version__
from classicnets.errors import ConfigError, KeysMismatch, WeightsError
from classicnets.models.catalog import CATALOG
from classicnets.models.contract import ConvNet
from classicnets.models.shapes import ShapesOnly
from classicnets.preprocess import Preprocess

MAX_CONFIG_BYTES = 64 * 2**20


def make_config(
    model: ConvNet,
    *,
    architecture: str,
    classes: Sequence[str],
    preprocess: Preprocess,
    tta: str,
    trust: Mapping[str, Any],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of config.json, without the SHA-256 of its files of tensors."""
    return {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": num_features(model),
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
            **trust,
            "provenance": provenance,
        },
    }


def with_sha256(config: Mapping[str, Any], sha256: str, novelty_sha256: str = "") -> dict[str, Any]:
    """Return the config with the SHA-256 of its weights file, and of the tensors of its novelty score if it has one."""
    ours = {**config["classicnets"], "sha256": sha256}
    if novelty_sha256:
        ours["novelty"] = {**ours["novelty"], "sha256": novelty_sha256}
    return {**config, "classicnets": ours}


def num_features(model: ConvNet) -> int:
    """The input channels of the last layer that has weights: what timm calls num_features."""
    return [p.shape[1] for part in (model.trunk, model.head) for p in part.parameters() if p.ndim > 1][-1]


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class NoveltySection(BaseModel):
    """The threshold of the novelty score, and the SHA-256 of the file that holds the score's tensors."""

    model_config = ConfigDict(extra="forbid")

    threshold: Annotated[float, Field(allow_inf_nan=False)]
    false_alarm_rate: Annotated[float, Field(ge=0, le=1)]
    num_images: Annotated[int, Field(ge=1)]
    sha256: Sha256 | None = None


class OurSection(BaseModel):
    """The section "classicnets" of config.json."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    version: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    tta: Literal["none", "flip"]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    conformal: dict[str, Any] | None = None
    novelty: NoveltySection | None = None
    drift: dict[str, str] | None = None
    provenance: dict[str, Any]
    sha256: Sha256


class SavedConfig(BaseModel):
    """The content of config.json. Other fields at its top level, such as the hub's and timm's, are ignored."""

    architecture: str
    num_classes: int
    label_names: list[str]
    classicnets: OurSection


def to_text(config: Mapping[str, Any]) -> str:
    """Return the config as JSON. Raises ConfigError if its provenance is not JSON-ready."""
    try:
        return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"The classifier cannot be saved as JSON: {error}. Use numbers, strings, lists and dicts in its provenance."
        ) from None


def read_config(path: Path) -> SavedConfig:
    """Read config.json and check its form; `build` checks whether it fits its weights. Raises WeightsError."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise WeightsError(
                f"{path} is larger than {MAX_CONFIG_BYTES >> 20} MiB, too large for a config. Get the folder again."
            )
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise _not_a_config(path, error) from None
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> SavedConfig:
    """Parse the text of the config at `path`. Raises WeightsError."""
    try:
        values = json.loads(text)
        if isinstance(values, dict) and "classicnets" not in values:
            raise WeightsError(
                f"{path} was not written by classicnets. `classicnets convert` reads weights of other packages."
            )
        saved = SavedConfig.model_validate(values, strict=True)
    except (ValueError, RecursionError) as error:
        raise _not_a_config(path, error) from None
    sizes = (saved.num_classes, len(saved.label_names), saved.classicnets.config.get("num_classes"))
    if len(set(map(str, sizes))) > 1:
        raise WeightsError(
            f"{path}: {sizes[0]} is the num_classes, {sizes[1]} the label_names, {sizes[2]} the network's classes: "
            "all three must be equal. Was the file edited? Get the folder again."
        )
    return saved


def _not_a_config(path: Path, error: Exception) -> WeightsError:
    reason = str(error)
    if isinstance(error, ValidationError):  # pydantic's is a ValueError, as are those of JSON and UTF-8
        problem = error.errors()[0]
        reason = f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
    elif isinstance(error, RecursionError):
        reason = "nested too deeply"
    return WeightsError(f"{path} is not a classifier's config: {reason}. Get the folder again.")


def build(saved: SavedConfig, state: Mapping[str, Tensor]) -> ConvNet:
    """Build the network of a config on the meta device.

    Raises ConfigError if the config describes no network of the catalog, and KeysMismatch if the network is far larger
    than its weights: to build it would take memory and time without bound.
    """
    architecture, values = saved.architecture, saved.classicnets.config
    if architecture not in CATALOG:
        raise ConfigError(f"the architecture {architecture!r} is not one of this package's. See `classicnets models`.")
    family, row = CATALOG[architecture]
    largest = max(4096, len(state), *(size for tensor in state.values() for size in tensor.shape))
    if any(number > largest for number in _integers(values)):
        raise KeysMismatch(
            f"The config of {architecture!r} has a size above {largest}, more than its weights can have."
        )
    try:
        with ShapesOnly():
            model = family.net(replace(row, **values))
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        raise ConfigError(f"no {architecture!r} can be built from its config ({error})") from None
    needed, given = (sum(t.numel() for t in tensors.values()) for tensors in (model.state_dict(), state))
    if needed > 2 * given + 10**6:
        raise KeysMismatch(
            f"The config of {architecture!r} asks for {needed:,} numbers, and its weights hold {given:,}."
        )
    return model


def _integers(value: Any) -> Iterator[int]:
    """Yield every integer in a JSON value."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _integers(part)
