"""`classicnets inspect`: show a model stage by stage."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from classicnets.cli.output import JsonFlag, print_json
from classicnets.errors import ConfigError

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets inspect resnet18

  classicnets inspect vgg16 --image-size 256x320 --classes 10

  classicnets inspect googlenet --layers
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(inspect)


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `classicnets models`.")],
    image_size: Annotated[
        str | None,
        typer.Option(metavar="N|HxW", help="Side of the image in pixels, or height x width. Default: as in the paper."),
    ] = None,
    in_channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of the image. Default: as in the paper.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of classes. Default: as in the paper.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show every layer instead of every stage.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a model's shapes, kernels, parameters, multiply-adds, memory and receptive field."""
    from classicnets.analysis import inspect as inspect_model

    size = None if image_size is None else _size(image_size)
    summary = inspect_model(model, image_size=size, in_channels=in_channels, num_classes=classes)
    if as_json:
        print_json(summary.to_dict(layers=layers))
    else:
        typer.echo(summary.to_text(layers=layers))


def _size(text: str) -> tuple[int, int]:
    """Parse '224' or '256x320' as height and width."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise ConfigError(f"--image-size must be a number of pixels such as 224, or HxW such as 256x320; got {text!r}.")
    height, width = match.groups()
    return int(height), int(width or height)
