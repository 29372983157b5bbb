"""`classicnets check`: find what is wrong with data before a network is trained on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.output import JsonFlag, answer, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from classicnets.data.check import DataCheck

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets check photos/

  classicnets check csv:labels.csv

  classicnets check fashion-mnist --json > check.json
"""
_MOST_CLASSES = 40
_MOST_LINES = 20


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(check)


def check(
    data: Annotated[str, typer.Argument(help="digits, fashion-mnist, cifar10, a folder of images, or csv:FILE.")],
    seed: Annotated[int, typer.Option(help="Seed of the split, if the data is not divided already.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Open every image and report how the data was read and what is wrong: damage, copies, leaks, imbalance.

    Exit code 3 means that something must be fixed; warnings alone exit with 0. No file is changed.
    """
    from classicnets.data.check import check_data

    with progress_bars() as report:
        found = check_data(data, seed=seed, progress=partial(report, "Looking at images"))
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(3)


def _print(found: DataCheck) -> None:
    parts = list(found.counts)
    classes = list(found.counts["train"])
    noun = "class" if len(classes) == 1 else "classes"
    answer(f"{found.name}: {found.num_images:,} images, {len(classes):,} {noun}\n", style="bold")
    if found.notes or found.warnings or found.problems:
        _print_findings(found)
    print_table(
        ("class", *parts),
        [(name, *(found.counts[part][name] for part in parts)) for name in classes[:_MOST_CLASSES]]
        + [("all", *(sum(found.counts[part].values()) for part in parts))],
    )
    if len(classes) > _MOST_CLASSES:
        answer(f"({len(classes) - _MOST_CLASSES:,} more classes; --json lists all)")
    answer(f"\nsplit: {found.split}")
    sizes = [f"{width}x{height} ({count:,})" for (height, width), count in found.sizes.items()]
    answer(
        f"sizes, width x height: {', '.join(sizes[:5])}" + (f" and {len(sizes) - 5} others" if len(sizes) > 5 else "")
    )
    _list("Cannot be read", found.unreadable)
    _list("The same, byte for byte", found.duplicates)
    _list("Near-identical", found.near_duplicates)
    answer("")
    if found.problems:
        number = len(found.problems)
        answer("1 problem must be fixed." if number == 1 else f"{number} problems must be fixed.", style="red")
    else:
        answer("Warnings only: nothing has to be fixed." if found.warnings else "All is well.", style="green")


def _print_findings(found: DataCheck) -> None:
    """How the data was read and what is wrong, before the numbers."""
    for note in found.notes:
        answer(f"note: {note}")
    for warning in found.warnings:
        answer(f"warning: {warning}", style="yellow")
    for problem in found.problems:
        answer(f"problem: {problem}", style="red")
    answer("")


def _list(title: str, lines: tuple[object, ...]) -> None:
    if not lines:
        return
    answer(f"\n{title}: {len(lines):,}", style="bold")
    for line in lines[:_MOST_LINES]:
        answer(f"  {line}")
    if len(lines) > _MOST_LINES:
        answer(f"  and {len(lines) - _MOST_LINES:,} more; --json lists all")
