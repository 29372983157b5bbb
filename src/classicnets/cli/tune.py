"""`classicnets tune`: search for a better recipe, or resume a search."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.options import DATA, MODEL, Device, RecipeName, StartWeights
from classicnets.cli.output import JsonFlag, one_voice, print_json, print_table, progress_bars, say
from classicnets.errors import ConfigError

if TYPE_CHECKING:
    from classicnets.evaluation.best import Best
    from classicnets.search.trials import TrialDone, Tuned
    from classicnets.search.tuning import Tuning

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets tune resnet20_cifar digits --trials 20

  classicnets tune resnet18 photos/ --trials 30 --param optim.lr=log:0.01..1.0 --param 'batch_size=32|64|128'

  classicnets tune --resume runs/tune-resnet20_cifar-digits --trials 40

  classicnets tune --resume runs/tune-resnet18-photos /new/place/of/photos
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(tune)


@one_voice
def tune(
    model: Annotated[str | None, MODEL] = None,
    data: Annotated[str | None, DATA] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many recipes to try in all; default 20.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=SPACE", help="Search this key: LOW..HIGH, log:LOW..HIGH or A|B|C; repeatable."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A .toml file of such keys. Default: search optim.lr and optim.weight_decay."
        ),
    ] = None,
    recipe: RecipeName = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of every trial's recipe; repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Maximum number of epochs of a trial.")] = None,
    weights: StartWeights = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the search; default runs/tune-MODEL-DATA. If it exists, a number is appended."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every trial and of the search.")] = None,
    device: Device = "auto",
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Resume this search; if its images have moved, give DATA too, without MODEL."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Search for a better recipe. Each trial is a run, and the validation images choose (needs the extra `tune`).

    The test images choose nothing: only the best trial is measured on them, at the end.
    """
    from classicnets.search import tune as library
    from classicnets.search.space import read_space
    from classicnets.training.recipe.settings import as_settings

    values = {"epochs": epochs, "seed": seed, "model.weights": weights}
    settings = as_settings(set_ or (), values)
    searched = [*(read_space(space) if space is not None else ()), *(param or ())]
    with progress_bars() as progress:
        if resume is not None:
            if data or settings or searched or recipe or out:
                raise ConfigError(
                    "--resume FOLDER keeps the search as it is: give only --trials, or DATA if its images have moved."
                )
            moved_to = model  # the only argument
            tuning = library.resume_tuning(resume, trials=trials, data=moved_to, device=device, progress=progress)
        elif model is None or data is None:
            raise ConfigError(
                "Give a model and the data, such as `classicnets tune resnet20_cifar digits`, or --resume FOLDER."
            )
        else:
            tuning = library.tune(
                model, data, trials=20 if trials is None else trials, space=searched, recipe=recipe, settings=settings,
                out=out, device=device, progress=progress,
            )  # fmt: skip
        tuned = _follow(tuning, progress)
    if as_json:
        print_json(_answer(tuned))
    else:
        _print(tuned)


def _follow(tuning: Tuning, progress: Callable[[str, int, int], None]) -> Tuned:
    """Run the search to its end, and show its progress."""
    from classicnets.search.trials import TrialDone, TrialStarted, Tuned
    from classicnets.training import StepDone

    by = tuning.recipe.best

    for note in tuning.notes:
        say(note, "dim")
    say(f"writing to {tuning.folder}")
    started: TrialStarted | None = None
    try:
        for event in tuning:
            if isinstance(event, Tuned):
                return event
            if isinstance(event, TrialStarted):
                started = event
            elif isinstance(event, TrialDone):
                say(_line(event, tuning.trials, by))
            elif isinstance(event, StepDone) and started is not None:
                progress(f"Trial {started.number} of {tuning.trials}", event.step, started.num_steps)
    except (KeyboardInterrupt, SystemExit):
        say("Stopped. Finished trials are kept, and the trial under way can be resumed.", "yellow")
        say(f"Resume with: classicnets tune --resume {shlex.quote(str(tuning.folder))}", "yellow")
        raise
    raise AssertionError("a search ends with Tuned")


def _line(trial: TrialDone, trials: int, by: Best) -> str:
    from classicnets.evaluation.best import shown, words_of

    tried = "  ".join(f"{key}={value}" for key, value in trial.params.items())
    reached = f"val {words_of(by)} {shown(trial.value, by)}"
    return f"trial {trial.number:>{len(str(trials))}}/{trials}  {reached}  {trial.state}  {tried}"


def _print(tuned: Tuned) -> None:
    from classicnets.evaluation.best import shown

    ranked = tuned.ranked
    keys = tuple(tuned.best.params)
    print_table(
        ("trial", *keys, "epochs", tuned.judged, "state"),
        [
            (
                trial.number,
                *(trial.params[key] for key in keys),
                trial.epochs,
                shown(trial.value, tuned.by),
                trial.state,
            )
            for trial in ranked[:10]
        ],
    )
    if len(ranked) > 10:
        typer.echo(f"({len(ranked) - 10} more in the report)")
    measured = tuned.finished.report
    low, high = measured.top1_interval
    typer.echo(f"best:   trial {tuned.best.number}, chosen by its {tuned.judged}")
    typer.echo(
        f"top-1 {measured.top1:.2%} (95% interval {low:.2%} to {high:.2%}) on {measured.num_images:,} images of "
        f"{measured.data}"
    )
    typer.echo(f"report: {tuned.folder / 'report.md'}")
    recipe = tuned.finished.run.recipe
    command = ["classicnets", "train", recipe.model.name, recipe.data.source, "--recipe", str(tuned.recipe)]
    typer.echo(f"next:   {shlex.join(command)}")


def _answer(tuned: Tuned) -> dict[str, object]:
    def plain(trial: TrialDone) -> dict[str, object]:
        values = {(f"val_{tuned.by}" if key == "value" else key): value for key, value in vars(trial).items()}
        return {**values, "run": str(tuned.folder / f"trial-{trial.number:03}")}

    return {
        "folder": str(tuned.folder),
        "best": plain(tuned.best),
        "measured": tuned.finished.report.headline(),
        "recipe": str(tuned.recipe),
        "importances": tuned.importances,
        "trials": [plain(trial) for trial in tuned.trials],
    }
