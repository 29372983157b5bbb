"""`classicnets audit shortcuts`: does something trivial predict the class?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.options import DATA
from classicnets.cli.output import JsonFlag, answer, note, print_json, print_table, progress_bars
from classicnets.system.storage import check_new

if TYPE_CHECKING:
    from classicnets.audit.shortcuts import ShortcutAudit

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets audit shortcuts photos/

  classicnets audit shortcuts csv:labels.csv --out audit

  classicnets audit shortcuts fashion-mnist --json > shortcuts.json
"""


def register(group: typer.Typer) -> None:
    """Add the command to `group`."""
    group.command(epilog=_EXAMPLES)(shortcuts)


def shortcuts(
    data: Annotated[str, DATA],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A new folder for a page with pictures, a figure and JSON. Default: none is written."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the sample, the halves and the forests.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Find out whether something trivial predicts the class: file name, date, size, JPEG quality, brightness, border.

    A network learns whatever tells the classes apart. A small forest learns each of these clues by itself and is judged
    on images that it has not seen. Shortcuts are warnings: the exit code is 0. No file is changed.
    """
    from classicnets.audit.shortcuts import audit_shortcuts

    if out is not None:
        check_new(out)
    with progress_bars() as report:
        found = audit_shortcuts(data, seed=seed, progress=report)
    page = None if out is None else found.save(out) / "shortcuts.html"
    if as_json:
        print_json({**found.to_dict(), "page": None if page is None else str(page)})
        return
    _print(found)
    if page is not None:
        answer(f"\npage: {page}")
    elif found.shortcuts:
        note("--out DIR writes a page with pictures of each shortcut")


def _print(found: ShortcutAudit) -> None:
    from classicnets.audit.shortcuts.finding import rows
    from classicnets.data.words import counted

    answer(f"{found.name}: {counted(len(found.images), 'image')} looked at\n", style="bold")
    for text in found.notes:
        answer(f"note: {text}")
    for finding in found.shortcuts:
        answer(f"warning: {finding}. {finding.clue.advice}", style="yellow")
    answer("")
    print_table(("clue", "accuracy", "95 % interval", "chance", "p, corrected", "verdict"), rows(found.findings))
    answer(f"\n{found.sentence}.", style="yellow" if found.shortcuts else "green")
