"""What every command shares in printing: answers go to stdout, everything else to stderr.

`NO_COLOR` and the absence of a terminal are respected by rich itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from classicnets.errors import ClassicNetsError

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")]


def one_voice(command: Callable[P, None]) -> Callable[P, None]:
    """Of the processes that torchrun started, the first prints; another one only an error that is its alone."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from classicnets.training.scale.processes import join

        if join().is_main:
            return command(*args, **kwargs)
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            try:
                return command(*args, **kwargs)
            except ClassicNetsError as error:  # all processes have it, and the first says it
                raise SystemExit(error.exit_code) from None

    return run


def console() -> Console:
    """Where answers go: stdout."""
    from rich.console import Console

    return Console(soft_wrap=False)


def error_console() -> Console:
    """Where progress, notes and errors go: stderr."""
    from rich.console import Console

    return Console(stderr=True)


def print_json(answer: Any) -> None:
    """The answer as one JSON document on stdout. Non-finite numbers become null."""
    typer.echo(json.dumps(_finite(answer), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table on stdout; a column whose cells are all numbers is set flush right."""
    from rich.table import Table

    rows = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    target = console()
    if not target.is_terminal:
        target.width = 10_000  # a file or a pipe gets every row on one line
    target.print(table)


def clock(seconds: float) -> str:
    """A duration as 1:02 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _cell(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function to report progress with, `report(what, done, total)`: one bar a task on stderr.

    A bar appears once its work has taken two seconds; without a terminal there is none.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    target = error_console()
    tasks: dict[str, tuple[TaskID, float]] = {}
    # Where the answers go to a file, rich must not take them along to the terminal.
    with Progress(
        *columns, console=target, transient=True, disable=not target.is_terminal, redirect_stdout=sys.stdout.isatty()
    ) as progress:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, visible=False), time.monotonic()
            task, begun = tasks[what]
            progress.update(task, completed=done, total=total, visible=time.monotonic() - begun > 2 and done < total)

        yield report
