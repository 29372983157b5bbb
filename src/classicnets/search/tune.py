"""Searching for a better recipe, with Optuna: each trial is a run, chosen by its best epoch.

    base recipe, space -> trial: recipe -> run, given up where worse than the median -> best -> test images

Everything is in the folder, so a search that was stopped, or killed, goes on with the trial it was at:

    runs/tune-resnet20_cifar-digits/
      tune.json  base-recipe.toml  study.log             what is searched; Optuna's journal
      trial-001/ trial-002/ ...                          runs, as `train` makes them
      best-recipe.toml  report.md  search.png            written after the last trial

Trials, as epochs, are compared by what the recipe's `best` names, on the validation images. The test images choose
nothing: no trial sees them, and the best one is measured on them at the end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from classicnets.data import Data
from classicnets.errors import ClassicNetsError, ConfigError, MissingExtra, StorageError, TrainingDiverged
from classicnets.evaluation.best import Best, score_of
from classicnets.search.space import (
    Choice,
    Range,
    Space,
    check_space,
    default_space,
    parse_space,
    setting,
    value_in,
)
from classicnets.system.storage import written_aside
from classicnets.training.entry import reopen, start
from classicnets.training.recipe.plan import resolve
from classicnets.training.recipe.schema import Recipe, parse_recipe
from classicnets.training.run.folder import Run
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.prepare import Progress
from classicnets.training.scale.processes import only_alone
from classicnets.training.step.state import EpochDone, StepDone

if TYPE_CHECKING:
    import optuna

_RANDOM_TRIALS = 5  # before Optuna's TPE has something to go by, and before any trial is given up


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins, or goes on: its number from 1, what it tries, its run, and the steps of the whole run."""

    number: int
    params: dict[str, Any]
    run: Run
    num_steps: int


@dataclass(frozen=True)
class TrialDone:
    """A trial is over: "finished", "given up" (worse than the median of the others) or "diverged".

    `value` is its best epoch's, by the recipe's `best`: a share, 0..1, or a loss; None where it has no epoch. `epochs`
    were done.
    """

    number: int
    params: dict[str, Any]
    state: str
    value: float | None
    epochs: int


@dataclass(frozen=True)
class Tuned:
    """The search is over: every trial, the best one, its recipe's file, and its measure on the test images.

    `by` is what trials were compared by, on the validation images.
    """

    folder: Path
    by: Best
    trials: tuple[TrialDone, ...]
    best: TrialDone
    recipe: Path
    finished: Finished
    importances: dict[str, float]

    @property
    def judged(self) -> str:
        """What trials were compared by, in words."""
        return f"validation {self.by.replace('_', ' ')}"

    @property
    def ranked(self) -> list[TrialDone]:
        """The trials, better ones first (of equals, the earlier), those without an epoch last."""

        def place(trial: TrialDone) -> tuple[bool, float, int]:
            return trial.value is None, -score_of(trial.value or 0.0, self.by), trial.number

        return sorted(self.trials, key=place)


