"""`classicnets audit curve`: are there enough images?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.options import DATA
from classicnets.cli.output import JsonFlag, answer, note, print_json, print_table, progress_bars
from classicnets.system.storage import check_new

if TYPE_CHECKING:
    from classicnets.audit.curve import LearningCurve

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets audit curve photos/ --weights torchvision

  classicnets audit curve photos/ --run runs/photos --out audit

  classicnets audit curve fashion-mnist --images 2000 --json > curve.json
"""
_MOST_CLASSES = 20


def register(group: typer.Typer) -> None:
    """Add the command to `group`."""
    group.command(epilog=_EXAMPLES)(curve)


def curve(
    data: Annotated[str, DATA],
    weights: Annotated[
        str | None,
        typer.Option(help="Trained weights: a run, a model folder, a file, or torchvision[:NAME]. Faster than none."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The network of --weights. Without weights: the network that is trained for each size."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A run whose weights are used; the same as --weights.")] = None,
    images: Annotated[int, typer.Option(min=30, help="At most how many images are used.")] = 10_000,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A new folder for a page, a figure and JSON. Default: none."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the folds, the parts and the training of networks.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Measure the accuracy with fewer images, and estimate what more images would add, in all and for each class.

    Says "enough" if twice the images would add less than half a point, at the upper end of the 95 % interval.
    """
    from classicnets.audit.curve import learning_curve
    from classicnets.system.threads import limit_threads

    if out is not None:
        check_new(out)
    limit_threads()
    with progress_bars() as report:
        found = learning_curve(
            data, weights=weights, model=model, run=run, most_images=images, seed=seed, progress=report
        )
    page = None if out is None else found.save(out) / "curve.html"
    if as_json:
        print_json({**found.to_dict(), "page": None if page is None else str(page)})
        return
    for text in found.notes:
        note(text)
    _print(found)
    if page is not None:
        answer(f"\npage: {page}")


def _print(found: LearningCurve) -> None:
    from classicnets.audit.curve.outcome import rows
    from classicnets.reports.text import percent

    answer(f"{found.name}: {found.overall.now:,} images, {found.method}\n", style="bold")
    print_table(
        ("training images", "accuracy", "95 % interval"),
        [
            (round(p.images), percent(p.accuracy), f"{percent(p.interval.low)} to {percent(p.interval.high)}")
            for p in found.overall.points
        ],
    )
    answer("")
    print_table(
        ("class", "accuracy now", "100 more of each class", "twice the images", "enough"),
        rows([found.overall, *found.classes[:_MOST_CLASSES]]),
    )
    if len(found.classes) > _MOST_CLASSES:
        answer(f"({len(found.classes) - _MOST_CLASSES:,} more classes; --json lists all)")
    answer(f"\n{found.sentence}.", style="green" if found.overall.is_enough else "yellow")
