"""`classicnets inspect`: show a model stage by stage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from classicnets.cli.output import JsonFlag, print_json
from classicnets.errors import ConfigError
from classicnets.system.storage import written_aside

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets inspect resnet18

  classicnets inspect vgg16 --image-size 256x320 --classes 10

  classicnets inspect googlenet --layers

  classicnets inspect googlenet --svg googlenet.svg
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
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the model to a new .svg file, repeated blocks once.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a model's shapes, kernels, parameters, multiply-adds, memory and receptive field."""
    from classicnets.analysis import inspect as inspect_model

    if svg is not None and svg.suffix != ".svg":
        raise ConfigError(f"--svg must name a file that ends with .svg, got {svg}.")
    if svg is not None and svg.exists():
        raise ConfigError(f"{svg} exists, and files are never overwritten. Give another name, or remove the file.")
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other. Give one of them.")
    size = None if image_size is None else _size(image_size)
    summary = inspect_model(model, image_size=size, in_channels=in_channels, num_classes=classes)
    if svg is not None:
        with written_aside(svg) as new:
            new.write_text(summary.to_svg(), "utf-8")
    if as_json:
        print_json(summary.to_dict(layers=layers))
    elif as_csv:
        typer.echo(summary.to_csv(layers=layers), nl=False)
    else:
        typer.echo(summary.to_text(layers=layers))
        if svg is not None:
            typer.echo(f"\ndrawing: {svg}")


def _size(text: str) -> tuple[int, int]:
    """Parse '224' or '256x320' as height and width."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise ConfigError(f"--image-size must be a number of pixels such as 224, or HxW such as 256x320; got {text!r}.")
    height, width = match.groups()
    return int(height), int(width or height)
