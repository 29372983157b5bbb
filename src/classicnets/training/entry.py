"""The ways into a training: `start` one, `resume` one, or let `train` do all of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classicnets.data import Data
from classicnets.data.check import quick_check
from classicnets.data.pipeline.loader import steps_per_epoch
from classicnets.errors import ConfigError, WeightsError
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.plan import load, resolve, without_unused
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.checkpoint import Checkpoint, newest_checkpoint
from classicnets.training.run.folder import Run, environment
from classicnets.training.run.identity import check_same, identity, same_batches
from classicnets.training.run.job import Job, Parts
from classicnets.training.run.prepare import Progress, prepare
from classicnets.training.scale.processes import join


def start(
    model: str,
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Prepare a training of the catalog's `model` on `data` from the beginning, and make its run folder.

    `recipe` is a Recipe, a shipped name or a file; None chooses one by the data and says why in `Job.notes`.
    `settings` are `key=value` changes to it. `out` is the run folder, `runs/MODEL-DATA` if None; a number is appended
    where it exists. `checkpoint_every` is in steps, beside the checkpoint after each epoch.
    Started again by torchrun after a process was lost, it goes on with the run that it made before.
    Raises UnknownName, ConfigError, DataError, WeightsError or StorageError; then no folder was made.
    """
    folder = Path(out).resolve() if out is not None else None
    if folder is not None and not folder.name:
        raise ConfigError(f"--out {out} is no folder for a run. Give one that can be made anew, such as runs/mine.")
    processes = join()
    with processes.connected():
        target = processes.together(lambda: processes.device(device))
        plan = processes.together(lambda: resolve(model, data, recipe=recipe, settings=settings))
        path = folder or Path("runs") / f"{model}-{plan.data.name}"
        if earlier := processes.on_main(lambda: Run.of_launch(path, plan.recipe)):
            return resume(earlier, device=device, checkpoint_every=checkpoint_every, progress=progress)
        parts = processes.together(lambda: prepare(plan.recipe, plan.data, target, progress, processes=processes))
        run = processes.on_main(lambda: Run.create(path, plan.recipe, parts.precision.name))
    notes = [*quick_check(parts.data), *plan.notes]
    return Job(run, plan.recipe, parts, checkpoint_every=checkpoint_every, notes=notes)


def resume(
    run: str | Path | Run,
    *,
    data: str | Path | Data | None = None,
    settings: Iterable[str] = (),
    allow_change: bool = False,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Go on with a run from its newest whole checkpoint, with its own recipe and data; on the CPU, bit for bit.

    `data` is where its images are now, if they have moved, or the Data that it began with. A recipe that has changed,
    by `settings` or in the run's recipe.toml, and images that are not the same are refused, unless `allow_change`;
    `on_nan`, `workers` and `recompute` may always change. A run that is finished gives a job that says so and changes
    nothing.
    Raises ConfigError where there is no run, or one that another process is training, or where its recipe is not what
    it was, DataError where its data is not, WeightsError where none of its checkpoints is whole.
    """
    processes = join()
    path = run.path if isinstance(run, Run) else Path(run)
    with processes.connected(), ExitStack() as stack:
        target = processes.together(lambda: processes.device(device))
        opened = processes.on_main(lambda: Run.open(path))
        processes.on_main(lambda: stack.enter_context(opened.locked()))
        left = processes.on_main(lambda: _left_by(opened))
        moved = [] if data is None or isinstance(data, Data) else [_source(data)]
        recipe, notes = without_unused(with_settings(left.recipe, [*settings, *moved]))
        notes = [*left.notes, *notes]
        loaded = processes.together(lambda: data if isinstance(data, Data) else load(recipe.data.source, recipe))
        if data is not None:
            recipe = with_settings(recipe, [_source(loaded.source)])
        before = left.checkpoint.trainer["identity"] if left.checkpoint else None
        changes: list[str] = []
        if before:
            changes = check_same(before, identity(recipe, loaded), run=str(path), allow_change=allow_change)
        parts = processes.together(
            lambda: prepare(recipe, loaded, target, progress, left.checkpoint, processes=processes)
        )
        if changes:
            notes.append(f"Going on otherwise than before: {'; '.join(changes)}.")
            processes.on_main(opened.begin_again)
        if before and not same_batches(before, parts.identity):
            parts.state.begin_epoch(steps_per_epoch(len(parts.train.labels), recipe.batch_size))
            notes.append("The epoch under way begins again, as its batches are others.")
        if recipe != left.recipe:
            processes.on_main(lambda: opened.write_recipe(recipe))
    notes.append(_where_it_stands(left, parts, opened, recipe, changed=bool(changes)))
    notes += _other_machine(left.environment, parts)
    return Job(opened, recipe, parts, checkpoint_every=checkpoint_every, notes=notes, changed=bool(changes))


def train(
    model: str,
    data: str | Path | Data,
    *,
    epochs: int | None = None,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
) -> Run:
    """Train the catalog's `model` on `data`, measure it on the test images, and return the run.

    The arguments are those of `start`. To see the training as it goes, iterate over `start(...)` instead.
    """
    settings = [*settings, *([f"epochs={epochs}"] if epochs is not None else [])]
    job = start(
        model, data, recipe=recipe, settings=settings, out=out, device=device, checkpoint_every=checkpoint_every
    )
    for _ in job:
        pass
    return job.run


@dataclass(frozen=True)
class _Left:
    """What there is of a run to go on with, in plain types: its folder need not be on the other machines."""

    recipe: Recipe
    environment: dict[str, Any]
    finished: bool
    checkpoint: Checkpoint | None
    notes: list[str]


def _left_by(run: Run) -> _Left:
    """Raises WeightsError for a run that has learned something, and has no whole checkpoint."""
    checkpoint, notes = newest_checkpoint(run.path / "checkpoints")
    if checkpoint is None and (run.path / "model").exists():
        raise WeightsError(
            " ".join([*notes, f"{run.path} has no whole checkpoint to go on from; its model/ stays as it is."])
            + f" To train anew: classicnets train MODEL DATA --recipe {run.path}/recipe.toml"
        )
    return _Left(run.recipe, run.environment, run.finished, checkpoint, notes)


def _where_it_stands(left: _Left, parts: Parts, run: Run, recipe: Recipe, *, changed: bool) -> str:
    """Where the run is that goes on."""
    state = parts.state
    if left.finished and not changed:
        return f"{run.path} is finished already, after step {state.step}: its report is {run.page}."
    if left.checkpoint is None:
        return "No checkpoint yet: starting from the beginning."
    return f"Going on after step {state.step}, epoch {len(state.history)} of {recipe.epochs}."


def _other_machine(before: dict[str, Any], parts: Parts) -> list[str]:
    """What is not as it was when the run began, and may change the last bits."""
    now = environment(parts.precision.name)
    return [
        f"{what} was {before.get(what)} and is {now[what]}: the last bits may differ."
        for what in ("torch", "cpu", "threads", "processes", "precision")
        if before.get(what) != now[what]
    ]


def _source(path: str | Path) -> str:
    """The setting that says where the images are."""
    return f"data.source={json.dumps(str(path), ensure_ascii=False)}"