class Tuning:
    """A search under way. Iterate over it once: TrialStarted, the events of its job, TrialDone, ..., and Tuned.

    Closing the iteration early, Ctrl-C and a kill keep every trial; `resume_tuning` goes on.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        space: Sequence[str],
        trials: int,
        *,
        data: Data | None = None,
        device: str = "auto",
        progress: Progress | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.space: Space = parse_space(space)
        self.trials = trials
        self.notes = tuple(notes)
        self._data: str | Data = data if data is not None else recipe.data.source
        self._device = device
        self._progress = progress

    def __iter__(self) -> Iterator[TrialStarted | StepDone | EpochDone | TrialDone | Tuned]:
        from classicnets.search.tune_report import write_report

        study = self._study()
        while (trial := self._next(study)) is not None:
            yield from self._try(study, trial)
        tuned = self._finish(study)
        write_report(tuned, self.recipe, self.space)
        yield tuned

    def _study(self) -> optuna.Study:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(self.folder / "study.log"))),
            study_name="tune",
            direction="minimize" if self.recipe.best == "loss" else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_RANDOM_TRIALS - 1, n_warmup_steps=2),
            load_if_exists=True,
        )
        usual = {key: value_in(self.recipe, key) for key in self.space}
        if not study.trials and all(usual[key] in search for key, search in self.space.items()):
            study.enqueue_trial(usual)  # the recipe as it is: what the others are to beat
        return study

    def _next(self, study: optuna.Study) -> optuna.Trial | None:
        """The trial that was under way, else a new one, else None."""
        import optuna

        begun = [trial for trial in study.trials if trial.state != optuna.trial.TrialState.WAITING]
        for trial in begun:
            if trial.state == optuna.trial.TrialState.RUNNING:
                return optuna.Trial(study, trial._trial_id)
        if len(begun) >= self.trials:
            return None
        # A seed for each trial, so that a search that was stopped goes on as if it had not been.
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM_TRIALS, seed=(self.recipe.seed + len(begun)) % 2**32
        )
        return study.ask()

    def _try(
        self, study: optuna.Study, trial: optuna.Trial
    ) -> Iterator[TrialStarted | StepDone | EpochDone | TrialDone]:
        import optuna

        number = trial.number + 1
        params = {key: _suggest(trial, key, search) for key, search in self.space.items()}
        state, told = "finished", optuna.trial.TrialState.COMPLETE
        try:
            job = self._job(number, params)
            yield TrialStarted(number, params, job.run, job.num_steps)
            with closing(cast("Generator[StepDone | EpochDone | Finished]", iter(job))) as events:
                for event in events:
                    assert not isinstance(event, Finished), "the job was told not to measure"
                    yield event
                    if isinstance(event, EpochDone) and _is_hopeless(trial, event, job.recipe):
                        state, told = "given up", optuna.trial.TrialState.PRUNED
                        break
        except TrainingDiverged:
            state, told = "diverged", optuna.trial.TrialState.PRUNED
        except ClassicNetsError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        trial.set_user_attr("state", state)
        done = self._done(number, params, state)
        study.tell(trial, done.value if told == optuna.trial.TrialState.COMPLETE else None, state=told)
        self._drop_checkpoints(study)
        yield done

    def _job(self, number: int, params: dict[str, Any]) -> Job:
        folder = self._run(number).path
        if (folder / "recipe.toml").is_file():
            job = reopen(folder, device=self._device, progress=self._progress)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # ours, and killed before it held anything
            settings = [setting(key, value) for key, value in params.items()]
            job = start(
                self.recipe.model.name, self._data, recipe=self.recipe, settings=settings, out=folder,
                device=self._device, progress=self._progress,
            )  # fmt: skip
        job.measure = False
        return job

    def _run(self, number: int) -> Run:
        return Run(self.folder / f"trial-{number:03}")

    def _done(self, number: int, params: dict[str, Any], state: str) -> TrialDone:
        by = f"val_{self.recipe.best}"
        values = [row[by] for row in self._run(number).metrics(by)]
        best = max(values, key=lambda value: score_of(value, self.recipe.best), default=None)
        return TrialDone(number, params, state, best, len(values))

    def _drop_checkpoints(self, study: optuna.Study) -> None:
        """Keep the checkpoints of the best trial alone: a VGG has gigabytes of them."""
        best = _best(study)
        for trial in study.trials:
            if trial.state.is_finished() and trial.number + 1 != best:
                shutil.rmtree(self._run(trial.number + 1).path / "checkpoints", ignore_errors=True)

    def _finish(self, study: optuna.Study) -> Tuned:
        """Measure the best trial on the test images, and write its recipe."""
        number = _best(study)
        if number is None:
            raise TrainingDiverged(
                f"None of {len(study.trials)} trials came to its end: there is no best one. Search lower rates."
            )
        run = self._run(number)
        *_, finished = reopen(run, device=self._device, progress=self._progress)
        assert isinstance(finished, Finished), "a job ends with Finished"
        recipe = self.folder / "best-recipe.toml"
        _write(recipe, run.recipe.to_toml())
        trials = tuple(
            self._done(trial.number + 1, {key: _value(trial.params[key], self.space[key]) for key in self.space}, state)
            for trial in study.trials
            if (state := trial.user_attrs.get("state"))
        )
        best = next(trial for trial in trials if trial.number == number)
        return Tuned(self.folder, self.recipe.best, trials, best, recipe, finished, _importances(study))


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
    """Prepare a search for a better recipe of the catalog's `model` on `data`, and make its folder.

    `space` are lines such as `optim.lr=log:0.01..1.0` (see `search_space`); none searches the learning rate and the
    weight decay around those of the recipe. `out` is the folder, `runs/tune-MODEL-DATA` if None, with a number where
    that exists. The other arguments are those of `start`. Raises MissingExtra without Optuna, else what `start` raises.
    """
    only_alone("tune")
    require_optuna()
    if trials < 1:
        raise ConfigError(f"A search of {trials} trials tries nothing. Give 1 or more; 20 are a good beginning.")
    plan = resolve(model, data, recipe=recipe, settings=settings)
    lines = list(space) or default_space(plan.recipe)
    check_space(parse_space(lines), plan.recipe)
    folder = _new_folder(Path(out) if out is not None else Path("runs") / f"tune-{model}-{plan.data.name}")
    _write(folder / "base-recipe.toml", plan.recipe.to_toml())
    _write(folder / "tune.json", json.dumps({"trials": trials, "space": lines}, indent=2, ensure_ascii=False) + "\n")
    return Tuning(
        folder, plan.recipe, lines, trials, data=plan.data, device=device, progress=progress, notes=plan.notes
    )


def resume_tuning(
    folder: str | Path, *, trials: int | None = None, device: str = "auto", progress: Progress | None = None
) -> Tuning:
    """Go on with a search; `trials` is a new number of trials in all. Raises ConfigError where there is none."""
    only_alone("tune")
    require_optuna()
    folder = Path(folder)
    try:
        values = json.loads((folder / "tune.json").read_text("utf-8"))
        recipe = parse_recipe((folder / "base-recipe.toml").read_text("utf-8"), str(folder / "base-recipe.toml"))
        planned, space = int(values["trials"]), list(values["space"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is no folder of `classicnets tune`, or a damaged one ({error}).") from None
    return Tuning(folder, recipe, space, planned if trials is None else trials, device=device, progress=progress)


def require_optuna() -> None:
    """Raise MissingExtra, with the line that installs it, where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingExtra('Optuna is not installed. Install it with: pip install "classicnets[tune]"') from None


