"""What a search may change, and how far: `optim.lr=log:0.01..1.0`, `batch_size=64|128`, `epochs=5..20`.

A range takes whole numbers where both of its ends are whole, `log:` tries it evenly in the logarithm, and `A|B` are
choices, written as in TOML. In a file: `"optim.lr" = "log:0.01..1.0"`, one key a line.
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
from classicnets.training.recipe.schema import Recipe


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included; `whole` for integers, `log` for even steps in the logarithm."""

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
    """One of some values: text, numbers, true or false."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.values


Space = Mapping[str, Range | Choice]


def parse_space(lines: Iterable[str]) -> dict[str, Range | Choice]:
    """`KEY=SPEC` lines to a space. Raises ConfigError."""
    space: dict[str, Range | Choice] = {}
    for line in lines:
        key, equals, spec = (part.strip() for part in line.partition("="))
        if not (key and equals and spec):
            raise ConfigError(f"--param {line}: write KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=A|B|C.")
        space[key] = _parse(spec, line)
    return space


def read_space(path: str | Path) -> list[str]:
    """The `KEY=SPEC` lines of a TOML file. Raises ConfigError where it cannot be read as one."""
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the search space ({error}).") from None
    return [f"{key}={spec}" for key, spec in _flat(values, str(path)).items()]


def check_space(space: Space, recipe: Recipe) -> None:
    """Raise ConfigError or UnknownName unless every end and choice can stand in `recipe`."""
    for key, search in space.items():
        if key.startswith(("data.", "model.name", "model.weights")):
            raise ConfigError(f"{key} says what is trained, and on what; a search compares trainings of one thing.")
        if key == "best":
            raise ConfigError("best is what trials are compared by, one for all of them. Choose it with --set best=...")
        for value in search.extremes:
            with_settings(recipe, [setting(key, value)])


def default_space(recipe: Recipe) -> list[str]:
    """The learning rate and the weight decay, around those of the recipe."""
    lr, decay = recipe.optim.lr, recipe.optim.weight_decay
    lines = [f"optim.lr=log:{lr / 10:g}..{lr * 4:g}"]
    return [*lines, f"optim.weight_decay=log:{decay / 10:g}..{decay * 10:g}"] if decay else lines


def setting(key: str, value: Any) -> str:
    """A value as `--set` takes it."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def value_in(recipe: Recipe, key: str) -> Any:
    """What the recipe has at a dotted key; None where it is unset."""
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
        raise ConfigError(f"--param {line}: the ends of a range are numbers, LOW..HIGH.") from None
    log = spec.startswith("log:")
    if not ends[0] < ends[1] < float("inf") or (log and ends[0] <= 0):
        raise ConfigError(f"--param {line}: the first end must be below the second{', and above 0' if log else ''}.")
    return Range(*ends, log=log, whole=all(isinstance(_value(end), int) for end in (low, high)))


def _value(text: str) -> Any:
    """A TOML value that is no table or list; a bare word is text."""
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    return value if isinstance(value, str | int | float | bool) else text.strip()


def _flat(values: Mapping[str, Any], path: str, before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, spec in values.items():
        if isinstance(spec, dict):
            flat |= _flat(spec, path, f"{before}{key}.")
        elif isinstance(spec, list):
            flat[before + key] = "|".join(json.dumps(value) for value in spec)
        elif isinstance(spec, str):
            flat[before + key] = spec
        else:
            raise ConfigError(f'{path}: {before}{key} = {spec}: write a range "LOW..HIGH" or choices [A, B].')
    return flat
