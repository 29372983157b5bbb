"""Showing a training as it goes, for the command line and for Python alike.

A terminal gets a bar and a line for each epoch. A file, a pipe or a notebook gets the lines alone.
"""

from __future__ import annotations

import logging
import math
import shlex
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from classicnets.system.progress import clock, progress_console, say
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.refit import Refitting
from classicnets.training.step.state import EpochDone, StepDone

logger = logging.getLogger("classicnets")


class TimeLeft:
    """How long a training goes on, at its speed since the first step that was seen.

    Args:
        num_steps: steps of the whole training, those before a resume included.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self._begun, self._first_step = time.monotonic(), 0

    def after(self, step: int) -> float:
        """Return the seconds that are left after a step, from 1."""
        self._first_step = self._first_step or step
        seconds_per_step = (time.monotonic() - self._begun) / (step - self._first_step + 1)
        return seconds_per_step * (self.num_steps - step)


class TrainingProgress:
    """A context manager that shows the steps, epochs, notes and warnings of one training.

    Notes and warnings go to stderr like the rest. If the program has set up logging, they go to the logger
    `classicnets` instead, as INFO and WARNING.

    Args:
        epochs: number of epochs of the whole training.
        num_steps: number of steps of the whole training.
        quiet: show nothing. Logging, if set up, still gets notes and warnings.
        log: False shows notes and warnings on stderr even if logging is set up.

    Example:
        >>> with TrainingProgress(job.recipe.epochs, job.num_steps) as progress:  # doctest: +SKIP
        ...     for event in job:
        ...         progress.show(event)
    """

    def __init__(self, epochs: int, num_steps: int, *, quiet: bool = False, log: bool = True) -> None:
        self._epochs = epochs
        self._num_steps = num_steps
        self._quiet = quiet
        self._log = log
        self._left = TimeLeft(num_steps)
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> TrainingProgress:
        from rich.progress import BarColumn, Progress, TextColumn

        console = progress_console()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[numbers]}"))
        hidden = self._quiet or not console.is_terminal
        self._left = TimeLeft(self._num_steps)
        self._bar = Progress(*columns, console=console, transient=True, expand=True, disable=hidden)
        self._task = self._bar.add_task("", total=self._num_steps, numbers="")
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Show what was chosen or found."""
        self._say(text, logging.INFO, "dim")

    def warning(self, text: str) -> None:
        """Show what is probably wrong."""
        self._say(text, logging.WARNING, "yellow")

    def show(self, event: StepDone | EpochDone) -> None:
        """Show a step in the bar, or an epoch as a line."""
        if isinstance(event, StepDone):
            self.step(event)
        else:
            self.epoch(event)

    def restart(self, epochs: int, num_steps: int) -> None:
        """Show a second training of so many epochs and steps from its beginning."""
        self._epochs, self._left = epochs, TimeLeft(num_steps)
        self._bar.reset(self._task, total=num_steps)

    def step(self, event: StepDone) -> None:
        """Move the bar: epoch, loss, accuracy, images/s and the time left."""
        left = clock(self._left.after(event.step))
        numbers = f"loss {event.loss:.3f}  acc {event.accuracy:.1%}  {event.images_per_second:,.0f} images/s"
        self._bar.update(
            self._task,
            completed=event.step,
            description=f"epoch {event.epoch}/{self._epochs}",
            numbers=f"{numbers}  {left} left",
        )

    def epoch(self, row: EpochDone) -> None:
        """Print the epoch as one line."""
        self._bar.update(self._task, description="measuring")
        if not self._quiet:
            say(_line(row, self._epochs))

    def _say(self, text: str, level: int, style: str) -> None:
        if self._log and logger.hasHandlers():
            logger.log(level, text)
        elif not self._quiet:
            say(text, style)


def follow(
    job: Job,
    events: Iterable[StepDone | EpochDone | Refitting | Finished] | None = None,
    *,
    quiet: bool = False,
    command_line: bool = False,
) -> Finished:
    """Train `job` to its end, showing its notes, warnings and events, and return the last event.

    Args:
        job: the training, not iterated over yet.
        events: its events, if they pass through something else; None for the job's own.
        quiet: show nothing.
        command_line: say how to go on by command rather than by function, and do not use logging.

    Example:
        >>> finished = follow(start("resnet20_cifar", "digits"))  # doctest: +SKIP
    """
    quiet = quiet or not job.is_main
    noted, warned = len(job.notes), 0
    with TrainingProgress(job.recipe.epochs, job.num_steps, quiet=quiet, log=not command_line) as progress:
        for note in job.notes:
            progress.note(note)
        if not job.run.finished:
            progress.note(f"writing to {job.run.path}")
        try:
            for event in job if events is None else events:
                for note in job.notes[noted:]:
                    progress.note(note)
                for warning in job.warnings[warned:]:
                    progress.warning(warning)
                noted, warned = len(job.notes), len(job.warnings)
                if isinstance(event, Finished):
                    return event
                if isinstance(event, Refitting):
                    progress.restart(event.epochs, event.num_steps)
                else:
                    progress.show(event)
        except (KeyboardInterrupt, SystemExit):
            if (job.run.path / "model" / "config.json").is_file():
                progress.warning(f"Stopped. What was learned is in {job.run.path}/model.")
            progress.warning(_how_to_go_on(job, command_line=command_line))
            raise
    raise AssertionError("a job ends with Finished")


def _how_to_go_on(job: Job, *, command_line: bool) -> str:
    if command_line:
        return f"Resume with: classicnets train --resume {shlex.quote(str(job.run.path))}"
    return f"Resume with: classicnets.resume({str(job.run.path)!r})"


def _line(row: EpochDone, epochs: int) -> str:
    """An epoch as one line of text."""
    validation = "" if math.isnan(row.val_accuracy) else f"val {row.val_accuracy:.2%}  "
    return (
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}  loss {row.train_loss:.3f}  train {row.train_accuracy:.2%}  "
        f"{validation}{row.images_per_second:,.0f} images/s  {clock(row.seconds)}"
    )
