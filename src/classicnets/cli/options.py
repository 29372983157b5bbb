"""Arguments and options that several commands take, and what becomes of those that are settings of a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

MODEL = typer.Argument(help="A catalog name; see `classicnets models`.")
DATA = typer.Argument(help="digits, fashion-mnist, cifar10, a folder of images, or csv:FILE.")

RecipeName = Annotated[
    str | None, typer.Option(help="A shipped recipe or a .toml file; chosen by the data if not given.")
]
StartWeights = Annotated[str | None, typer.Option(help="Start from these, as `train` does.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


def settings_of(given: Iterable[str] | None, options: Mapping[str, object]) -> list[str]:
    """The `--set` settings, then the options that were given, by the recipe's keys: `key=value` each."""
    return [
        *(given or ()),
        *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items() if value is not None),
    ]
