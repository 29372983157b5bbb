"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL = typer.Argument(help="A model's name, from `classicnets models`.")
DATA = typer.Argument(help="digits, fashion-mnist, cifar10, a folder of images, or csv:FILE.")

RecipeName = Annotated[
    str | None,
    typer.Option(
        help="A shipped recipe or a .toml file. Default: chosen to suit data and network, and fitted to few images."
    ),
]
StartWeights = Annotated[str | None, typer.Option(help="Weights to start from, as for `train`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
