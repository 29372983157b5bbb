"""`classicnets find-lr`: suggest a learning rate for a network and its data, by a range test."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from classicnets.cli.options import DATA, MODEL, Device, RecipeName, StartWeights
from classicnets.cli.output import JsonFlag, one_voice, print_json, progress_bars, say

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets find-lr resnet20_cifar fashion-mnist

  classicnets find-lr resnet18 photos/ --weights torchvision --figure rate.svg

  classicnets find-lr nin_cifar cifar10 --steps 600 --set optim.name=adamw
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(find_lr)


@one_voice
def find_lr(
    model: Annotated[str, MODEL],
    data: Annotated[str, DATA],
    steps: Annotated[int, typer.Option(min=20, help="Number of optimizer steps in the test.")] = 200,
    low: Annotated[
        float | None, typer.Option(help="First rate; default 1e-4 for SGD, 1e-6 for AdamW, 1e-5 for Muon.")
    ] = None,
    high: Annotated[
        float | None, typer.Option(help="Last rate; default 10 for SGD, 0.1 for AdamW, 1 for Muon.")
    ] = None,
    recipe: RecipeName = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a key of the recipe, such as batch_size=64; repeatable."
        ),
    ] = None,
    weights: StartWeights = None,
    device: Device = "auto",
    figure: Annotated[
        Path | None,
        typer.Option("--figure", "--out", metavar="FILE", help="Write the curve to a new .png or .svg file."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Suggest a learning rate: the network takes one step at each of many rates, from far too low to far too high.

    The test uses the same recipe as `train`. It creates no run and writes nothing except the figure.
    """
    from classicnets.reports.canvas import check_figure_path, save_figure
    from classicnets.search import find_lr as library
    from classicnets.system.threads import limit_threads
    from classicnets.training.recipe.settings import as_settings

    limit_threads()
    if figure is not None:
        check_figure_path(figure)
    settings = as_settings(set_ or (), {"model.weights": weights})
    with progress_bars() as progress:
        found = library.find_lr(
            model, data, steps=steps, low=low, high=high, recipe=recipe, settings=settings, device=device,
            progress=progress,
        )  # fmt: skip
    if figure is not None:
        save_figure(library.draw(found), figure)
    if as_json:
        print_json(found.to_dict())
        return
    for note in found.notes:
        say(note, "dim")
    if found.suggestion is None:
        typer.echo(f"The loss did not fall at any rate in {steps} steps.")
        typer.echo(f"Try more steps (--steps {3 * steps}). With trained weights, there may be little left to learn.")
    else:
        typer.echo(f"suggested learning rate {found.suggestion:g}; the recipe has {found.recipe.optim.lr:g}")
        options = [] if recipe is None else ["--recipe", recipe]
        options += [] if weights is None else ["--weights", weights]
        for setting in [*(set_ or ()), f"optim.lr={found.suggestion:g}"]:
            options += ["--set", setting]
        typer.echo(f"next: {shlex.join(['classicnets', 'train', model, data, *options])}")
    if figure is not None:
        typer.echo(f"figure: {figure}")
