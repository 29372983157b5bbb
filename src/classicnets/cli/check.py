"""`classicnets check`: find what is wrong with data before a network is trained on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.output import JsonFlag, console, print_json, print_table, progress_bars

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
    seed: Annotated[int, typer.Option(help="Decides the split, if the data does not come with one.")] = 0,
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
    _say(f"{found.name}: {found.num_images:,} images, {len(classes):,} {noun}\n", style="bold")
    if found.notes or found.warnings or found.problems:
        _print_findings(found)
    print_table(
        ("class", *parts),
        [(name, *(found.counts[part][name] for part in parts)) for name in classes[:_MOST_CLASSES]]
        + [("all", *(sum(found.counts[part].values()) for part in parts))],
    )
    if len(classes) > _MOST_CLASSES:
        _say(f"({len(classes) - _MOST_CLASSES:,} more classes; --json lists all)")
    _say(f"\nsplit: {found.split}")
    sizes = [f"{width}x{height} ({count:,})" for (height, width), count in found.sizes.items()]
    _say(f"sizes, width x height: {', '.join(sizes[:5])}" + (f" and {len(sizes) - 5} others" if len(sizes) > 5 else ""))
    _list("Cannot be read", found.unreadable)
    _list("The same, byte for byte", found.duplicates)
    _list("Near-identical", found.near_duplicates)
    _say("")
    if found.problems:
        number = len(found.problems)
        _say("1 problem must be fixed." if number == 1 else f"{number} problems must be fixed.", style="red")
    else:
        _say("Nothing must be fixed." if found.warnings else "All is well.", style="green")


def _print_findings(found: DataCheck) -> None:
    """How the data was read and what is wrong, before the numbers."""
    for note in found.notes:
        _say(f"note: {note}")
    for warning in found.warnings:
        _say(f"warning: {warning}", style="yellow")
    for problem in found.problems:
        _say(f"problem: {problem}", style="red")
    _say("")


def _list(title: str, lines: tuple[object, ...]) -> None:
    if not lines:
        return
    _say(f"\n{title}: {len(lines):,}", style="bold")
    for line in lines[:_MOST_LINES]:
        _say(f"  {line}")
    if len(lines) > _MOST_LINES:
        _say(f"  and {len(lines) - _MOST_LINES:,} more; --json lists all")


def _say(text: str, style: str = "") -> None:
    console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)
