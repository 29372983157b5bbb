"""What a run must find again to go on: the same recipe, classes and images. Saved in every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from classicnets.data import Data
from classicnets.data.pipeline.loader import steps_per_epoch
from classicnets.data.words import listed
from classicnets.errors import ConfigError, DataError
from classicnets.training.recipe.schema import Recipe, flat

_FREE = {"description", "workers", "on_nan", "recompute", "data.source", "data.corrections", "model.weights"}
"""Keys that change no number of a run under way; images and corrections are compared themselves."""

_FIXED = ("model.", "image_size", "preprocess.", "ema", "optim.name", "finetune.", "data.refit")
"""Keys that decide which numbers a checkpoint, or the saved classifier, holds: with others it has no meaning."""


_PIPELINE = 2
"""The version of the random crops. In the first, they came from a centre square of 1.15 times the input."""


def identity(recipe: Recipe, data: Data) -> dict[str, Any]:
    """What is saved of a run's recipe and data, to compare with later; plain types."""
    return {
        **({"pipeline": _PIPELINE} if recipe.augment.crops_pictures else {}),
        "recipe": recipe.model_dump(mode="json"),
        "classes": list(data.classes),
        "images": {part: len(images) for part, images in data.parts.items()},
        "fingerprint": data.fingerprint(),
        **({"corrections": data.corrections} if data.corrections else {}),
    }


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], *, run: str, allow_change: bool) -> list[str]:
    """Compare two identities; returns the differences, in words, where `allow_change` lets them pass.

    Raises ConfigError for a changed recipe and DataError for changed data, naming every difference; with
    `allow_change` only for those that no checkpoint survives: the classes, the network, its image size and
    preprocessing, whether there is an average, and which optimizer.
    """
    old, new = flat(_as_known_now(before["recipe"], run)), flat(now["recipe"])
    keys = [key for key in {**old, **new} if key not in _FREE and old.get(key) != new.get(key)]
    recipe = [f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys]
    recipe += _pipeline_differences(before, now)
    data = _data_differences(before, now)
    if not (recipe or data):
        return []
    kind = ConfigError if recipe else DataError
    found = f"{run} was trained with other settings: {'; '.join([*recipe, *data])}."
    if before["classes"] != now["classes"] or any(key.startswith(_FIXED) for key in keys):
        raise kind(
            f"{found} Its checkpoints cannot be used after this change. Undo the change, or start a new run from its "
            f"weights: classicnets train MODEL DATA --weights {run}"
        )
    if not allow_change:
        raise kind(f"{found} Undo the change, or continue with --allow-change.")
    return [*recipe, *data]


def is_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a training may go on without any change."""
    try:
        check_same(before, now, run="the run", allow_change=False)
    except (ConfigError, DataError):
        return False
    return True


def _as_known_now(recipe: Mapping[str, Any], run: str) -> dict[str, Any]:
    """A recipe of an earlier version, with the keys that have come since at their defaults.

    Raises ConfigError for a key that this version does not have.
    """
    try:
        return Recipe.model_validate(recipe).model_dump(mode="json")
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(
            f"{run} was trained by another version of classicnets, whose recipe has {key}. Resume with that version, "
            f"which the run's environment.json names, or start a new run from its weights: --weights {run}"
        ) from None


def same_batches(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether an epoch has the same number of batches, of the same size, as it had."""
    return all(
        before[section][key] == now[section][key] for section, key in (("images", "train"), ("recipe", "batch_size"))
    )


def _pipeline_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    same_crop = before["recipe"]["augment"]["crop"] == now["recipe"]["augment"]["crop"]
    if not same_crop or before.get("pipeline", 1) == now.get("pipeline", 1):
        return []
    return ["its random crops came from the centre of the photos and come from the whole photos"]


def _data_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    if before.get("corrections") != now.get("corrections"):
        found.append("the corrections (data.corrections) are not what they were")
    elif before["fingerprint"] == now["fingerprint"]:
        return []
    if before["classes"] != now["classes"]:
        found.append(f"the classes have changed: {_class_changes(before['classes'], now['classes'])}")
    for part in {**before["images"], **now["images"]}:
        was, is_ = before["images"].get(part, 0), now["images"].get(part, 0)
        if was != is_:
            found.append(f"the number of {part} images was {was:,} and is {is_:,}")
    sizes = [id_["recipe"]["batch_size"] for id_ in (before, now)]
    steps = [steps_per_epoch(id_["images"]["train"], size) for id_, size in zip((before, now), sizes, strict=True)]
    if found and steps[0] != steps[1]:
        found.append(f"an epoch had {steps[0]:,} steps and has {steps[1]:,}")
    return found or [
        "not those images: names, order, sizes or times of change differ (copy files with their times: cp -a, rsync -a)"
    ]


def _class_changes(before: Sequence[str], now: Sequence[str]) -> str:
    removed = sorted(set(before) - set(now))
    added = sorted(set(now) - set(before))
    changes = []
    if removed:
        changes.append(f"removed {listed(removed)}")
    if added:
        changes.append(f"added {listed(added)}")
    return " and ".join(changes) or "another order"
