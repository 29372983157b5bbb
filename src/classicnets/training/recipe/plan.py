"""What is to be trained, on what, and how: from the arguments of a command to a recipe in which nothing is left open.

load data -> choose the recipe -> fill in the image size, the split and where things are -> Plan
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from classicnets.data import Data, load_data
from classicnets.data.imageset import ImageSet
from classicnets.errors import ConfigError
from classicnets.images import image_size
from classicnets.models.catalog import create, family_of
from classicnets.models.contract import ConvNet, NetConfig
from classicnets.training.recipe.schema import Recipe, choose_recipe, load_recipe, with_settings
from classicnets.training.run.equip import settled


@dataclass(frozen=True)
class Plan:
    """What is to be trained, on what, and how: the resolved recipe, the data it names, and what was chosen and why."""

    recipe: Recipe
    data: Data
    notes: tuple[str, ...]


def resolve(
    model: str, data: str | Path | Data, *, recipe: str | Path | Recipe | None = None, settings: Iterable[str] = ()
) -> Plan:
    """Load the data and resolve the recipe for the catalog's `model`: what `start` begins with. Nothing is written.

    The arguments are those of `start`. Raises UnknownName, ConfigError or DataError.
    """
    settings = list(settings)
    for key in ("model.name", "data.source"):
        if any(setting.partition("=")[0].strip() == key for setting in settings):
            raise ConfigError(f"{key} is what is trained, and on what: give it as the argument, not as a setting.")
    given = recipe if isinstance(recipe, Recipe) else None if recipe is None else load_recipe(recipe)
    draft = with_settings(given or Recipe(), settings)
    network = create(model, device="meta", **switches(draft))
    loaded = data if isinstance(data, Data) else load(data, draft)
    size = draft.image_size or _natural_size(loaded.train, network.config)
    if size < network.config.min_size:
        raise ConfigError(
            f"{model} takes images of {network.config.min_size} pixels or more, and image_size is {size}. "
            f"Set a larger one, or choose a variant for small images (`classicnets models cifar`)."
        )
    notes = [loaded.split]
    if given is None:
        name, reason = choose_recipe(
            num_train=len(loaded.train),
            image_size=size,
            family=family_of(model).name,
            batch_norm=_normalised(network),
            pretrained=bool(draft.model.weights),
        )
        draft = with_settings(load_recipe(name), settings)
        notes.append(f"recipe {name!r}: {reason}")
    draft, adapted = settled(draft)
    notes += adapted
    values = draft.model_dump(mode="json")
    values["image_size"] = size
    values["model"] |= {"name": model, "weights": _absolute(draft.model.weights)}
    values["distill"]["teacher"] = _absolute(draft.distill.teacher)
    values["data"] |= {
        "source": loaded.source,
        "split_seed": loaded.seed,
        "val_fraction": loaded.val_fraction,
        "test_fraction": loaded.test_fraction,
        "on_error": loaded.on_error,
    }
    return Plan(Recipe.model_validate(values), loaded, tuple(notes))


def _normalised(network: ConvNet) -> bool:
    """Whether the network has batch norm, and has it in its hidden linear layers too, unlike VGG's `_bn` rows."""
    head = list(network.head.modules())
    hidden = sum(isinstance(module, nn.Linear) for module in head) - 1
    return hidden <= sum(isinstance(module, nn.BatchNorm1d) for module in head) and any(
        isinstance(module, nn.BatchNorm2d) for module in network.modules()
    )


def load(source: str | Path, recipe: Recipe) -> Data:
    """The images at `source`, divided as the recipe says."""
    data = recipe.data
    return load_data(
        source, seed=data.split_seed, val_fraction=data.val_fraction, test_fraction=data.test_fraction,
        on_error=data.on_error,
    )  # fmt: skip


def switches(recipe: Recipe) -> dict[str, Any]:
    """The recipe's switches of the network. Raises ConfigError for those that the data decides."""
    for name in ("num_classes", "in_channels", "generator", "device", "name"):
        if name in recipe.model.switches:
            raise ConfigError(f"model.switches.{name} is decided by the data and the command: remove it.")
    return recipe.model.switches | ({"checkpointing": True} if recipe.recompute else {})


def _absolute(weights: str) -> str:
    """The weights as they can be found again from another folder."""
    is_path = weights.partition(":")[0] != "torchvision" and Path(weights).exists()
    return str(Path(weights).absolute()) if weights and is_path else weights


def _natural_size(images: ImageSet, config: NetConfig) -> int:
    """The image size to train at: the data's own up to 64 pixels, else the network's, at least 64."""
    if images.paths is None:
        own = min(images.image(0).shape[1:])
    else:
        sample = images.paths[:: max(1, len(images) // 50)]
        own = round(statistics.median(min(image_size(path)) for path in sample))
    return max(own if own <= 64 else max(64, config.image_size), config.min_size, 8)
