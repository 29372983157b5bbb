"""What the commands share in printing: answers go to stdout, everything else to stderr.

rich respects `NO_COLOR` and the absence of a terminal.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from classicnets.errors import ClassicNetsError, ConfigError
from classicnets.system.finite import finite
from classicnets.system.progress import clock, progress_bars, say
from classicnets.system.progress import progress_console as error_console
from classicnets.system.storage import check_new

__all__ = [
    "JsonFlag", "answer", "check_page", "clock", "console", "error", "error_console", "note", "one_voice",
    "print_any_text", "print_json", "print_table", "progress_bars", "say",
]  # fmt: skip

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")]


def print_any_text() -> None:
    """Have stdout and stderr print characters that their encoding lacks as backslash escapes, instead of failing.

    On Windows, a file or a pipe gets the system's code page, which has no Chinese in Paris. A file name that is not
    valid UTF-8 cannot be encoded anywhere.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def one_voice(command: Callable[P, None]) -> Callable[P, None]:
    """Have only the first of torchrun's processes print. Another one prints an error that it alone has."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from classicnets.training.scale.processes import join

        if join().is_main:
            return command(*args, **kwargs)
        with (
            open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            try:
                return command(*args, **kwargs)
            except ClassicNetsError as failure:  # all processes have it, and the first prints it
                raise SystemExit(failure.exit_code) from None

    return run


def check_page(out: Path) -> None:
    """Raise ConfigError unless --out names a new .html file. Call it before the work that the page is written for."""
    if out.suffix != ".html":
        raise ConfigError(f"--out must name a file that ends with .html, got {out}.")
    check_new(out)


def console() -> Console:
    """Return the console for answers: stdout."""
    from rich.console import Console

    return Console(soft_wrap=False)


def answer(text: str, style: str = "") -> None:
    """Print a line of the answer, as it is, to stdout."""
    console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a note to stderr: something the user should know about the answer."""
    say(f"note: {text}", "yellow")


def error(text: str) -> None:
    """Print an error to stderr."""
    say(f"error: {text}", "red")


def print_json(answer: Any, *, indent: int | None = 2) -> None:
    """Print the answer as one JSON document on stdout; with `indent=None` on one line. Non-finite numbers become null.

    Text that stdout cannot encode is written as JSON's own escapes.
    """
    document = json.dumps(finite(answer), indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        document.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        document = json.dumps(finite(answer), indent=indent, ensure_ascii=True, allow_nan=False)
    typer.echo(document)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table on stdout. A column that holds only numbers is aligned to the right."""
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


def _cell(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(str(value))
