"""The plan of a training: from the arguments of a command to a recipe that leaves nothing open.

load data -> choose the recipe and fit it to the data -> fill in the image size, the split and the paths -> Plan
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classicnets.data import Data, load_data
from classicnets.data.corrections import corrected
from classicnets.data.pipeline.augment import Augment
from classicnets.errors import ConfigError
from classicnets.models.catalog import create, family_of
from classicnets.training.recipe.choose import FITTED, choose_recipe, fitted, in_color, natural_size, normalised
from classicnets.training.recipe.files import load_recipe, with_settings
from classicnets.training.recipe.schema import InitSection, ProgressiveSection, Recipe


@dataclass(frozen=True)
class Plan:
    """The resolved recipe, the data that it names, and sentences on what was chosen and why."""

    recipe: Recipe
    data: Data
    notes: tuple[str, ...]


def resolve(
    model: str, data: str | Path | Data, *, recipe: str | Path | Recipe | None = None, settings: Iterable[str] = ()
) -> Plan:
    """Load the data and resolve the recipe. Nothing is written.

    Args:
        model: a catalog name, such as "resnet20_cifar".
        data: a name that `load_data` knows, a path, or a Data.
        recipe: a Recipe, a shipped name or a .toml file. None chooses one by the network and the data, and fits it to
            the number of training images.
        settings: `key=value` changes to the recipe, such as "optim.lr=0.1".

    Raises:
        UnknownName: the model, the recipe or a key does not exist.
        ConfigError: a value is not allowed, or two of them do not go together.
        DataError: the data cannot be trained on.

    >>> resolve("resnet20_cifar", "digits").recipe.image_size
    8
    """
    settings = list(settings)
    keys = {setting.partition("=")[0].strip() for setting in settings}
    for key in ("model.name", "data.source"):
        if key in keys:
            raise ConfigError(f"{key} cannot be set: give the model and the data as arguments.")
    if "minutes" in keys:
        raise ConfigError("minutes cannot be set in a recipe: give --minutes, or minutes= in Python.")
    given = None if recipe is None else recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    draft = with_settings(given or Recipe(), settings)
    network = create(model, device="meta", **switches(draft))
    loaded = with_corrections(data if isinstance(data, Data) else load(data, draft), draft)
    size_fits = given is None and not draft.model.weights
    size = draft.image_size or natural_size(loaded.train, network.config, fit=size_fits)
    if size < network.config.min_size:
        raise ConfigError(
            f"{model} needs images of at least {network.config.min_size} pixels, and image_size is {size}. "
            f"Set a larger one, or choose a variant for small images (`classicnets models cifar`)."
        )
    notes = [loaded.split]
    if given is None:
        name, reason = choose_recipe(
            num_train=len(loaded.train),
            image_size=size,
            family=family_of(model).name,
            batch_norm=normalised(network),
            pretrained=bool(draft.model.weights),
        )
        draft = with_settings(load_recipe(name), settings)
        notes.append(f"recipe {name!r}: {reason}")
        if name in FITTED:
            color = draft.augment.crop == "pad" and in_color(loaded.train)
            draft, changes = fitted(draft, len(loaded.train), size, num_val=len(loaded.val), color=color, given=keys)
            notes += [changes] if changes else []
    if draft.data.refit and loaded.test is None:
        raise ConfigError(
            f"data.refit=true trains on the validation images too, so only test images can measure the result, and "
            f"{loaded.source} has none. Add a part with test images, or leave out data.refit."
        )
    draft, left_out = without_unused(draft)
    notes += left_out
    values = draft.model_dump(mode="json")
    values |= {"image_size": size, "minutes": None}
    values["model"] |= {"name": model, "weights": _absolute(draft.model.weights)}
    values["distill"]["teacher"] = _absolute(draft.distill.teacher)
    values["data"] |= {
        "source": loaded.source,
        "split_seed": loaded.seed,
        "val_fraction": loaded.val_fraction,
        "test_fraction": loaded.test_fraction,
        "on_error": loaded.on_error,
        "corrections": _absolute(draft.data.corrections),
    }
    return Plan(Recipe.model_validate(values), loaded, tuple(notes))


def without_unused(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Turn off what a trunk that is frozen for the whole run rules out: augmentation and progressive sizes.

    Args:
        recipe: the recipe as it was asked for; it stays as it is.

    Returns:
        The recipe to train with, and sentences on what was turned off.

    Raises:
        ConfigError: settings do not go together, such as a frozen trunk without trained weights.
    """
    if recipe.patience and recipe.best == "last":
        raise ConfigError(
            f"patience is {recipe.patience}, which ends a run when no epoch is better, and best is 'last', which "
            "compares none. Set best to accuracy, balanced_accuracy or loss, or unset patience (patience=none)."
        )
    if recipe.finetune.freeze and not recipe.model.weights:
        raise ConfigError(
            f"finetune.freeze is {recipe.finetune.freeze:g}, but the trunk has no trained weights to freeze. "
            f"Start from trained weights with --weights (a file, a run, or torchvision), or set finetune.freeze=0."
        )
    if recipe.init != InitSection() and recipe.model.weights:
        raise ConfigError(
            "init.whiten and init.dirac choose the first weights, but this training starts from trained weights. "
            "Leave out model.weights (--weights), or set both to false."
        )
    if recipe.finetune.freeze < 1:
        return recipe, []
    if recipe.distill.teacher:
        raise ConfigError(
            "finetune.freeze=1 shows each image to the trunk once, and distill.teacher needs it at every step. "
            "Leave one out, or let the trunk learn at the end: finetune.freeze=0.9."
        )
    plain = recipe.model_copy(update={"augment": Augment(), "progressive": ProgressiveSection()})
    if plain == recipe:
        return recipe, []
    return plain, ["augmentation and progressive sizes are off: the frozen trunk sees each image once"]


def load(source: str | Path, recipe: Recipe) -> Data:
    """Load the images at `source`, split as the recipe says."""
    data = recipe.data
    return load_data(
        source,
        seed=data.split_seed,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        on_error=data.on_error,
    )


def with_corrections(data: Data, recipe: Recipe) -> Data:
    """Return the data with the corrections that the recipe names, if any, laid over it. Raises DataError."""
    return corrected(data, recipe.data.corrections) if recipe.data.corrections else data


def switches(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's switches of the network. Raises ConfigError for one that the data or the command decides."""
    for name in ("num_classes", "in_channels", "generator", "device", "name"):
        if name in recipe.model.switches:
            raise ConfigError(
                f"model.switches.{name} follows from the data and the command. Remove it from the recipe."
            )
    if recipe.recompute:
        return recipe.model.switches | {"checkpointing": True}
    return recipe.model.switches


def _absolute(path: str) -> str:
    """Weights or a file, as they can be found again from another folder."""
    is_path = path.partition(":")[0] != "torchvision" and Path(path).exists()
    return str(Path(path).absolute()) if path and is_path else path
