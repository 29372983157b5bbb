"""The ways into a training.

`train` and `resume` do all of it and return a run. `start` and `reopen` prepare it and return a job to iterate over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classicnets.data import Data
from classicnets.data.check import quick_check
from classicnets.data.imageset import OnError
from classicnets.errors import ConfigError, WeightsError
from classicnets.system.memory import give_memory_back
from classicnets.system.progress import progress_bars
from classicnets.system.threads import parse_threads
from classicnets.training.progress import follow
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.plan import Plan, load, resolve, with_corrections, without_unused
from classicnets.training.recipe.schema import OnNan, Recipe
from classicnets.training.recipe.settings import as_settings, sets
from classicnets.training.run.budget import check_minutes, fit_to_minutes
from classicnets.training.run.checkpoint import Checkpoint, newest_checkpoint
from classicnets.training.run.folder import Run, environment
from classicnets.training.run.identity import check_same, identity, same_batches
from classicnets.training.run.job import Job
from classicnets.training.run.prepare import Prepared, Progress, prepare
from classicnets.training.run.tensorboard import log_to_tensorboard, require_tensorboard
from classicnets.training.scale.processes import join


def train(
    model: str,
    data: str | Path | Data,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    weights: str | Path | None = None,
    corrections: str | Path | None = None,
    seed: int | None = None,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    threads: int | str | None = None,
    on_error: OnError | None = None,
    on_nan: OnNan | None = None,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
) -> Run:
    """Train a network on images, measure it on images it never saw, and write a report.

    Args:
        model: a name of the catalog, such as "resnet20_cifar".
        data: what `load_data` takes, or the Data that it returned.
        epochs: how many times to go through the training images.
        minutes: how long it may take, from the start to the report, above 0, instead of `epochs`. The first steps are
            timed, and the number of epochs follows. The images are also made smaller if fewer epochs fit than the
            recipe has; only if neither `recipe` nor `image_size` is given.
        weights: start from these: a file, a run, or "torchvision[:NAME]".
        corrections: a CSV file (path,action,label) that keeps, relabels or drops training and validation images, as
            `audit labels` makes it. The data stays as it is, and test images are never corrected.
        seed: decides the first weights, the order and the augmentation.
        recipe: a Recipe, the name of a shipped one, or a .toml file; None chooses one that suits the data.
        settings: changes to the recipe, `key=value` each, such as "optim.lr=0.1".
        out: the new run folder; None is `runs/MODEL-DATA`. A number is appended if it exists.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: how many CPU threads compute a step, from 1 to the cores that this process may use. None or "auto"
            times the first steps and takes the fastest number, unless OMP_NUM_THREADS is set; and measures again if
            the speed falls by half. It decides the last bits of the result.
        on_error: what to do about images that cannot be decoded: "fail" or "skip".
        on_nan: what to do if the loss is not finite: "stop" or "rollback".
        checkpoint_every: also save a checkpoint within an epoch, every so many steps.
        tensorboard: also write `RUN/tensorboard`; needs the extra "track".
        quiet: show no progress, notes or warnings.

    Progress goes to stderr. Notes and warnings go there too, or to the logger "classicnets" if logging is set up.
    Returns the run. Ctrl-C saves a checkpoint; `resume` goes on from it. Raises UnknownName, ConfigError, DataError,
    WeightsError, MissingExtra or StorageError before anything is written, and TrainingDiverged.

    >>> run = train("resnet20_cifar", "fashion-mnist", epochs=5)  # doctest: +SKIP
    """
    chosen = as_settings(
        settings,
        {
            "epochs": epochs,
            "seed": seed,
            "model.weights": None if weights is None else str(weights),
            "data.on_error": on_error,
            "data.corrections": None if corrections is None else str(Path(corrections).absolute()),
            "on_nan": on_nan,
        },
    )

    def prepared(progress: Progress) -> Job:
        return start(
            model, data, recipe=recipe, settings=chosen, minutes=minutes, out=out, device=device, threads=threads,
            checkpoint_every=checkpoint_every, progress=progress,
        )  # fmt: skip

    return _run_to_the_end(prepared, tensorboard=tensorboard, quiet=quiet)


def resume(
    run: str | Path | Run,
    *,
    data: str | Path | Data | None = None,
    epochs: int | None = None,
    settings: Iterable[str] = (),
    allow_change: bool = False,
    device: str = "auto",
    threads: int | str | None = None,
    on_nan: OnNan | None = None,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
) -> Run:
    """Train a run to its end, from its newest complete checkpoint. On the CPU the result is the same to the bit.

    Args:
        run: the run, or its folder.
        data: where its images are now, if they have moved, or the Data that it was trained on.
        epochs: another number of epochs in all; needs `allow_change`.
        settings: changes to the recipe; all except `on_nan`, `workers` and `recompute` need `allow_change`.
        allow_change: continue although the recipe or the images have changed.
        threads: None keeps what is recorded for the run, step by step. A number fixes it from here on, and "auto"
            measures from here on: then the last bits may differ.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        on_nan: what to do if the loss is not finite: "stop" or "rollback". None keeps what the recipe says.
        checkpoint_every: also save a checkpoint within an epoch, every so many steps, 1 or more.
        tensorboard: also write `RUN/tensorboard`; needs the extra "track".
        quiet: show no progress, notes or warnings.

    Returns the run; a finished one is returned unchanged. Raises ConfigError if there is no run, if another process
    is training it, or if its recipe has changed; DataError if its data has changed; WeightsError if none of its
    checkpoints is complete.

    >>> run = resume("runs/resnet20_cifar-fashion-mnist")  # doctest: +SKIP
    """
    chosen = as_settings(settings, {"epochs": epochs, "on_nan": on_nan})

    def prepared(progress: Progress) -> Job:
        return reopen(
            run, data=data, settings=chosen, allow_change=allow_change, device=device, threads=threads,
            checkpoint_every=checkpoint_every, progress=progress,
        )  # fmt: skip

    return _run_to_the_end(prepared, tensorboard=tensorboard, quiet=quiet)


def start(
    model: str,
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    minutes: float | None = None,
    begun: float | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    threads: int | str | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Prepare a training from the beginning, create its run folder, and return the job to iterate over.

    Args:
        model: a name of the catalog, such as "resnet20_cifar".
        data: what `load_data` takes, or the Data that it returned.
        recipe: a Recipe, the name of a shipped one, or a .toml file; None chooses one that suits the data.
        settings: changes to the recipe, `key=value` each, such as "optim.lr=0.1".
        minutes: how long it may take, from `begun` to the report, above 0; chooses the number of epochs.
        begun: when the minutes began, by `time.monotonic`, such as when the program started; None is now.
        out: the new run folder; None is `runs/MODEL-DATA`. A number is appended if it exists.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: how many CPU threads compute a step, 1 or more. None or "auto" measures which number is fastest.
        checkpoint_every: also save a checkpoint within an epoch, every so many steps, 1 or more.
        progress: called with the name of the step, how much of it is done, and how much there is.

    If torchrun restarted this process after another one was lost, the run that was created before continues.
    Returns the job. Raises UnknownName, ConfigError, DataError, WeightsError or StorageError; then no folder exists.

    >>> for event in start("resnet20_cifar", "digits", settings=["epochs=2"]): print(event)  # doctest: +SKIP
    """
    begun, settings = time.monotonic() if begun is None else begun, list(settings)
    if minutes is not None:
        check_minutes(minutes, settings)
    folder = None if out is None else Path(out)
    if folder is not None and folder.name in ("", ".."):
        folder = folder.resolve()  # such as "."
    if folder is not None and not folder.name:
        raise ConfigError(f"--out must name a new folder, such as runs/mine; got {out}.")
    threads = parse_threads(threads)
    processes = join()

    def prepared_for(plan: Plan) -> Prepared:
        return processes.main_first(lambda: prepare(plan.recipe, plan.data, target, progress, processes=processes))

    with processes.connected():
        target = processes.main_first(lambda: processes.device(device))
        plan = processes.main_first(lambda: resolve(model, data, recipe=recipe, settings=settings))
        if minutes is not None and plan.recipe.data.refit:
            raise ConfigError(
                "--minutes does not count the second training of data.refit=true. Leave one of them out, or give "
                "--epochs instead of --minutes."
            )
        path = folder or Path("runs") / f"{model}-{plan.data.name}"
        asked = plan.recipe.model_copy(update={"minutes": minutes})
        if earlier := processes.on_main(lambda: Run.of_launch(path, asked)):
            given = data if isinstance(data, Data) else None
            return reopen(
                earlier, data=given, device=device, threads=threads, checkpoint_every=checkpoint_every,
                progress=progress,
            )  # fmt: skip
        if minutes is None:
            prepared = prepared_for(plan)
        else:
            plan, prepared = fit_to_minutes(
                minutes, plan, begun=begun,
                size_is_free=recipe is None and not sets("image_size", settings),
                resolve=lambda fitted: resolve(model, plan.data, recipe=recipe, settings=[*settings, *fitted]),
                prepare=prepared_for,
            )  # fmt: skip
        session = prepared.session
        run = processes.on_main(
            lambda: Run.create(path, plan.recipe, session.precision.name, target, compiles=session.compiles)
        )
    notes = [*quick_check(prepared.data), *plan.notes]
    return Job(run, plan.recipe, prepared, checkpoint_every=checkpoint_every, notes=notes, threads=threads)


