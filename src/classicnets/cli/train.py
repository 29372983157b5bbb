"""`classicnets train`: from a folder of images to a measured classifier, or resume an interrupted run."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.evaluate import OnBadImage
from classicnets.cli.options import DATA, MODEL, Device, RecipeName
from classicnets.cli.output import JsonFlag, note, one_voice, print_json, progress_bars
from classicnets.errors import ConfigError

if TYPE_CHECKING:
    from classicnets.training import Finished
    from classicnets.training.watch import Watching


class OnNan(StrEnum):
    """What to do if the loss or the gradient is not finite."""

    stop = "stop"
    rollback = "rollback"


_EXAMPLES = """
[bold]Examples[/bold]

  classicnets train resnet20_cifar fashion-mnist

  classicnets train resnet20_cifar photos/ --epochs 40 --set optim.lr=0.05 --out runs/photos

  classicnets train resnet20_cifar photos/ --watch

  classicnets train resnet18 csv:labels.csv --set image_size=96 --seed 1

  classicnets train resnet20_cifar photos/ --corrections audit/corrections.csv --out runs/corrected

  classicnets train --resume runs/resnet20_cifar-fashion-mnist

  classicnets train --resume runs/photos /new/place/of/photos

  torchrun --nproc-per-node 2 -m classicnets train resnet20_cifar fashion-mnist
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(train)


@one_voice
def train(
    context: typer.Context,
    model: Annotated[str | None, MODEL] = None,
    data: Annotated[str | None, DATA] = None,
    recipe: RecipeName = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a key of the recipe, such as optim.lr=0.1; repeatable."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training images.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Choose the number of epochs and the image size so that training ends within this many minutes."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a file, a run, or torchvision[:NAME]. If the number of classes differs, the "
            "head starts from random weights."
        ),
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep, relabel or drop images as this CSV file (path,action,label) says. Test images never change.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/MODEL-DATA. If it exists, a number is appended.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first weights, the order and the augmentation.")] = None,
    on_error: Annotated[
        OnBadImage | None,
        typer.Option(help="If images cannot be decoded: fail before training, or skip them."),
    ] = None,
    on_nan: Annotated[
        OnNan | None,
        typer.Option(help="If the loss is not finite: stop, or return to a checkpoint and lower the rate."),
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="CPU threads. Default: measure and use the fastest number; with --resume, the recorded one.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="Also save a checkpoint every STEPS steps within an epoch."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Resume this run; if its images have moved, give DATA too, without MODEL."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard, for `tensorboard --logdir runs`.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show the training on a page of this machine, with curves and a stop button."),
    ] = False,
    allow_change: Annotated[
        bool,
        typer.Option("--allow-change", help="With --resume: continue even if the recipe or the images have changed."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a network on images, measure it on images it never saw, and write a report."""
    from classicnets import training
    from classicnets.training.progress import follow
    from classicnets.training.recipe.settings import as_settings
    from classicnets.training.run.tensorboard import log_to_tensorboard, require_tensorboard
    from classicnets.training.watch import Watching

    if tensorboard:
        require_tensorboard()
    values = {
        "epochs": epochs, "seed": seed, "model.weights": weights, "data.on_error": on_error,
        "data.corrections": str(corrections.absolute()) if corrections else None, "on_nan": on_nan,
    }  # fmt: skip
    settings = as_settings(set_ or (), values)
    with progress_bars() as progress:
        if resume is not None:
            if minutes is not None:
                raise ConfigError("--resume RUN keeps the run's own epochs and minutes: leave out --minutes.")
            if data or recipe or out or weights:
                raise ConfigError(
                    "--resume RUN keeps the run's own model and recipe. Give only --resume RUN, or the new place of "
                    "its images too: `classicnets train --resume RUN DATA`."
                )
            job = training.reopen(
                resume, data=model, settings=settings, allow_change=allow_change, device=device,
                threads=threads, checkpoint_every=checkpoint_every, progress=progress,
            )  # fmt: skip
        elif allow_change:
            raise ConfigError("--allow-change needs --resume RUN: it continues a run although something has changed.")
        elif model is None or data is None:
            raise ConfigError(
                "Give a model and the data, such as `classicnets train resnet20_cifar fashion-mnist`, or --resume RUN."
            )
        else:
            job = training.start(
                model, data, recipe=recipe, settings=settings, minutes=minutes, begun=context.obj, out=out,
                device=device, threads=threads, checkpoint_every=checkpoint_every, progress=progress,
            )  # fmt: skip
    events = log_to_tensorboard(job) if tensorboard and job.is_main else job
    with ExitStack() as stack:
        if watch and job.is_main and not job.run.finished:
            watching = stack.enter_context(Watching(job))
            events = watching.events(events)
            _say_where(watching)
        finished = follow(job, events, command_line=True)
    if as_json:
        print_json({"run": str(finished.run.path), "report": str(finished.page), **finished.report.headline()})
    else:
        _print_end(finished)


def _say_where(watching: Watching) -> None:
    """Print the address of the page, and show it if this machine has a screen."""
    if watching.problem:
        note(f"There is no page to watch. {watching.problem}")
        return
    note(f"watch at {watching.url}")
    watching.open_browser()


def _print_end(finished: Finished) -> None:
    report, run = finished.report, finished.run.path
    low, high = report.top1_interval
    interval = f"95% interval {low:.2%} to {high:.2%}"
    typer.echo(f"top-1 {report.top1:.2%} ({interval}) on {report.num_images:,} images of {report.data}")
    typer.echo(f"report: {finished.page}")
    typer.echo(f"next:   classicnets predict {run} IMAGE...")
