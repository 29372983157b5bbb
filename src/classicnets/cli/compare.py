"""`classicnets compare`: networks side by side, or runs on the images that they all answered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.options import Device
from classicnets.cli.output import JsonFlag, note, print_json, progress_bars
from classicnets.errors import ConfigError
from classicnets.models.facts import FACTS

if TYPE_CHECKING:
    from classicnets.analysis.compare import Comparison
    from classicnets.runs.paired import RunComparison

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets compare vgg16 googlenet_bn resnet50

  classicnets compare "resnet*" "densenet*" --no-latency --figure networks.svg

  classicnets compare runs/resnet20_cifar-digits runs/resnet20_cifar-digits-2
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(compare)


def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL|RUN", help="Models, or patterns such as 'resnet*'; or run folders."),
    ],
    latency: Annotated[bool, typer.Option(help="Models: measure forward passes on this machine.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Models: images in the batch that is measured.")] = 8,
    device: Device = "auto",
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Models: draw accuracy against multiply-adds to a new .png or .svg file."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the numbers as CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare models: size, cost, depth, speed and published accuracy. Or compare runs on the same test images.

    Runs are compared with the first of them by their recorded answers: the difference in accuracy with its 95%
    interval, McNemar's exact test, and the images that only one of the two gets right.
    """
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other. Give one of them.")
    runs = [name for name in names if _is_run(name)]
    models = [name for name in names if not _is_run(name)]
    if runs and models:
        missing = [run for run in runs if not Path(run).exists()]
        if missing:
            from classicnets.runs.answers import no_run

            raise no_run(missing[0])
        raise ConfigError(
            f"Models and runs cannot be compared with each other; got the models {', '.join(models)} and the runs "
            f"{', '.join(runs)}. Give models to compare networks, or runs to compare their answers."
        )
    if runs:
        _compare_runs(runs, figure, as_csv=as_csv, as_json=as_json)
    else:
        _compare_models(models, latency, batch_size, device, figure, as_csv=as_csv, as_json=as_json)


def _is_run(name: str) -> bool:
    """Whether a name stands for a run: a path, and not a model. For a folder called vgg16, write ./vgg16."""
    if name in FACTS:
        return False
    return "/" in name or os.sep in name or Path(name).is_dir()


def _compare_models(
    names: Sequence[str],
    latency: bool,
    batch_size: int,
    device: str,
    figure: Path | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    from classicnets.analysis.compare import compare, matching_models
    from classicnets.reports.canvas import check_figure_path, save_figure
    from classicnets.reports.networks import accuracy_figure, check_drawable
    from classicnets.system.threads import limit_threads, threads_note

    if figure is not None:
        check_figure_path(figure)
        check_drawable(matching_models(*names))
    limit_threads()
    with progress_bars() as progress:
        found = compare(*names, latency=latency, batch_size=batch_size, device=device, progress=progress)
    if figure is not None:
        save_figure(accuracy_figure(found.networks), figure)
    if found.conditions and found.conditions.device == "cpu":
        slow = threads_note(found.conditions.threads)
        if slow:
            note(slow)
    _print(found, as_csv=as_csv, as_json=as_json)
    if figure is not None and not (as_csv or as_json):
        typer.echo(f"\nfigure: {figure}")


def _compare_runs(paths: Sequence[str], figure: Path | None, *, as_csv: bool, as_json: bool) -> None:
    from classicnets.runs.paired import compare_runs

    if figure is not None:
        raise ConfigError(
            f"--figure draws models. For the curves of runs: classicnets runs {' '.join(paths)} --figure {figure}"
        )
    found = compare_runs(*paths)
    for text in found.notes:
        note(text)
    _print(found, as_csv=as_csv, as_json=as_json)


def _print(found: Comparison | RunComparison, *, as_csv: bool, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
    elif as_csv:
        typer.echo(found.to_csv(), nl=False)
    else:
        typer.echo(found.to_text())
