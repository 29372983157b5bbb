"""`classicnets train`: from a folder of images to a measured classifier, or on with a run that was interrupted."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.evaluate import OnBadImage
from classicnets.cli.options import DATA, MODEL, Device, RecipeName, settings_of
from classicnets.cli.output import JsonFlag, clock, error_console, one_voice, print_json, progress_bars
from classicnets.errors import ConfigError

if TYPE_CHECKING:
    from classicnets.training import EpochDone, Finished, Job, StepDone


class OnNan(StrEnum):
    """What to do where the loss or the gradient is no longer finite."""

    stop = "stop"
    rollback = "rollback"


_EXAMPLES = """
[bold]Examples[/bold]

  classicnets train resnet20_cifar fashion-mnist

  classicnets train resnet20_cifar photos/ --epochs 40 --set optim.lr=0.05 --out runs/photos

  classicnets train resnet18 csv:labels.csv --set image_size=96 --seed 1

  classicnets train --resume runs/resnet20_cifar-fashion-mnist

  classicnets train --resume runs/photos /new/place/of/photos

  torchrun --nproc-per-node 2 -m classicnets train resnet20_cifar fashion-mnist
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(train)


@one_voice
def train(
    model: Annotated[str | None, MODEL] = None,
    data: Annotated[str | None, DATA] = None,
    recipe: RecipeName = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a key of the recipe, such as optim.lr=0.1; repeat it for more."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How many times to go through the training images.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Start from these: a file, a run, torchvision[:NAME]; a head of another size starts afresh."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/MODEL-DATA if not given. Never overwritten.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides the first weights, the order and the augmentation.")] = None,
    on_error: Annotated[
        OnBadImage | None,
        typer.Option(help="Where images cannot be decoded: stop before training, or go on without them."),
    ] = None,
    on_nan: Annotated[
        OnNan | None,
        typer.Option(help="Where the loss is not finite: stop, or go back to a checkpoint and on at a lower rate."),
    ] = None,
    device: Device = "auto",
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="Also save within an epoch, every so many steps.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with this run; give DATA alone if its images have moved."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard, for `tensorboard --logdir runs`.")
    ] = False,
    allow_change: Annotated[
        bool,
        typer.Option("--allow-change", help="With --resume: go on although the recipe or the images have changed."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a network on images, measure it on images it never saw, and write a report."""
    from classicnets import training
    from classicnets.runs.tensorboard import log_to_tensorboard, require_tensorboard

    if tensorboard:
        require_tensorboard()
    values = {"epochs": epochs, "seed": seed, "model.weights": weights, "data.on_error": on_error, "on_nan": on_nan}
    settings = settings_of(set_, values)
    with progress_bars() as progress:
        if resume is not None:
            if data or recipe or out or weights:
                raise ConfigError(
                    "--resume RUN goes on with the run's own model and recipe: give nothing else, or only where its "
                    "images are now, such as `classicnets train --resume RUN DATA`."
                )
            job = training.reopen(
                resume, data=model, settings=settings, allow_change=allow_change, device=device,
                checkpoint_every=checkpoint_every, progress=progress,
            )  # fmt: skip
        elif allow_change:
            raise ConfigError("--allow-change is about a run that goes on: give --resume RUN too.")
        elif model is None or data is None:
            raise ConfigError(
                "Give a model and the data, such as `classicnets train resnet20_cifar fashion-mnist`, or --resume RUN."
            )
        else:
            job = training.start(
                model, data, recipe=recipe, settings=settings, out=out, device=device,
                checkpoint_every=checkpoint_every, progress=progress,
            )  # fmt: skip
    finished = _follow(job, log_to_tensorboard(job) if tensorboard and job.is_main else job)
    if as_json:
        print_json({"run": str(finished.run.path), "report": str(finished.page), **finished.report.headline()})
    else:
        _print_end(finished)


def _follow(job: Job, events: Iterable[StepDone | EpochDone | Finished]) -> Finished:
    """Go through the events of the job to its end, showing what it does."""
    from classicnets.training import EpochDone, Finished

    def say(text: str, style: str = "") -> None:
        error_console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for note in job.notes:
        say(note, "dim")
    if not job.run.finished:
        say(f"writing to {job.run.path}")
    warned = 0
    try:
        with _bar(job) as show:
            for event in events:
                for warning in job.warnings[warned:]:
                    say(warning, "yellow")
                warned = len(job.warnings)
                if isinstance(event, Finished):
                    return event
                show(event)
                if isinstance(event, EpochDone):
                    say(_line(event, job.recipe.epochs))
    except (KeyboardInterrupt, SystemExit):
        if (job.run.path / "model" / "config.json").is_file():
            say(f"Stopped. What was learned is in {job.run.path}/model.", "yellow")
        say(f"Go on with: classicnets train --resume {shlex.quote(str(job.run.path))}", "yellow")
        raise
    raise AssertionError("a job ends with Finished")


@contextmanager
def _bar(job: Job) -> Iterator[Callable[[StepDone | EpochDone], None]]:
    """A bar over the run's steps: epoch, loss, accuracy, images/s, time left. Nothing without a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    from classicnets.training import StepDone

    target = error_console()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[numbers]}"))
    begun = time.monotonic()
    first_step = 0
    with Progress(*columns, console=target, transient=True, expand=True, disable=not target.is_terminal) as progress:
        task = progress.add_task("", total=job.num_steps, numbers="")

        def show(event: StepDone | EpochDone) -> None:
            nonlocal first_step
            if not isinstance(event, StepDone):
                progress.update(task, description="measuring")
                return
            first_step = first_step or event.step
            left = (time.monotonic() - begun) / (event.step - first_step + 1) * (job.num_steps - event.step)
            numbers = f"loss {event.loss:.3f}  acc {event.accuracy:.1%}  {event.images_per_second:,.0f} images/s"
            progress.update(
                task,
                completed=event.step,
                description=f"epoch {event.epoch}/{job.recipe.epochs}",
                numbers=f"{numbers}  {clock(left)} left",
            )

        yield show


def _line(row: EpochDone, epochs: int) -> str:
    """An epoch as one plain line."""
    return (
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}  loss {row.train_loss:.3f}  train {row.train_accuracy:.2%}  "
        f"val {row.val_accuracy:.2%}  {row.images_per_second:,.0f} images/s  {clock(row.seconds)}"
    )


def _print_end(finished: Finished) -> None:
    report, run = finished.report, finished.run.path
    low, high = report.top1_interval
    interval = f"95 % interval {low:.2%} to {high:.2%}"
    typer.echo(f"top-1 {report.top1:.2%} ({interval}) on {report.num_images:,} images of {report.data}")
    typer.echo(f"report: {finished.page}")
    typer.echo(f"next:   classicnets predict {run} IMAGE...")
