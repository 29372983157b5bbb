"""Recipes from files and from settings: shipped by name, TOML files by path, and single values by `key=value`."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

import classicnets
from classicnets.errors import ConfigError, UnknownName, did_you_mean, unknown_name
from classicnets.training.recipe.schema import Recipe, all_keys


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the package, sorted.

    >>> "small-images" in shipped_recipes()
    True
    """
    return sorted(file.name.removesuffix(".toml") for file in _shipped().iterdir() if file.name.endswith(".toml"))


def recipe_facts(name: str) -> dict[str, str]:
    """Return what the header of a shipped recipe states: command, hardware, minutes and accuracy, if stated.

    Args:
        name: a shipped recipe, such as "small-images".
    """
    lines = (_shipped() / f"{name}.toml").read_text("utf-8").splitlines()
    header = itertools.takewhile(lambda line: line.startswith("#"), lines)
    found = (re.fullmatch(r"# (command|hardware|minutes|accuracy) +(.+)", line) for line in header)
    return {match[1]: match[2] for match in found if match}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe.

    Args:
        name_or_path: the name of a shipped recipe, or the path of a .toml file.

    Raises:
        UnknownName: no recipe of this name is shipped, or the file has an unknown key.
        ConfigError: the file cannot be read, is not TOML, or has a value that is not allowed.

    >>> load_recipe("photos").batch_size
    64
    """
    text = str(name_or_path)
    names = shipped_recipes()
    if text in names:
        return parse_recipe((_shipped() / f"{text}.toml").read_text("utf-8"), text)
    path = Path(text)
    if path.suffix != ".toml":
        raise unknown_name("recipe", text, names, next_step=f"Shipped: {', '.join(names)}; or give a .toml file.")
    try:
        return parse_recipe(path.read_text("utf-8"), text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the recipe ({error}). Give the path of a .toml file.") from None


def parse_recipe(text: str, name: str) -> Recipe:
    """Read a recipe from TOML text. A key that the text leaves out has its default.

    Args:
        text: the TOML text.
        name: what error messages call it, such as the path of its file.

    Raises:
        UnknownName: a key does not exist; a newer version may have written it, and the message says so.
        ConfigError: the text is not TOML, or a value is not allowed.

    >>> parse_recipe("epochs = 3", "mine").epochs
    3
    """
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise _refused(error, name, from_file=True) from None


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return the recipe with single values changed.

    Args:
        recipe: the recipe to start from; it stays as it is.
        settings: `key=value` strings with keys dotted as in TOML: "optim.lr=0.1", "augment.flip=true". Values are
            TOML. A bare word is a string, and `none` unsets a key that may be unset, such as `patience`.

    Raises:
        UnknownName: a key does not exist; the message suggests the nearest one.
        ConfigError: a setting is not `key=value`, or its value is not allowed.

    >>> with_settings(Recipe(), ["optim.lr=0.2"]).optim.lr
    0.2
    """
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    may_be_unset = {key for key, field in all_keys().items() if field.default is None}
    for setting in settings:
        key, value = _parsed(setting)
        *sections, last = key.split(".")
        table = values
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise UnknownName(f"--set {setting}: {section!r} is a value, not a section.")
        if value == "none" and key in may_be_unset:
            table.pop(last, None)
        else:
            table[last] = value
    return _validated(values)


def _shipped() -> Traversable:
    return resources.files("classicnets") / "recipes"


def _parsed(setting: str) -> tuple[str, Any]:
    key, equals, raw = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {setting}: write key=value, such as --set optim.lr=0.1")
    try:
        return key.strip(), tomllib.loads(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        return key.strip(), raw.strip()


def _validated(values: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _refused(error, "recipe") from None


def _refused(error: ValidationError, name: str, *, from_file: bool = False) -> UnknownName | ConfigError:
    """The error for the first problem. A file may also be one of a newer version, with keys and words that are new."""
    problem: ErrorDetails = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    newer = f" If a newer version than {classicnets.__version__} wrote it (see the run's environment.json), update."
    if problem["type"] == "extra_forbidden":
        near = _near_keys(key)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; known keys: {', '.join(all_keys())}."
        return UnknownName(f"{name}: unknown key {key}{hint}{newer if from_file else ''}")
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    is_new_word = from_file and problem["type"] == "literal_error"
    return ConfigError(f"{name}: {key} = {problem['input']!r}: {message}{'.' + newer if is_new_word else ''}")


def _near_keys(key: str) -> list[str]:
    """The keys that `key` may stand for: those with its last part (`lr` for `optim.lr`), else those spelled alike."""
    last = key.rpartition(".")[2]
    same_part = [known for known in all_keys() if known.rpartition(".")[2] == last]
    return same_part or did_you_mean(key, all_keys(), most=1)
