"""Where progress is shown, and bars for work that takes long. rich is imported when something is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def no_report(what: str, done: int, total: int) -> None:
    """Report nothing."""


def progress_console() -> Console:
    """Return the console for progress and notes: stderr, or plain text on stdout in a notebook.

    A notebook gives stderr a red background, and is no terminal, so that bars are not drawn there.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        return Console(file=sys.stdout, force_jupyter=False, force_terminal=False)
    return console


def say(text: str, style: str = "") -> None:
    """Print `text` as it is, on lines as long as it needs, to `progress_console()`."""
    progress_console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Return a duration as 1:02 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Report]:
    """Yield a function `report(what, done, total)` that shows one bar for each `what`.

    A bar appears when its work has taken two seconds. Without a terminal, or with `quiet`, there is none.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    target = progress_console()
    hidden = quiet or not target.is_terminal
    tasks: dict[str, tuple[TaskID, float]] = {}
    # If stdout is a file, rich must not redirect what is printed there to the terminal.
    with Progress(
        *columns, console=target, transient=True, disable=hidden, redirect_stdout=sys.stdout.isatty()
    ) as progress:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, visible=False), time.monotonic()
            task, begun = tasks[what]
            progress.update(task, completed=done, total=total, visible=time.monotonic() - begun > 2 and done < total)

        yield report
