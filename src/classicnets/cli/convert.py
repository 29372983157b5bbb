"""`classicnets convert`: convert weights between the names of different libraries."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from classicnets.cli.output import JsonFlag, note, print_json

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets convert resnet50-0676ba61.pth --model resnet50

  classicnets convert checkpoint.th --model resnet20_cifar --out resnet20.safetensors

  classicnets convert runs/birds --model resnet18 --to torchvision --out birds.pth
"""


class Naming(StrEnum):
    """A library whose weight names the new file uses."""

    classicnets = "classicnets"
    torchvision = "torchvision"
    timm = "timm"
    cifar = "cifar"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("convert", epilog=_EXAMPLES)(convert)


def convert(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A weights file of any library, a run, a model folder, or a checkpoint's folder."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="The model that the weights belong to: a name from `classicnets models`."),
    ],
    to: Annotated[
        Naming, typer.Option(help="Use the weight names of this library; cifar means the community's CIFAR networks.")
    ] = Naming.classicnets,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new file, .safetensors or PyTorch's .pth. By default beside FILE."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Convert weights between classicnets, torchvision, timm and the community's CIFAR networks, in any direction.

    The format and the names of FILE are detected. If keys do not fit, they are all listed and nothing is written.
    """
    from classicnets.weights.convert import convert as convert_weights

    done = convert_weights(file, model, to=to.value, out=out)
    for remark in done.remarks:
        note(remark)
    if as_json:
        print_json(done.to_dict())
        return
    typer.echo(f"read     {done.source}: {done.found}, names of {done.found_names}")
    typer.echo(
        f"model    {done.model}, {done.num_classes} classes, {done.in_channels} input channels: "
        f"{done.weights} tensors with {done.numbers:,} numbers, all matched"
    )
    typer.echo(f"written  {done.out}, names of {done.out_names}")
    typer.echo(f"sha256   {done.sha256}")