def shown(value: float | None, by: Best) -> str:
    """A trial's value as text: a loss, or a percentage."""
    if value is None:
        return "-"
    return f"{value:.4f}" if by == "loss" else f"{value:.2%}"


def _suggest(trial: optuna.Trial, key: str, search: Range | Choice) -> Any:
    if isinstance(search, Choice):
        return trial.suggest_categorical(key, search.values)
    if search.whole:
        return trial.suggest_int(key, int(search.low), int(search.high), log=search.log)
    return _value(trial.suggest_float(key, search.low, search.high, log=search.log), search)


def _value(value: Any, search: Range | Choice) -> Any:
    """What Optuna suggests, as it is tried: a real number to four digits."""
    return value if isinstance(search, Choice) or search.whole else float(f"{value:.4g}")


def _best(study: optuna.Study) -> int | None:
    """The number, from 1, of the best trial among those that came to their end (of equals, the first)."""
    return study.best_trial.number + 1 if any(trial.state.name == "COMPLETE" for trial in study.trials) else None


def _is_hopeless(trial: optuna.Trial, event: EpochDone, recipe: Recipe) -> bool:
    """Tell Optuna of an epoch; whether the trial is worse than the median of the others, and not at its end."""
    if event.epoch not in trial.study.trials[trial.number].intermediate_values:
        trial.report(event.value(recipe.best), event.epoch)
    return event.epoch < recipe.epochs and trial.should_prune()


def _importances(study: optuna.Study) -> dict[str, float]:
    """How much of the differences between trials each key explains (fANOVA), 0..1; empty where trials are too few."""
    import optuna

    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < _RANDOM_TRIALS or len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))


def _new_folder(path: Path) -> Path:
    for number in range(1, 10_000):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(f"Cannot make {folder} ({error.strerror}). Choose another place with --out.") from None
        return folder
    raise StorageError(f"{path} and 9,999 numbered folders beside it exist already. Choose another --out.")


def _write(path: Path, text: str) -> None:
    with written_aside(path) as new:
        new.write_text(text, "utf-8", newline="")
