"""`classicnets inspect`: show a model stage by stage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.output import JsonFlag, print_json
from classicnets.errors import ConfigError
from classicnets.system.storage import check_new, written_aside

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets inspect resnet18

  classicnets inspect vgg16 --image-size 256x320 --classes 10

  classicnets inspect googlenet --layers

  classicnets inspect googlenet --svg googlenet.svg

  classicnets inspect resnet18 --unit conv3,0,10,20 --image photo.jpg --svg unit.svg
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
        Path | None,
        typer.Option(metavar="FILE", help="Draw to a new .svg file: the model, repeated blocks once, or the --unit."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE,C,Y,X",
            help="Show one unit instead: what it sees of the image, and which later units see it. "
            "STAGE is a stage, C a channel of its output, Y and X a row and a column, all from 0.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The image that --unit is drawn on, resized to the model's size."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a model's shapes, kernels, parameters, multiply-adds, memory and receptive field."""
    _check(svg=svg, unit=unit, image=image, as_csv=as_csv, as_json=as_json)
    size = None if image_size is None else _size(image_size)
    if unit is not None:
        _show_unit(model, unit, size, image=image, svg=svg, as_json=as_json)
        return
    from classicnets.analysis import inspect as inspect_model

    summary = inspect_model(model, image_size=size, in_channels=in_channels, num_classes=classes)
    if svg is not None:
        _write(svg, summary.to_svg())
    if as_json:
        print_json(summary.to_dict(layers=layers))
    elif as_csv:
        typer.echo(summary.to_csv(layers=layers), nl=False)
    else:
        typer.echo(summary.to_text(layers=layers))
        _say_drawing(svg)


def _show_unit(
    model: str, unit: str, size: tuple[int, int] | None, *, image: Path | None, svg: Path | None, as_json: bool
) -> None:
    from classicnets.analysis.unit import inspect_unit
    from classicnets.analysis.unit_drawing import draw_unit

    match = re.fullmatch(r"([^,]+),(\d+),(\d+),(\d+)", unit)
    if match is None:
        raise ConfigError(f"--unit must be STAGE,C,Y,X such as conv3,0,10,20; got {unit!r}.")
    channel, row, column = map(int, match.groups()[1:])
    fields = inspect_unit(model, match[1], channel, row, column, image_size=size)
    if svg is not None:
        _write(svg, draw_unit(fields, None if image is None else _picture(image, fields.image)))
    if as_json:
        print_json(fields.to_dict())
    else:
        typer.echo(fields.to_text())
        _say_drawing(svg)


def _picture(image: Path, size: tuple[int, int]) -> Tensor:
    """The image as a network of that size gets it, before it is normalised."""
    import torch

    from classicnets.preprocess import Preprocess

    preprocess = Preprocess(input_size=size, mean=(0.0,) * 3, std=(1.0,) * 3)
    return torch.from_numpy(preprocess.read(image))


def _check(*, svg: Path | None, unit: str | None, image: Path | None, as_csv: bool, as_json: bool) -> None:
    if svg is not None:
        if svg.suffix != ".svg":
            raise ConfigError(f"--svg must name a file that ends with .svg, got {svg}.")
        check_new(svg)
    if as_csv and (as_json or unit is not None):
        raise ConfigError("--csv cannot be combined with --json or --unit. Give one of them.")
    if image is not None and (unit is None or svg is None):
        raise ConfigError("--image is what a unit is drawn on. Give --unit STAGE,C,Y,X and --svg FILE too.")


def _write(svg: Path, text: str) -> None:
    with written_aside(svg) as new:
        new.write_text(text, "utf-8")


def _say_drawing(svg: Path | None) -> None:
    if svg is not None:
        typer.echo(f"\ndrawing: {svg}")


def _size(text: str) -> tuple[int, int]:
    """Parse '224' or '256x320' as height and width."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise ConfigError(f"--image-size must be a number of pixels such as 224, or HxW such as 256x320; got {text!r}.")
    height, width = match.groups()
    return int(height), int(width or height)
