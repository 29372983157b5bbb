"""The search for a better recipe, with Optuna: each trial is a run, judged by its best epoch.

    base recipe, space -> trial: recipe -> run, given up if worse than the median -> best -> test images

Everything is in the folder, so a search that was stopped or killed resumes with the trial that was under way:

    runs/tune-resnet20_cifar-digits/
      tune.json  base-recipe.toml  study.log             what is searched; Optuna's journal
      trial-001/ trial-002/ ...                          runs, as `train` makes them
      best-recipe.toml  report.md  search.png            written after the last trial

Trials, like epochs, are compared by what the recipe's `best` names, on the validation images. The test images choose
nothing: no trial sees them, and only the best one is measured on them, at the end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from classicnets.data import Data
from classicnets.errors import ClassicNetsError, ConfigError, DataError, StorageError, TrainingDiverged
from classicnets.evaluation.best import best_index
from classicnets.search.report import write_report
from classicnets.search.space import Space, check_space, default_space, parse_space, setting
from classicnets.search.study import (
    best_number,
    close_trial,
    fail_trial,
    importances,
    is_hopeless,
    next_trial,
    open_study,
    require_optuna,
    suggested,
    tried,
)
from classicnets.search.trials import TrialDone, TrialStarted, Tuned
from classicnets.system.storage import written_aside
from classicnets.training.entry import reopen, start
from classicnets.training.recipe.files import parse_recipe, with_settings
from classicnets.training.recipe.plan import load, resolve
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.folder import Run
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.prepare import Progress
from classicnets.training.scale.processes import only_alone
from classicnets.training.step.state import EpochDone, StepDone

if TYPE_CHECKING:
    import optuna


class Tuning:
    """A search under way. Iterate over it once: TrialStarted, the events of its job, TrialDone, ..., and Tuned.

    Closing the iteration early, Ctrl-C and a kill keep every trial; `resume_tuning` resumes the search. Every trial
    trains on `data` itself, so a Data that was made or changed in Python is fine.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        space: Sequence[str],
        trials: int,
        *,
        data: Data,
        device: str = "auto",
        progress: Progress | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.space: Space = parse_space(space)
        self.trials = trials
        self.notes = tuple(notes)
        self._data = data
        self._device = device
        self._progress = progress

    def __iter__(self) -> Iterator[TrialStarted | StepDone | EpochDone | TrialDone | Tuned]:
        study = open_study(self.folder / "study.log", self.recipe, self.space)
        while (trial := next_trial(study, most=self.trials, seed=self.recipe.seed)) is not None:
            yield from self._try(study, trial)
        tuned = self._finish(study)
        write_report(tuned, self.recipe, self.space)
        yield tuned

    def _try(
        self, study: optuna.Study, trial: optuna.Trial
    ) -> Iterator[TrialStarted | StepDone | EpochDone | TrialDone]:
        number, params = trial.number + 1, suggested(trial, self.space)
        state = "finished"
        try:
            job = self._job(number, params)
            yield TrialStarted(number, params, job.run, job.num_steps)
            with closing(cast("Generator[StepDone | EpochDone | Finished]", iter(job))) as events:
                for event in events:
                    assert not isinstance(event, Finished), "the job does not measure"
                    yield event
                    if isinstance(event, EpochDone) and is_hopeless(trial, event, job.recipe):
                        state = "given up"
                        break
        except TrainingDiverged:
            state = "diverged"
        except ClassicNetsError:
            fail_trial(study, trial)
            raise
        done = self._done(number, params, state)
        close_trial(study, trial, state, done.value)
        self._drop_checkpoints(study)
        yield done

    def _job(self, number: int, params: dict[str, Any]) -> Job:
        folder = self._run(number).path
        if (folder / "recipe.toml").is_file():
            job = self._resume(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # ours, and killed before it held anything
            settings = [setting(key, value) for key, value in params.items()]
            job = start(
                self.recipe.model.name, self._data, recipe=self.recipe, settings=settings, out=folder,
                device=self._device, progress=self._progress,
            )  # fmt: skip
        job.measure = False
        return job

    def _resume(self, folder: Path) -> Job:
        return reopen(folder, data=self._data, device=self._device, progress=self._progress)

    def _run(self, number: int) -> Run:
        return Run(self.folder / f"trial-{number:03}")

    def _done(self, number: int, params: dict[str, Any], state: str) -> TrialDone:
        by = f"val_{self.recipe.best}"
        values = [row[by] for row in self._run(number).metrics(by)]
        index = best_index(values, self.recipe.best)
        return TrialDone(number, params, state, None if index is None else values[index], len(values))

    def _drop_checkpoints(self, study: optuna.Study) -> None:
        """Keep the checkpoints of the best trial only: a VGG has gigabytes of them."""
        best = best_number(study)
        for trial in study.trials:
            if trial.state.is_finished() and trial.number + 1 != best:
                shutil.rmtree(self._run(trial.number + 1).path / "checkpoints", ignore_errors=True)

    def _finish(self, study: optuna.Study) -> Tuned:
        """Measure the best trial on the test images, and write its recipe."""
        number = best_number(study)
        if number is None:
            raise TrainingDiverged(f"None of {len(study.trials)} trials finished, so none is best. Search lower rates.")
        run = self._run(number)
        *_, finished = self._resume(run.path)
        assert isinstance(finished, Finished), "a job ends with Finished"
        recipe = self.folder / "best-recipe.toml"
        _write(recipe, run.recipe.to_toml())
        trials = []
        for trial in study.trials:
            if state := trial.user_attrs.get("state"):
                trials.append(self._done(trial.number + 1, tried(trial, self.space), state))
        best = next(trial for trial in trials if trial.number == number)
        return Tuned(self.folder, self.recipe.best, tuple(trials), best, recipe, finished, importances(study))


def tune(
    model: str,
    data: str | Path | Data,
    *,
    trials: int,
    space: Iterable[str] = (),
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Tuning:
    """Prepare a search for a better recipe, and create its folder.

    Args:
        model: a catalog name, such as "resnet20_cifar".
        data: a name that `load_data` knows, a path, or a Data, which may be made or changed in Python.
        trials: how many recipes to try, at least 1.
        space: what to search, in lines such as "optim.lr=log:0.01..1.0"; see `classicnets.search.space`. With none,
            the learning rate and the weight decay are searched around those of the recipe.
        recipe: the recipe to start from: a Recipe, a shipped name or a .toml file. None chooses one by the network
            and the data.
        settings: `key=value` changes to the recipe of every trial, such as "epochs=5".
        out: the folder to create; None takes `runs/tune-MODEL-DATA`. A number is appended if it exists.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        A Tuning to iterate over.

    Raises:
        MissingExtra: Optuna is not installed.
        UnknownName, ConfigError: the model, the recipe, a key or a value is not allowed.
        DataError: the data cannot be trained on.
        StorageError: the folder cannot be created.

    >>> *_, tuned = tune("resnet20_cifar", "digits", trials=20)
    """
    only_alone("tune")
    require_optuna()
    if trials < 1:
        raise ConfigError(f"A search needs at least 1 trial, got {trials}; 20 are a good start.")
    plan = resolve(model, data, recipe=recipe, settings=settings)
    lines = list(space) or default_space(plan.recipe)
    check_space(parse_space(lines), plan.recipe)
    folder = _new_folder(Path(out) if out is not None else Path("runs") / f"tune-{model}-{plan.data.name}")
    _write(folder / "base-recipe.toml", plan.recipe.to_toml())
    searched = {"trials": trials, "space": lines, "fingerprint": plan.data.fingerprint()}
    _write(folder / "tune.json", json.dumps(searched, indent=2, ensure_ascii=False) + "\n")
    return Tuning(
        folder, plan.recipe, lines, trials, data=plan.data, device=device, progress=progress, notes=plan.notes
    )


def resume_tuning(
    folder: str | Path,
    *,
    trials: int | None = None,
    data: str | Path | Data | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Tuning:
    """Resume a search that was stopped, or extend one that is over.

    Args:
        folder: the folder that `tune` created.
        trials: the new number of trials in all; None keeps it.
        data: the images: a path if they have moved, or the Data that `tune` got if it was made or changed in Python.
            None loads them from their old place.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        A Tuning to iterate over.

    Raises:
        MissingExtra: Optuna is not installed.
        ConfigError: the folder holds no search, or a damaged one.
        DataError: the images cannot be loaded, or are not those that the search began with.

    >>> *_, tuned = resume_tuning("runs/tune-resnet20_cifar-digits", trials=40)
    """
    only_alone("tune")
    require_optuna()
    folder = Path(folder)
    try:
        values = json.loads((folder / "tune.json").read_text("utf-8"))
        recipe = parse_recipe((folder / "base-recipe.toml").read_text("utf-8"), str(folder / "base-recipe.toml"))
        planned, space = int(values["trials"]), list(values["space"])
        fingerprint = values.get("fingerprint")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is not a folder that `classicnets tune` made, or is damaged ({error}).") from None
    loaded = data if isinstance(data, Data) else load(recipe.data.source if data is None else data, recipe)
    if fingerprint not in (None, loaded.fingerprint()):  # None: written by 0.1.0
        raise DataError(
            f"{folder} was searched on other images than those of {loaded.source}: its trials could not be compared. "
            f"Put the images back (copy files with their times: cp -a), or pass the Data that `tune` got: "
            f"resume_tuning(..., data=data)."
        )
    if data is not None:
        recipe = with_settings(recipe, [setting("data.source", loaded.source)])
        _write(folder / "base-recipe.toml", recipe.to_toml())
    return Tuning(
        folder, recipe, space, planned if trials is None else trials, data=loaded, device=device, progress=progress
    )


def _new_folder(path: Path) -> Path:
    for number in range(1, 10_000):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(
                f"Cannot create {folder} ({error.strerror}). Choose another folder with --out."
            ) from None
        return folder
    raise StorageError(f"{path} and 9,999 numbered folders beside it exist. Choose another folder with --out.")


def _write(path: Path, text: str) -> None:
    with written_aside(path) as new:
        new.write_text(text, "utf-8", newline="")
