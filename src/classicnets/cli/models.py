"""`classicnets models`: list all models, without loading PyTorch."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from classicnets.cli.output import JsonFlag, print_json
from classicnets.errors import unknown_name

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets models

  classicnets models resnet

  classicnets models 'densenet*_cifar' --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(models)


def models(
    pattern: Annotated[
        str, typer.Argument(metavar="[PATTERN]", help="Part of a name, or a shell pattern: vgg, '*cifar'.")
    ] = "*",
    as_json: JsonFlag = False,
) -> None:
    """List the models: year, parameters, multiply-adds at the paper's image size, and smallest image."""
    from classicnets.models.facts import FACTS, human, list_models

    names = list_models(pattern if any(c in pattern for c in "*?[") else f"*{pattern}*")
    if not names:
        raise unknown_name("model", pattern, FACTS, next_step="`classicnets models` lists all of them.")
    if as_json:
        print_json({name: FACTS[name] for name in names})
        return
    rows = [("MODEL", "YEAR", "PARAMS", "MACS", "IMAGE", "MIN", "NOTE")]
    for name in names:
        fact = FACTS[name]
        sizes = (human(fact["params"]), human(fact["macs"]), str(fact["image_size"]), str(fact["min_size"]))
        rows.append((name, str(fact["year"]), *sizes, fact["note"]))
    wide = max(len(row[0]) for row in rows)
    # In a terminal each model takes one line; a pipe gets every note in full.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for name, year, params, macs, image, smallest, note in rows:
        line = f"{name:<{wide}}  {year:>4}  {params:>6}  {macs:>6}  {image:>5}  {smallest:>3}  {note}".rstrip()
        typer.echo(line if columns is None or len(line) <= columns else _shortened(line, columns))


def _shortened(line: str, columns: int) -> str:
    """The line cut to `columns` characters, ending in an ellipsis that stdout can encode."""
    ellipsis = "…" if sys.stdout.encoding.lower().startswith("utf") else "..."
    return line[: columns - len(ellipsis)].rstrip() + ellipsis
