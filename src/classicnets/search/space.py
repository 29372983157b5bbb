"""The search space: `optim.lr=log:0.01..1.0`, `batch_size=64|128`, `epochs=5..20`.

A range whose ends are both whole takes whole numbers. `log:` samples evenly in the logarithm. `A|B` are choices,
written as in TOML. In a file, write one key a line: `"optim.lr" = "log:0.01..1.0"`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classicnets.errors import ConfigError
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe, flat


@dataclass(frozen=True)
class Range:
    """A range from `low` to `high`, both included.

    Attributes:
        low, high: the ends.
        log: whether to sample evenly in the logarithm.
        whole: whether to take integers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def extremes(self) -> tuple[Any, ...]:
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """A choice among `values`: text, numbers, true or false."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.values


Space = Mapping[str, Range | Choice]


def parse_space(lines: Iterable[str]) -> dict[str, Range | Choice]:
    """Parse a search space.

    Args:
        lines: `KEY=SPEC` each, with SPEC as LOW..HIGH, log:LOW..HIGH or A|B|C.

    Raises:
        ConfigError: a line cannot be read.

    >>> parse_space(["batch_size=64|128"])
    {'batch_size': Choice(values=(64, 128))}
    """
    space: dict[str, Range | Choice] = {}
    for line in lines:
        key, equals, spec = (part.strip() for part in line.partition("="))
        if not (key and equals and spec):
            raise ConfigError(f"--param {line}: write KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=A|B|C.")
        space[key] = _parse(spec, line)
    return space


def read_space(path: str | Path) -> list[str]:
    """Read a search space from a TOML file, as lines for `parse_space`.

    Args:
        path: the file, with ranges as text ("LOW..HIGH") and choices as lists.

    Raises:
        ConfigError: the file cannot be read, or a value is neither a range nor choices.

    >>> read_space("space.toml")
    ['optim.lr=log:0.01..1.0']
    """
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the search space ({error}).") from None
    return [f"{key}={_spec(spec, key, str(path))}" for key, spec in flat(values).items()]


def check_space(space: Space, recipe: Recipe) -> None:
    """Check that the recipe accepts both ends of every range, and every choice.

    Args:
        space: what to search.
        recipe: the recipe that trials change.

    Raises:
        UnknownName: a key does not exist.
        ConfigError: a value is not allowed, or the key cannot be searched, such as `data.source`.

    >>> check_space(parse_space(["epochs=5..20"]), Recipe())
    """
    for key, search in space.items():
        if key.startswith(("data.", "model.name", "model.weights")):
            raise ConfigError(f"{key} cannot be searched: every trial has the same network, weights and data.")
        if key == "best":
            raise ConfigError("best cannot be searched: trials are compared by it. Choose it with --set best=...")
        for value in search.extremes:
            with_settings(recipe, [setting(key, value)])


def default_space(recipe: Recipe) -> list[str]:
    """Return the lines of a search over the learning rate and the weight decay, around those of the recipe.

    Args:
        recipe: the recipe that the search starts from. A weight decay of 0 is not searched.

    >>> default_space(Recipe())
    ['optim.lr=log:0.01..0.4', 'optim.weight_decay=log:5e-05..0.005']
    """
    lr, decay = recipe.optim.lr, recipe.optim.weight_decay
    lines = [f"optim.lr=log:{lr / 10:g}..{lr * 4:g}"]
    return [*lines, f"optim.weight_decay=log:{decay / 10:g}..{decay * 10:g}"] if decay else lines


def setting(key: str, value: Any) -> str:
    """Return a value as `--set` takes it."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def value_in(recipe: Recipe, key: str) -> Any:
    """Return the recipe's value of a dotted key; None if it is unset."""
    value: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _parse(spec: str, line: str) -> Range | Choice:
    if ".." not in spec:
        values = tuple(_value(text) for text in spec.split("|"))
        if len(set(values)) < 2:
            raise ConfigError(f"--param {line}: give a range LOW..HIGH, or two or more choices A|B.")
        return Choice(values)
    low, _, high = spec.removeprefix("log:").partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ConfigError(f"--param {line}: the ends of a range must be numbers, LOW..HIGH.") from None
    log = spec.startswith("log:")
    if not ends[0] < ends[1] < float("inf") or (log and ends[0] <= 0):
        above = ", and above 0" if log else ""
        raise ConfigError(f"--param {line}: the first end must be below the second{above}.")
    return Range(*ends, log=log, whole=all(isinstance(_value(end), int) for end in (low, high)))


def _value(text: str) -> Any:
    """A TOML value that is neither a table nor a list; a bare word is text."""
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    return value if isinstance(value, str | int | float | bool) else text.strip()


def _spec(spec: Any, key: str, path: str) -> str:
    """What a file says of a key, as a line says it."""
    if isinstance(spec, list):
        return "|".join(json.dumps(value) for value in spec)
    if isinstance(spec, str):
        return spec
    raise ConfigError(f'{path}: {key} = {spec}: write a range "LOW..HIGH" or choices [A, B].')
