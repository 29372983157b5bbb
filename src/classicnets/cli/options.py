"""Arguments and options that several commands take, and how options become settings of a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

MODEL = typer.Argument(help="A catalog name; see `classicnets models`.")
DATA = typer.Argument(help="digits, fashion-mnist, cifar10, a folder of images, or csv:FILE.")

RecipeName = Annotated[str | None, typer.Option(help="A shipped recipe or a .toml file. Default: chosen by the data.")]
StartWeights = Annotated[str | None, typer.Option(help="Weights to start from, as for `train`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


def settings_of(given: Iterable[str] | None, options: Mapping[str, object]) -> list[str]:
    """Return settings of a recipe, `key=value` each: the `--set` settings, then the options that are not None.

    `options` maps the recipe's key of each option to its value.
    """
    settings = list(given or ())
    for key, value in options.items():
        if value is not None:
            settings.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    return settings
