"""The ways into a search for a better recipe: `tune` begins one, `resume_tuning` resumes one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from classicnets.data import Data
from classicnets.errors import ConfigError, DataError, StorageError
from classicnets.search.space import check_space, default_space, parse_space, setting
from classicnets.search.study import require_optuna
from classicnets.search.tuning import Tuning, write_text
from classicnets.system.paths import numbered
from classicnets.training.recipe.files import parse_recipe, with_settings
from classicnets.training.recipe.plan import load, resolve
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.prepare import Progress
from classicnets.training.scale.processes import only_alone


def tune(
    model: str,
    data: str | Path | Data,
    *,
    trials: int,
    space: Iterable[str] = (),
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Tuning:
    """Prepare a search for a better recipe, and create its folder.

    Args:
        model: a catalog name, such as "resnet20_cifar".
        data: a name that `load_data` knows, a path, or a Data, which may be made or changed in Python.
        trials: how many recipes to try, at least 1.
        space: what to search, in lines such as "optim.lr=log:0.01..1.0"; see `classicnets.search.space`. With none,
            the learning rate and the weight decay are searched around those of the recipe.
        recipe: the recipe to start from: a Recipe, a shipped name or a .toml file. None chooses one by the network
            and the data.
        settings: `key=value` changes to the recipe of every trial, such as "epochs=5".
        out: the folder to create; None takes `runs/tune-MODEL-DATA`. A number is appended if it exists.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        A Tuning to iterate over.

    Raises:
        MissingExtra: Optuna is not installed.
        UnknownName, ConfigError: the model, the recipe, a key or a value is not allowed.
        DataError: the data cannot be trained on.
        StorageError: the folder cannot be created.

    >>> *_, tuned = tune("resnet20_cifar", "digits", trials=20)
    """
    only_alone("tune")
    require_optuna()
    if trials < 1:
        raise ConfigError(f"A search needs at least 1 trial, got {trials}; 20 are a good start.")
    plan = resolve(model, data, recipe=recipe, settings=settings)
    lines = list(space) or default_space(plan.recipe)
    check_space(parse_space(lines), plan.recipe)
    folder = _new_folder(Path(out) if out is not None else Path("runs") / f"tune-{model}-{plan.data.name}")
    write_text(folder / "base-recipe.toml", plan.recipe.to_toml())
    searched = {"trials": trials, "space": lines, "fingerprint": plan.data.fingerprint()}
    write_text(folder / "tune.json", json.dumps(searched, indent=2, ensure_ascii=False) + "\n")
    return Tuning(
        folder, plan.recipe, lines, trials, data=plan.data, device=device, progress=progress, notes=plan.notes
    )


def resume_tuning(
    folder: str | Path,
    *,
    trials: int | None = None,
    data: str | Path | Data | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Tuning:
    """Resume a search that was stopped, or extend one that is over.

    Args:
        folder: the folder that `tune` created.
        trials: the new number of trials in all; None keeps it.
        data: the images: a path if they have moved, or the Data that `tune` got if it was made or changed in Python.
            None loads them from their old place.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        A Tuning to iterate over.

    Raises:
        MissingExtra: Optuna is not installed.
        ConfigError: the folder holds no search, or a damaged one.
        DataError: the images cannot be loaded, or are not those that the search began with.

    >>> *_, tuned = resume_tuning("runs/tune-resnet20_cifar-digits", trials=40)
    """
    only_alone("tune")
    require_optuna()
    folder = Path(folder)
    try:
        values = json.loads((folder / "tune.json").read_text("utf-8"))
        recipe = parse_recipe((folder / "base-recipe.toml").read_text("utf-8"), str(folder / "base-recipe.toml"))
        planned, space = int(values["trials"]), list(values["space"])
        fingerprint = values.get("fingerprint")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is not a folder that `classicnets tune` made, or is damaged ({error}).") from None
    loaded = data if isinstance(data, Data) else load(recipe.data.source if data is None else data, recipe)
    if fingerprint not in (None, loaded.fingerprint()):  # None: written by 0.1.0
        raise DataError(
            f"{folder} was searched on other images than those of {loaded.source}. Trials on different images cannot "
            f"be compared. Restore the images (copy files with their times: cp -a), or pass the Data that `tune` got: "
            f"resume_tuning(..., data=data)."
        )
    if data is not None:
        recipe = with_settings(recipe, [setting("data.source", loaded.source)])
        write_text(folder / "base-recipe.toml", recipe.to_toml())
    return Tuning(
        folder, recipe, space, planned if trials is None else trials, data=loaded, device=device, progress=progress
    )


def _new_folder(path: Path) -> Path:
    for folder in islice(numbered(path), 9_999):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(
                f"Cannot create {folder} ({error.strerror}). Choose another folder with --out."
            ) from None
        return folder
    raise StorageError(f"{path} and 9,999 numbered folders beside it exist. Choose another folder with --out.")
