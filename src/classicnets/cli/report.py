"""`classicnets report`: everything about a run on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from classicnets.cli.options import Device
from classicnets.cli.output import JsonFlag, answer, check_page, print_json, progress_bars
from classicnets.cli.output import note as say_note

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets report runs/photos

  classicnets report runs/photos --out birds.html --mistakes 12

  classicnets report runs/photos --no-check --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(report)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    check: Annotated[bool, typer.Option(help="Open every image of the data to find what is wrong with it.")] = True,
    mistakes: Annotated[
        int, typer.Option(min=0, help="For how many of the most confident mistakes to show what speaks for them.")
    ] = 6,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new .html file. Default: the run's own report.html, which is completed."),
    ] = None,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Bring a run together on one page: data and its faults, curves, metrics, calibration, mistakes, network, recipe.

    It is the page that the training wrote, with what takes time: a check of every image, and for the most confident
    mistakes a Grad-CAM map with its verdict. Nothing is measured again, and no part of the old page is lost. If
    images are gone, what needs them is left out, and the old page is kept beside the new one.
    """
    from classicnets.runs.report import write_run_page
    from classicnets.system.threads import limit_threads

    if out is not None:
        check_page(out)
    limit_threads()
    with progress_bars() as progress:
        written = write_run_page(run, out, check=check, mistakes=mistakes, device=device, progress=progress)
    for text in written.notes:
        say_note(text)
    if as_json:
        print_json(written.to_dict())
    else:
        answer(f"report: {written.path}")
