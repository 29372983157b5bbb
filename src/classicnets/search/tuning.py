"""A search under way: each trial is a run, judged by its best epoch.

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

import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from classicnets.data import Data
from classicnets.errors import ClassicNetsError, TrainingDiverged
from classicnets.evaluation.best import best_index, metric_of
from classicnets.search.report import write_report
from classicnets.search.space import Space, parse_space, setting
from classicnets.search.study import (
    best_number,
    close_trial,
    fail_trial,
    importances,
    is_hopeless,
    next_trial,
    open_study,
    suggested,
    tried,
)
from classicnets.search.trials import TrialDone, TrialStarted, Tuned
from classicnets.system.storage import written_aside
from classicnets.training.entry import reopen, start
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.folder import Run
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.prepare import Progress
from classicnets.training.step.state import EpochDone, StepDone

if TYPE_CHECKING:
    import optuna


class Tuning:
    """A search under way. Iterate over it once: TrialStarted, the events of its job, TrialDone, ..., and Tuned.

    Closing the iteration early, Ctrl-C and a kill keep every trial; `resume_tuning` resumes the search. Every trial
    trains on the Data that was given, so it may be made or changed in Python.

    Attributes:
        folder: of the search.
        recipe: the resolved recipe that trials change.
        space: what is searched, by dotted key.
        trials: how many trials there are in all.
        notes: sentences on what was chosen before the first trial.
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
        by = f"val_{metric_of(self.recipe.best)}"
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
        write_text(recipe, run.recipe.to_toml())
        trials = []
        for trial in study.trials:
            if state := trial.user_attrs.get("state"):
                trials.append(self._done(trial.number + 1, tried(trial, self.space), state))
        best = next(trial for trial in trials if trial.number == number)
        return Tuned(self.folder, self.recipe.best, tuple(trials), best, recipe, finished, importances(study))


def write_text(path: Path, text: str) -> None:
    """Write a file of the search, whole or not at all."""
    with written_aside(path) as new:
        new.write_text(text, "utf-8", newline="")