def reopen(
    run: str | Path | Run,
    *,
    data: str | Path | Data | None = None,
    settings: Iterable[str] = (),
    allow_change: bool = False,
    device: str = "auto",
    threads: int | str | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Prepare a run to continue from its newest complete checkpoint, and return the job to iterate over.

    Args:
        run: the run, or its folder.
        data: where its images are now, if they have moved, or the Data that it was trained on.
        settings: changes to the recipe; all except `on_nan`, `workers` and `recompute` need `allow_change`.
        allow_change: continue although the recipe or the images have changed.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: None keeps the recorded numbers of threads. A number or "auto" replaces them from here on.
        checkpoint_every: also save a checkpoint within an epoch, every so many steps, 1 or more.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns the job. That of a finished run says so and changes nothing. Raises ConfigError, Locked, DataError or
    WeightsError, as `resume` does.

    >>> for event in reopen("runs/resnet20_cifar-digits"): print(event)  # doctest: +SKIP
    """
    threads = parse_threads(threads)
    processes = join()
    path = run.path if isinstance(run, Run) else Path(run)
    settings = list(settings)
    if sets("minutes", settings):
        raise ConfigError(
            f"{path} keeps its number of epochs, because minutes count only when a run starts. Leave out minutes."
        )
    with processes.connected(), ExitStack() as stack:
        target = processes.main_first(lambda: processes.device(device))
        opened = processes.on_main(lambda: Run.open(path))
        processes.on_main(lambda: stack.enter_context(opened.locked()))
        left = processes.on_main(lambda: _left_by(opened))
        moved = [] if data is None or isinstance(data, Data) else [_source(data)]
        recipe, notes = without_unused(with_settings(left.recipe, [*settings, *moved]))
        notes = [*left.notes, *notes]
        loaded = data if isinstance(data, Data) else processes.main_first(lambda: load(recipe.data.source, recipe))
        if data is not None:
            recipe = with_settings(recipe, [_source(loaded.source)])
        loaded = processes.main_first(lambda: with_corrections(loaded, recipe))
        before = left.checkpoint.trainer["identity"] if left.checkpoint else None
        changes: list[str] = []
        if before:
            changes = check_same(before, identity(recipe, loaded), run=str(path), allow_change=allow_change)
        prepared = processes.main_first(
            lambda: prepare(recipe, loaded, target, progress, left.checkpoint, processes=processes)
        )
        if changes:
            notes.append(f"Resuming with changes: {'; '.join(changes)}.")
            processes.on_main(opened.reopen)
        if before and not same_batches(before, prepared.identity):
            prepared.state.begin_epoch(len(prepared.session.loader))
            notes.append("The current epoch starts again, because its batches have changed.")
        if recipe != left.recipe:
            processes.on_main(lambda: opened.write_recipe(recipe))
        notes.append(_where_it_stands(left, prepared, opened, recipe, changed=bool(changes)))
        notes += _other_machine(left.environment, prepared)
        # Created under the lock, so that the job can tell from the run's events if another process trains it later.
        return Job(
            opened, recipe, prepared, checkpoint_every=checkpoint_every, notes=notes, changed=bool(changes),
            threads=threads,
        )  # fmt: skip


def _run_to_the_end(prepared: Callable[[Progress], Job], *, tensorboard: bool, quiet: bool) -> Run:
    """Prepare a job, show its training, and give its memory back."""
    if tensorboard:
        require_tensorboard()
    with progress_bars(quiet=quiet) as progress:
        job = prepared(progress)
    run = _follow(job, tensorboard=tensorboard, quiet=quiet)
    del job
    give_memory_back()
    return run


def _follow(job: Job, *, tensorboard: bool, quiet: bool) -> Run:
    events = log_to_tensorboard(job) if tensorboard and job.is_main else job
    return follow(job, events, quiet=quiet).run


@dataclass(frozen=True)
class _Left:
    """What a run left to resume from, in plain types, because other machines may not see its folder."""

    recipe: Recipe
    environment: dict[str, Any]
    finished: bool
    checkpoint: Checkpoint | None
    notes: list[str]


def _left_by(run: Run) -> _Left:
    """Raises WeightsError if the run has a model but no complete checkpoint."""
    checkpoint, notes = newest_checkpoint(run.path / "checkpoints")
    if checkpoint is None and (run.path / "model").exists():
        raise WeightsError(
            " ".join([*notes, f"{run.path} has no complete checkpoint to resume from; its model/ is unchanged."])
            + f" To train again: classicnets train MODEL DATA --recipe {run.path}/recipe.toml"
        )
    return _Left(run.recipe, run.environment, run.finished, checkpoint, notes)


def _where_it_stands(left: _Left, prepared: Prepared, run: Run, recipe: Recipe, *, changed: bool) -> str:
    """The sentence that says from where the run continues."""
    state = prepared.state
    if left.finished and not changed:
        return f"{run.path} is already finished, after step {state.step}. Its report: {run.page}"
    if left.checkpoint is None:
        return "No checkpoint yet: starting from the beginning."
    return f"Resuming after step {state.step}, epoch {len(state.history)} of {recipe.epochs}."


def _other_machine(before: dict[str, Any], prepared: Prepared) -> list[str]:
    """What differs from the machine where the run began and may change the last bits."""
    session = prepared.session
    now = environment(session.precision.name, session.precision.device, compiles=session.compiles)
    return [
        f"{what} was {before.get(what)} and is {now[what]}: the last bits of the results may differ."
        for what in ("torch", "cpu", "processes", "device", "accelerator", "precision", "compile")
        if before.get(what, now[what]) != now[what]
    ]


def _source(path: str | Path) -> str:
    """The setting that says where the images are."""
    return f"data.source={json.dumps(str(path), ensure_ascii=False)}"
